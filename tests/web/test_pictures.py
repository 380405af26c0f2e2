"""Thumbnails and films: the right moment, made once, kept within bounds."""

import io
import os
import time

import av
import numpy as np
import pytest
from fakes import COLOURS, video
from films import film
from PIL import Image

from mmretrieval.errors import MediaError
from mmretrieval.web.decoding.films import Begun, Film
from mmretrieval.web.decoding.jobs import Refused
from mmretrieval.web.decoding.pictures import WIDTH, Thumbnail, frame_at, is_played
from mmretrieval.web.files.cache import FOLDER, Cache


def colour_of(frame: np.ndarray) -> str:
    mean = frame.reshape(-1, 3).mean(axis=0)
    return min(COLOURS, key=lambda name: np.abs(mean - COLOURS[name]).sum())


def test_a_thumbnail(client, hit):
    for name in ("green", "blue"):
        found = hit(name)
        answer = client.get(found["thumbnail"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        assert colour_of(np.array(Image.open(io.BytesIO(answer.content)))) == name
        assert "immutable" in answer.headers["cache-control"]
        again = client.get(found["thumbnail"], headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.head(found["thumbnail"]).headers["content-length"] == str(len(answer.content))


def test_a_thumbnail_is_made_once(client, hit, service, monkeypatch):
    address = hit("green")["thumbnail"]
    first = client.get(address).content
    monkeypatch.setattr(service.studio, "_decoders", None)
    assert client.get(address).content == first


def test_a_film_of_what_browsers_do_not_play(client, hit):
    found = hit("blue")
    answer = client.get(found["clip"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert answer.content.index(b"moov") < answer.content.index(b"mdat")  # it plays while it loads
    with av.open(io.BytesIO(answer.content)) as made:
        pictures, sound = made.streams.video[0], made.streams.audio[0]
        assert (pictures.codec_context.name, pictures.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert sound.codec_context.name == "aac"
        assert float(made.duration / av.time_base) == pytest.approx(2.0, abs=0.3)
        assert colour_of(next(made.decode(video=0)).to_ndarray(format="rgb24")) == "blue"
    part = client.get(found["clip"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, answer.content[10:20])
    assert client.get(found["clip"], headers={"Range": "bytes=99999999-"}).status_code == 416


def test_browsers_are_told_what_they_play(client, service, hit):
    while len(service.playing._known) < 3:
        time.sleep(0.05)  # the files are looked at in the background
    assert hit("green")["playable"] is True and hit("blue")["playable"] is False


@pytest.mark.parametrize(
    ("name", "codec", "sound", "plays"),
    [
        ("a.mp4", "libx264", "aac", True),
        ("a.mp4", "mpeg4", None, False),
        ("a.webm", "libvpx-vp9", None, True),
        ("a.mkv", "libx264", None, False),
        ("a.avi", "mpeg4", None, False),
        ("a.mov", "libx264", None, False),
    ],
)
def test_what_browsers_play(tmp_path, name, codec, sound, plays):
    assert is_played(str(film(tmp_path / name, "red", codec=codec, sound=sound))) is plays


def test_what_is_no_video_is_not_played(tmp_path):
    (tmp_path / "a.mp4").write_text("no")
    assert not is_played(str(tmp_path / "a.mp4")) and not is_played(str(tmp_path / "missing.mp4"))


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "ts"])
def test_a_frame_is_that_of_its_time(tmp_path, suffix):
    codec = "mpeg4" if suffix == "avi" else "libx264"
    path = str(film(tmp_path / f"a.{suffix}", "red", "green", "blue", codec=codec))
    for seconds, colour in ((0.0, "red"), (1.5, "red"), (2.5, "green"), (3.5, "green"), (4.5, "blue"), (5.9, "blue")):
        assert colour_of(frame_at(path, seconds, 1.0)) == colour, seconds


def test_pictures_of_pictures(tmp_path):
    Image.new("RGB", (900, 300), COLOURS["green"]).save(tmp_path / "a.png")
    (content,) = Thumbnail(str(tmp_path / "a.png"), 0.0, 1.0).run()
    image = Image.open(io.BytesIO(content))
    assert image.size[0] == WIDTH and colour_of(np.array(image)) == "green"
    out = tmp_path / "a.mp4"
    assert [type(piece) for piece in Film(str(tmp_path / "a.png"), 0.0, 1.0, str(out)).run()] == [Begun]
    with av.open(str(out)) as made:
        assert colour_of(next(made.decode(video=0)).to_ndarray(format="rgb24")) == "green"


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_a_film_shows_its_span_alone(tmp_path, suffix):
    codec = "mpeg4" if suffix == "avi" else "libx264"
    path = str(film(tmp_path / f"a.{suffix}", "red", "green", "blue", codec=codec, sound="mp3"))
    out = tmp_path / "out.mp4"
    assert [type(piece) for piece in Film(path, 2.25, 3.75, str(out)).run()] == [Begun]
    with av.open(str(out)) as made:
        seen = [colour_of(frame.to_ndarray(format="rgb24")) for frame in made.decode(video=0)]
        assert set(seen) == {"green"} and 11 <= len(seen) <= 14
    with av.open(str(out)) as made:
        heard = sum(frame.samples for frame in made.decode(audio=0)) / 48_000
    assert heard == pytest.approx(1.5, abs=0.2)


def test_of_what_is_damaged_there_is_no_picture(tmp_path):
    (tmp_path / "a.mp4").write_bytes(video(tmp_path / "b.mp4", "red").read_bytes()[:200])
    (piece,) = Thumbnail(str(tmp_path / "a.mp4"), 0.0, 1.0).run()
    assert piece == Refused("there is no picture to be had of this moment: its file is damaged")
    *_, piece = Film(str(tmp_path / "a.mp4"), 0.0, 1.0, str(tmp_path / "out.mp4")).run()
    assert piece == Refused("there is no film to be had of this moment: its file is damaged")
    with pytest.raises(MediaError):
        frame_at(str(tmp_path / "a.mp4"), 0.0, 1.0)


# --- where they are kept


def test_what_is_kept_survives_and_the_oldest_go(tmp_path):
    cache = Cache(tmp_path, size=1000)
    for number in range(9):
        cache.put(f"{number}.jpg", bytes(100))
        os.utime(tmp_path / FOLDER / f"{number}.jpg", (number, number))
    assert Cache(tmp_path, size=1000).get("0.jpg") == bytes(100)  # asked for: it is young again
    cache.put("9.jpg", bytes(100))
    cache.put("10.jpg", bytes(100))
    kept = {file.name for file in (tmp_path / FOLDER).iterdir()}
    assert {"0.jpg", "10.jpg"} <= kept and "1.jpg" not in kept and len(kept) == 8
    assert cache.get("1.jpg") is None


def test_a_collection_that_cannot_be_written_is_served_from_elsewhere(tmp_path):
    (tmp_path / FOLDER).write_text("in the way")
    cache = Cache(tmp_path)
    cache.put("a.jpg", b"a")
    assert cache.get("a.jpg") == b"a" and tmp_path not in cache.folder.parents
    cache.close()
    assert not cache.folder.exists()


def test_what_is_kept_is_no_part_of_the_collection(tmp_path, model):
    from mmretrieval.collection import Collection

    video(tmp_path / "videos" / "red.mp4", "red", "red")
    collection = Collection.build(tmp_path / "made", [tmp_path / "videos"], model, "model", progress=False)
    Cache(collection.folder).put("a.jpg", b"a")
    video(tmp_path / "videos" / "green.mp4", "green", "green")
    collection.add([tmp_path / "videos"], model, progress=False)
    collection.compact()
    assert collection.verify() == [] and Cache(collection.folder).get("a.jpg") == b"a"
    collection.close()

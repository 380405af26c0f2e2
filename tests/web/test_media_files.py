"""Files of the collection: whole, in ranges, and never anything else."""

import os
import shutil

import pytest
from fakes import video
from starlette.testclient import TestClient

from mmretrieval.collection import Collection
from mmretrieval.web.app import create_app
from mmretrieval.web.files.media import parse_range
from mmretrieval.web.gate import Gate
from mmretrieval.web.service import Service
from mmretrieval.web.serving import Serving

GONE = "this video is not where it was: 'mmretrieval index add' finds it again"
CHANGED = "this video has changed since it was indexed: 'mmretrieval index add' embeds it anew"


@pytest.fixture
def media(hit):
    return hit("green")["media"]


@pytest.fixture
def content(videos):
    return (videos / "holiday" / "green.mp4").read_bytes()


def test_the_whole_file(client, media, content):
    answer = client.get(media)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''green.mp4"
    assert answer.headers["etag"] == f'"{media.rpartition("/")[2]}"'


def test_only_what_is_said_about_it(client, media, content):
    answer = client.head(media)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(content))
    part = client.head(media, headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.headers["content-length"]) == (206, "10")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=5-", 5, -1), ("bytes=-7", -7, -1), ("bytes=0-99999999", 0, -1), ("bytes=3-8", 3, 8)],
)
def test_a_range(client, media, content, asked, first, last):
    size = len(content)
    first, last = first % size, last % size
    answer = client.get(media, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == content[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
    assert answer.headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=0-1", "bytes=9-3", "bytes=", "bytes=a-b", "bytes=-"])
def test_a_range_that_is_none_is_ignored(client, media, content, asked):
    answer = client.get(media, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_a_range_outside(client, media, content, asked):
    answer = client.get(media, headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(content)}"
    assert answer.json()["detail"] == f"the range '{asked}' lies outside of the {len(content)} bytes of this file"


def test_the_rest_of_the_same_file_only(client, media, content):
    tag = client.head(media).headers["etag"]
    modified = client.head(media).headers["last-modified"]
    for condition, status in ((tag, 206), (modified, 206), ('"other"', 200), ("Mon, 01 Jan 2001 00:00:00 GMT", 200)):
        answer = client.get(media, headers={"Range": "bytes=4-", "If-Range": condition})
        assert answer.status_code == status
    assert client.get(media, headers={"If-None-Match": tag}).status_code == 304


def test_ranges_of_nothing():
    assert parse_range("bytes=0-", 10) == (0, 9)
    for asked in ("bytes=0-", "bytes=-5"):
        with pytest.raises(ValueError):
            parse_range(asked, 0)


def test_other_containers_are_named_as_what_they_are(client, hit):
    assert client.head(hit("blue")["media"]).headers["content-type"] == "video/x-msvideo"


def test_nobody_can_name_a_file(client, videos):
    for path in (
        f"{videos}/red.mp4",
        "red.mp4",
        "../../../../etc/passwd",
        "%2e%2e%2fetc%2fpasswd",
        "holiday/green.mp4",
    ):
        answer = client.get(f"/media/{path}")
        assert answer.status_code == 404 and "passwd" not in answer.headers.get("content-type", "")


# --- files that are no longer what was indexed


@pytest.fixture
def alone(tmp_path, model):
    """A client of a collection of two videos, their folder, and the address of one of them."""
    folder = tmp_path / "videos"
    video(folder / "green.mp4", "green", "green")
    video(folder / "sub" / "red.mp4", "red", "red")
    Collection.build(tmp_path / "made", [folder], model, "model", progress=False)
    service = Service(Serving(tmp_path / "made", model))
    with TestClient(Gate(create_app(service)), base_url="http://localhost") as client:
        hits = client.get("/api/search", params={"text": "a red thing"}).json()["hits"]
        yield client, folder, hits[0]["media"]
    service.close()


def refused(client, address) -> tuple[int, str]:
    answer = client.get(address)
    return answer.status_code, answer.json()["detail"]


def test_a_file_is_refused_for_what_it_has_become(alone, tmp_path, caplog):
    client, folder, address = alone
    path, other = folder / "sub" / "red.mp4", tmp_path / "outside"
    assert client.get(address).status_code == 200
    shutil.move(folder / "sub", other)
    assert refused(client, address) == (404, GONE)

    (folder / "sub").symlink_to(other)  # the very same file, but somewhere else
    assert refused(client, address) == (404, GONE)
    assert "leads out of its folder now" in caplog.text
    (folder / "sub").unlink()

    (folder / "sub").mkdir()
    path.symlink_to("/etc/passwd")
    assert refused(client, address) == (404, GONE)
    path.unlink()

    path.symlink_to("../green.mp4")  # inside, but another content
    assert refused(client, address) == (410, CHANGED)
    path.unlink()

    os.mkfifo(path)  # nobody writes: opening it must not wait
    assert refused(client, address) == (404, GONE)
    path.unlink()

    path.mkdir()
    assert refused(client, address) == (404, GONE)
    path.rmdir()

    path.write_bytes(b"something else")
    assert refused(client, address) == (410, CHANGED)
    shutil.copyfile(other / "red.mp4", path)  # the same content with another time stamp is the same file
    assert client.get(address).status_code == 200


def test_pictures_of_what_has_changed_are_refused_too(alone):
    client, folder, address = alone
    hit = client.get("/api/search", params={"text": "a red thing"}).json()["hits"][0]
    (folder / "sub" / "red.mp4").write_bytes(b"something else")
    for kind in ("thumbnail", "clip"):
        assert refused(client, hit[kind]) == (410, CHANGED)


def test_the_folder_itself_may_be_a_link(tmp_path, model):
    """People keep videos on another disk behind a link; what lies behind it when the server starts is the folder."""
    video(tmp_path / "disk" / "red.mp4", "red", "red")
    (tmp_path / "videos").symlink_to(tmp_path / "disk")
    Collection.build(tmp_path / "made", [tmp_path / "videos"], model, "model", progress=False)
    service = Service(Serving(tmp_path / "made", model))
    with TestClient(Gate(create_app(service)), base_url="http://localhost") as client:
        (hit,) = client.get("/api/search", params={"text": "a red thing"}).json()["hits"]
        assert client.get(hit["media"]).status_code == 200
        video(tmp_path / "other" / "red.mp4", "red", "red")
        (tmp_path / "videos").unlink()
        (tmp_path / "videos").symlink_to(tmp_path / "other")
        assert refused(client, hit["media"]) == (404, GONE)
    service.close()

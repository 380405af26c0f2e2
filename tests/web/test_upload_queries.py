"""Recordings and clips that people send: what is answered, and what hostile ones come to."""

import struct
import time
import wave
from typing import NamedTuple

import numpy as np
import pytest
from fakes import recording, video
from films import film

from mmretrieval.web.decoding.decoders import Decoders
from mmretrieval.web.decoding.unpacking import Upload
from mmretrieval.web.problems import ProblemError

NO_SOUND = b"no sound at all\n" * 99
SOUNDS = "wav, mp3, m4a, ogg, webm or flac"
FORMS = {"speech": SOUNDS, "video": "mp4, webm, mkv, mov or avi"}


def send(client, content: bytes, kind: str = "speech", type_: str = "audio/wav", **parameters):
    return client.post(
        "/api/search", params={"as": kind, **parameters}, content=content, headers={"Content-Type": type_}
    )


def refused(answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["detail"]


@pytest.fixture(autouse=True)
def nothing_is_left(service):
    yield
    assert list(service.uploads._folder.iterdir()) == []


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_a_spoken_caption_finds_its_moment(client, spoken, colour):
    page = send(client, spoken(colour, silence=0.5)).json()
    assert page["hits"][0]["name"] in (f"{colour}.mp4", "blue.avi", "loud.mp4")
    assert colour in page["hits"][0]["name"] or colour == "red"


def test_what_a_browser_records(client, tmp_path):
    """MediaRecorder writes WebM with Opus, without a length in its header."""
    import av

    path = tmp_path / "said.webm"
    with av.open(str(path), "w", format="webm", options={"live": "1"}) as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        samples = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    page = send(client, path.read_bytes(), type_="audio/webm;codecs=opus").json()
    assert page["hits"][0]["name"] == "green.mp4"


def test_an_example_clip(client, tmp_path):
    content = video(tmp_path / "asked.mp4", "green").read_bytes()
    page = send(client, content, "video", "video/mp4").json()
    assert page["hits"][0]["name"] == "green.mp4"


def test_with_other_queries_and_pages(client, spoken):
    content = spoken("red")
    mixed = send(client, content, text="a green thing", weight=["speech:0.1", "text:5"]).json()
    assert mixed["hits"][0]["name"] == "green.mp4"
    whole = send(client, content, fold=False).json()["hits"]
    second = send(client, content, fold=False, k=1, offset=1).json()
    assert second["hits"] == whole[1:2] and second["more"]
    assert send(client, content, folder="holiday/2026", path="*.avi").json()["hits"][0]["name"] == "blue.avi"


# --- what cannot be used


def test_silence(client, tmp_path):
    content = recording(tmp_path / "silent.wav", None).read_bytes()
    assert refused(send(client, content)) == (
        422,
        "the recording is silent: its loudest sample is 0.000000 of full scale. Check the microphone or the file.",
    )


@pytest.mark.parametrize(
    ("kind", "type_", "content", "status", "detail"),
    [
        ("speech", "audio/wav", b"", 422, "nothing was sent: send a recording"),
        ("speech", "audio/wav", NO_SOUND, 422, f"the recording is none that can be read: send {FORMS['speech']}"),
        ("video", "video/mp4", b"\x00" * 5000, 422, f"the clip is none that can be read: send {FORMS['video']}"),
        ("speech", "text/plain", b"x", 415, f"send a recording as audio/… or video/…, got 'text/plain': {SOUNDS}"),
        ("video", "", b"x", 415, f"send a clip as audio/… or video/…, no type was said: {FORMS['video']}"),
        ("speech", "audio/wav", bytes(1 + (1 << 20)), 413, "uploads may have at most 1 MB: send a shorter recording"),
        ("text", "audio/wav", b"x", 400, "as: input should be 'speech' or 'video', got 'text'"),
    ],
)  # fmt: skip
def test_what_is_sent_is_refused_in_one_line(client, kind, type_, content, status, detail):
    assert refused(send(client, content, kind, type_)) == (status, detail)


def test_sound_and_pictures_are_not_taken_for_each_other(client, tmp_path, spoken):
    mute = video(tmp_path / "mute.mp4", "red").read_bytes()
    assert refused(send(client, mute)) == (422, "the recording has no sound in it: send another")
    assert refused(send(client, spoken("red"), "video", "video/mp4")) == (
        422,
        "the clip has no pictures in it: send another",
    )


def test_too_long(client, tmp_path):
    content = recording(tmp_path / "long.wav", "red", seconds=25).read_bytes()
    assert refused(send(client, content)) == (
        422,
        "the recording lasts 25 s, at most 20 s are taken: send a sentence or a short excerpt",
    )


def test_a_recorder_that_stopped_a_little_late(client, tmp_path):
    content = recording(tmp_path / "late.wav", "red", seconds=21.5).read_bytes()
    assert send(client, content).status_code == 200


def test_ten_minutes_that_fit_into_the_size(client, tmp_path):
    """Compressed, they are no larger than a sentence: it is the length that counts."""
    import av

    path = tmp_path / "long.ogg"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libopus", rate=8_000, layout="mono", options={"b": "6000", "frame_duration": "60"}
        )
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8_000 * 600), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 8_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert len(content) < 1 << 20
    assert refused(send(client, content, type_="audio/ogg")) == (
        422,
        "the recording lasts 600 s, at most 20 s are taken: send a sentence or a short excerpt",
    )


def test_a_header_that_claims_four_gigabytes(client, spoken):
    """What is there is heard; what is only claimed is not waited for."""
    content = bytearray(spoken("green"))
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFF0)
    answer = send(client, bytes(content))
    assert answer.status_code == 200 and answer.json()["hits"][0]["name"] == "green.mp4"


def test_a_file_that_breaks_off(client, tmp_path, spoken):
    assert send(client, spoken("green")[:20_000]).json()["hits"][0]["name"] == "green.mp4"
    whole = film(tmp_path / "a.mp4", "green").read_bytes()
    status, detail = refused(send(client, whole[: len(whole) // 2], "video", "video/mp4"))
    assert status == 422 and detail.startswith("the clip ")


LISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{path}\n#EXT-X-ENDLIST\n",
    "hls of an address": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {path}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
    "subtitles": "[Script Info]\nScriptType: v4.00+\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,x,,0,0,0,,{path}\n",
}


@pytest.mark.parametrize("kind", ["speech", "video"])
@pytest.mark.parametrize("name", LISTS)
def test_lists_that_name_other_files_are_not_followed(client, tmp_path, name, kind):
    """The named file is a sound recording that would be an answer, if it were opened; the address is listened to."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    path = video(tmp_path / "secret.mp4", "green") if kind == "video" else recording(tmp_path / "secret.wav", "green")
    content = LISTS[name].format(path=path, port=listener.getsockname()[1]).encode()
    type_ = "video/mp4" if kind == "video" else "audio/x-mpegurl"
    status, detail = refused(send(client, content, kind, type_))
    assert status == 422 and "none that can be read" in detail and "secret" not in detail
    with listener, pytest.raises(BlockingIOError):
        listener.accept()


def test_frames_too_large_to_hold(tmp_path):
    (piece,) = Upload(str(_huge(tmp_path / "a")), "video", 20.0).run()
    assert piece.reason == "the clip has frames of 8000 × 4000 pixels: send a smaller copy"


def _huge(path):
    import av

    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8000, 4000, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame(8000, 4000, "yuvj420p")))
        container.mux(stream.encode())
    return path


# --- the processes


class Sleeps(NamedTuple):
    """A decoder that never returns."""

    def run(self):
        time.sleep(3600)
        yield 1


class Eats(NamedTuple):
    """A decoder that takes all memory there is."""

    def run(self):
        yield len([np.ones(1 << 24) for _ in range(1000)])


class Dies(NamedTuple):
    """A decoder that brings its process down."""

    def run(self):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGSEGV)
        yield 1


class Answers(NamedTuple):
    """One that does what it should."""

    def run(self):
        yield 42


@pytest.fixture(scope="module")
def decoders():
    decoders = Decoders(1, time_limit=2.0, memory_limit=1 << 30, waiting=2)
    decoders.start()
    yield decoders
    decoders.close()


def outcome(decoders, job):
    import asyncio

    return asyncio.run(decoders.run(job))


@pytest.mark.parametrize("job", [Sleeps(), Eats(), Dies()])
def test_a_decoder_that_goes_wrong_is_ended_and_replaced(decoders, job):
    with pytest.raises(ProblemError) as caught:
        outcome(decoders, job)
    assert (caught.value.status, caught.value.detail) == (
        422,
        "it cannot be decoded within 2 s and 1.0 GB of memory: send something shorter or smaller, as wav, mp3, m4a, "
        "ogg, webm or mp4",
    )
    assert outcome(decoders, Answers()) == [42]


def test_too_many_wait(decoders):
    import asyncio

    async def crowd():
        return await asyncio.gather(*(decoders.run(Answers()) for _ in range(9)), return_exceptions=True)

    answers = asyncio.run(crowd())
    assert answers[:3] == [[42]] * 3
    for error in answers[3:]:
        assert (error.status, error.headers) == (503, {"Retry-After": "2"})
        assert error.detail == "too many files wait to be decoded: try again in a moment"


def test_an_upload_that_does_not_arrive(service, monkeypatch):
    monkeypatch.setattr(service.uploads, "_patience", 0.2)

    async def receive():
        import asyncio

        await asyncio.sleep(60)

    import asyncio

    from starlette.requests import Request

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"audio/wav")]}
    with pytest.raises(ProblemError) as caught:
        asyncio.run(service.uploads.take(Request(scope, receive), "speech"))
    assert (caught.value.status, caught.value.detail) == (408, "the upload did not arrive within 0.2 s: try again")


def test_too_many_come_in(client, spoken, monkeypatch):
    monkeypatch.setattr("mmretrieval.web.decoding.uploads.AT_ONCE", 0)
    answer = send(client, spoken("red"))
    assert refused(answer) == (503, "too many uploads come in: try again in a moment")
    assert answer.headers["retry-after"] == "2"


def test_a_full_disk(client, spoken, service, monkeypatch, tmp_path):
    monkeypatch.setattr(service.uploads, "_folder", tmp_path / "missing")
    assert refused(send(client, spoken("red"))) == (503, "the server has no room for the upload: try again later")


def test_a_model_without_speech_is_not_spoken_to(client, service, monkeypatch, spoken):
    monkeypatch.setattr(service.serving.model, "modalities", ("video", "text"))
    assert refused(send(client, spoken("red"))) == (
        400,
        "this collection cannot be asked by speech: its model has none",
    )


def test_a_wave_file_is_what_it_says(tmp_path):
    """The recordings of these tests are real ones."""
    with wave.open(str(recording(tmp_path / "a.wav", "red"))) as file:
        assert file.getnframes() == 16_000

"""Nothing but the file itself is opened: lists of files, addresses and devices are no media."""

import socket

import av
import pytest
from clips import write_speech, write_video

from mmretrieval.errors import MediaError
from mmretrieval.media.audio import read_audio
from mmretrieval.media.opening import LISTS, open_alone
from mmretrieval.media.video import open_video

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile {}\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {} RTP/AVP 96\na=rtpmap:96 H264/90000\n"


@pytest.fixture
def media(tmp_path):
    """A video and a recording that a list may name, in the folder of the list."""
    write_video(tmp_path / "a.mp4", (220, 20, 20), 0)
    write_speech(tmp_path / "a.wav", 0, 0)
    return tmp_path


@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list"])
@pytest.mark.parametrize("text", [HLS, CONCAT])
def test_lists_are_no_videos(media, name, text):
    for named in ("a.mp4", f"file://{media}/a.mp4", media / "a.mp4"):
        (media / name).write_text(text.format(named))
        for backend in ("pyav", "decord"):
            with pytest.raises(MediaError, match="is not a video"):
                open_video(media / name, backend)


@pytest.mark.parametrize("text", [HLS, CONCAT])
def test_lists_are_no_recordings(media, text):
    (media / "list").write_text(text.format(media / "a.wav"))
    with pytest.raises(MediaError, match="is not a recording"):
        read_audio(media / "list")


@pytest.mark.parametrize("text", [HLS, SDP])
def test_no_address_is_connected_to(tmp_path, text):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        (tmp_path / "list.mp4").write_text(text.format(f"http://127.0.0.1:{port}/a.ts" if text == HLS else port))
        with pytest.raises(MediaError):
            open_video(tmp_path / "list.mp4", "pyav")
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_other_names_of_files_are_no_protocols(media, monkeypatch):
    monkeypatch.chdir(media)
    with pytest.raises(av.error.FFmpegError):
        open_alone("concat:a.mp4|a.mp4")
    with open_alone(media / "a.mp4") as container:
        assert container.format.name.startswith("mov")


def test_lists_are_names_that_ffmpeg_knows():
    assert {"hls", "concat", "dash", "sdp", "image2"} <= LISTS & av.formats_available

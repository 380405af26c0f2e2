"""A picture of a moment, made inside a decoding process, and whether browsers play a file as it is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmretrieval.errors import MediaError
from mmretrieval.web.decoding.jobs import Refused

WIDTH = 320
"""Of a thumbnail, in pixels."""

LATE = 0.1
"""Seconds by which the first frame found by seeking may come too late: some containers land behind their goal."""

VIDEO_CODECS = {"mp4": {"h264", "av1", "vp9"}, "webm": {"vp8", "vp9", "av1"}}
AUDIO_CODECS = {"mp4": {"aac", "mp3"}, "webm": {"opus", "vorbis"}}
FORMS = {".mp4": "mp4", ".m4v": "mp4", ".webm": "webm"}


class Thumbnail(NamedTuple):
    """A picture from the middle of a moment."""

    path: str
    start: float
    end: float

    def run(self) -> Iterator[bytes | Refused]:
        """Yield a JPEG."""
        from PIL import Image

        try:
            frame = frame_at(self.path, (self.start + self.end) / 2, self.end - self.start)
        except MediaError:
            yield Refused("there is no picture to be had of this moment: its file is damaged")
            return
        image = Image.fromarray(frame)
        image.thumbnail((WIDTH, WIDTH))
        content = io.BytesIO()
        image.save(content, "JPEG", quality=80, optimize=True, progressive=True)
        yield content.getvalue()


class Played(NamedTuple):
    """Asks of files whether browsers play them."""

    paths: tuple[str, ...]

    def run(self) -> Iterator[bool]:
        """Yield the answer for each."""
        yield from map(is_played, self.paths)


def is_played(path: str) -> bool:
    """Return whether every current browser plays a file: container, codecs and colours."""
    from mmretrieval.media.pyav_frames import open_container

    form = FORMS.get(Path(path).suffix.lower())
    if form is None:
        return False
    try:
        with open_container(Path(path)) as container:
            context = container.streams.video[0].codec_context
            sound = {stream.codec_context.name for stream in container.streams.audio}
            return (
                _codec(context.name) in VIDEO_CODECS[form]
                and context.pix_fmt in ("yuv420p", "yuvj420p")
                and {_codec(name) for name in sound} <= AUDIO_CODECS[form]
            )
    except (MediaError, OSError, ValueError):
        return False


def _codec(name: str) -> str:
    """Return the name of a codec without that of its decoder: ``libdav1d`` decodes av1."""
    names = {"libdav1d": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8", "libopus": "opus", "mp3float": "mp3"}
    return names.get(name, name)


def frame_at(path: str, seconds: float, length: float) -> np.ndarray:
    """Return the upright frame (H, W, 3) that is shown at a time of a video, or the nearest there is.

    Raises:
        MediaError: No frame can be decoded.
    """
    for time, frame in quick_frames(path, seconds):
        if seconds - length / 2 <= time <= seconds + LATE:
            return frame
        break
    from mmretrieval.media.video import open_video

    with open_video(path, "pyav") as reader:
        return reader.read([int(np.searchsorted(reader.times, seconds, "right")) - 1 if seconds > 0 else 0])[0]


def quick_frames(path: str, seconds: float) -> Iterator[tuple[float, np.ndarray]]:
    """Yield times and upright frames from a time of a video on, by seeking: nothing where that does not work."""
    import av

    from mmretrieval.media.pyav_frames import Upright, open_container
    from mmretrieval.media.stills import is_still

    if Path(path).is_dir() or is_still(Path(path)):
        return
    upright = Upright()
    with open_container(Path(path)) as container:
        stream = container.streams.video[0]
        zero = float((stream.start_time or 0) * stream.time_base)
        before = None
        try:
            container.seek(round((seconds + zero) / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.time is None:
                    return
                time = frame.time - zero
                if time > seconds:
                    if before is not None:
                        yield before[0], upright(before[1])
                        before = None
                    yield time, upright(frame)
                else:
                    before = (time, frame)
        except av.error.FFmpegError:
            pass
        if before is not None:
            yield before[0], upright(before[1])

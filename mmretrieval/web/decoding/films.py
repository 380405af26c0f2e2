"""A moment as a film that every browser plays, made inside a decoding process."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.errors import MediaError
from mmretrieval.web.decoding.jobs import Refused
from mmretrieval.web.decoding.pictures import LATE, quick_frames

SMALLER_SIDE = 720
FRAME_RATE = 30
"""Frames per second at most."""

TICKS = 90_000
SAMPLE_RATE = 48_000
LONGEST = 120.0
"""Seconds of a film; a longer moment is cut there."""

DAMAGED = "there is no film to be had of this moment: its file is damaged"


class Begun(NamedTuple):
    """Says how much longer a film may take than a picture."""

    extra_time: float


class Film(NamedTuple):
    """A moment as MP4: H.264 and AAC, its index in front, so that it plays while it loads.

    Attributes:
        path: The video.
        start: First second.
        end: Last second.
        out: The file to write.
    """

    path: str
    start: float
    end: float
    out: str

    def run(self) -> Iterator[Begun | Refused]:
        """Write the file; yield why not where there is nothing to see."""
        end = min(self.end, self.start + LONGEST)
        yield Begun(2 * (end - self.start))
        try:
            if not write_film(self.path, self.start, end, self.out):
                yield Refused(DAMAGED)
        except MediaError:
            yield Refused(DAMAGED)


def write_film(path: str, start: float, end: float, out: str) -> int:
    """Write seconds ``start``–``end`` of a video as MP4 and return how many frames that were."""
    import av

    written = 0
    with av.open(out, "w", format="mp4", options={"movflags": "+faststart"}) as film:
        pictures, sound = None, _sound_stream(film, path)
        for ticks, rgb in _frames(path, start, end):
            frame = _fitted(rgb)
            if pictures is None:
                pictures = film.add_stream("libx264", rate=FRAME_RATE, options={"preset": "veryfast", "crf": "23"})
                pictures.width, pictures.height, pictures.pix_fmt = frame.width, frame.height, "yuv420p"
                pictures.codec_context.time_base = Fraction(1, TICKS)
                pictures.codec_context.thread_count = 1
            if (frame.width, frame.height) != (pictures.width, pictures.height):
                frame = frame.reformat(pictures.width, pictures.height)
            frame.pts, frame.time_base = ticks, Fraction(1, TICKS)
            film.mux(pictures.encode(frame))
            written += 1
        if pictures is None:
            return 0
        film.mux(pictures.encode(None))
        if sound is not None:
            for frame in _sound(path, start, end):
                film.mux(sound.encode(frame))
            film.mux(sound.encode(None))
    return written


def _frames(path: str, start: float, end: float) -> Iterator[tuple[int, np.ndarray]]:
    """Yield upright frames of a span with their time from its beginning, no more of them than ``FRAME_RATE``."""
    last = -TICKS
    for time, frame in _all_frames(path, start, end):
        ticks = round(max(0.0, time - start) * TICKS)
        if ticks - last >= 0.9 * TICKS / FRAME_RATE:
            yield ticks, frame
            last = ticks


def _all_frames(path: str, start: float, end: float) -> Iterator[tuple[float, np.ndarray]]:
    found = False
    for time, frame in quick_frames(path, start):
        if time >= end or (not found and time > start + LATE):
            break
        found = True
        yield time, frame
    if found:
        return
    from mmretrieval.media.video import open_video

    with open_video(path, "pyav") as reader:
        inside = np.flatnonzero((reader.times >= start) & (reader.times < end))
        if not len(inside):
            inside = np.array([np.abs(reader.times - start).argmin()])
        for first in range(0, len(inside), 8):
            part = inside[first : first + 8]
            yield from zip(reader.times[part].tolist(), reader.read(part))


def _fitted(rgb: np.ndarray) -> Any:
    """Return a frame in the colours of H.264, no larger than ``SMALLER_SIDE``, both sides even."""
    import av

    height, width = rgb.shape[:2]
    scale = min(1.0, SMALLER_SIDE / min(height, width))
    sides = [max(2, round(side * scale / 2) * 2) for side in (width, height)]
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(*sides, format="yuv420p")


def _sound_stream(film: Any, path: str) -> Any:
    """Add a track for the sound of a video, if it has one."""
    from mmretrieval.media.pyav_frames import open_container
    from mmretrieval.media.stills import is_still

    if Path(path).is_dir() or is_still(Path(path)):
        return None
    with open_container(Path(path)) as container:
        if not container.streams.audio:
            return None
    return film.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")


def _sound(path: str, start: float, end: float) -> Iterator[Any]:
    """Yield the sound of a span; what cannot be decoded is silence."""
    import av

    from mmretrieval.media.pyav_frames import open_container

    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE)
    with open_container(Path(path)) as container:
        pictures, stream = container.streams.video[0], container.streams.audio[0]
        zero = float((pictures.start_time or 0) * pictures.time_base)
        try:
            container.seek(round((start + zero) / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                time = None if frame.time is None else frame.time - zero
                if time is None or time >= end:
                    return
                if time < start:
                    continue
                ticks = round((time - start) * SAMPLE_RATE)
                for part in resampler.resample(frame):
                    part.pts, part.time_base = ticks, Fraction(1, SAMPLE_RATE)
                    ticks += part.samples
                    yield part
        except av.error.FFmpegError:
            return

"""What becomes of an upload inside a decoding process: what it is, how long it is, and what a model takes of it.

An upload may be anything. FFmpeg is told which containers it may take it for, and that it may open nothing else: a
playlist that names other files or addresses is no recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.errors import MediaError
from mmretrieval.web.decoding.jobs import Refused

CONTAINERS = (
    *("wav", "w64", "aiff", "caf", "flac", "ogg", "mp3", "aac", "amr", "mov", "matroska", "webm"),
    *("avi", "asf", "flv", "mpeg", "mpegts"),
)
"""FFmpeg's names of what an upload may be. None of them refers to another file."""

WORDS = {"speech": "the recording", "video": "the clip"}
FORMS = {"speech": "wav, mp3, m4a, ogg, webm or flac", "video": "mp4, webm, mkv, mov or avi"}
SAMPLE_RATE = 16_000
MOST_PIXELS = 4096 * 2304
"""Of a frame; three of them take 85 MB."""
GRACE = 2.0
"""Seconds an upload may last longer than it should: a page in the background stops its microphone up to one too late,
and encoders pad what they write."""


class Upload(NamedTuple):
    """A file that somebody sent.

    Attributes:
        path: Where it lies.
        kind: ``speech`` or ``video``.
        longest: Seconds it may last, give or take ``GRACE``.
        processor: The preprocessing of the model, of which the video part is needed for a clip.
    """

    path: str
    kind: str
    longest: float
    processor: Any = None

    def run(self) -> Iterator[np.ndarray | Refused]:
        """Yield mono samples (n,) float32 at 16 kHz, or frames (T, C, H, W) uint8 as the model sees them."""
        try:
            seconds = check(self.path, self.kind)
            if seconds > self.longest + GRACE:
                raise MediaError(
                    f"{self.path}: lasts {seconds:.0f} s, at most {self.longest:g} s are taken: "
                    f"send a sentence or a short excerpt"
                )
            yield self._speech() if self.kind == "speech" else self._video()
        except MediaError as error:
            yield Refused(self._said(str(error)))
        except MemoryError:
            raise
        except Exception as error:  # a damaged file can make a decoder raise anything
            yield Refused(self._said(f"is damaged ({type(error).__name__})"))

    def _speech(self) -> np.ndarray:
        from mmretrieval.media.audio import audible, read_audio

        return audible(read_audio(self.path, SAMPLE_RATE))

    def _video(self) -> np.ndarray:
        return self.processor.video(self.path).numpy()

    def _said(self, reason: str) -> str:
        """Return a reason that speaks of what was sent instead of where it lies here."""
        word, reason = WORDS[self.kind], reason.removeprefix(f"{self.path}: ")
        for subject in ("the audio ", "the file "):
            reason = reason.removeprefix(subject)
        return f"{word} {reason}".replace(self.path, word)


def check(path: str, kind: str) -> float:
    """Return how many seconds a file lasts, by its packets: headers may say anything.

    Raises:
        MediaError: It is none of ``CONTAINERS``, has no track of its kind, nothing in it, or frames that are too large.
    """
    import av

    with open(path, "rb") as file:
        try:
            container = open_contained(file)
        except (av.error.FFmpegError, ValueError):
            raise MediaError(f"{path}: is none that can be read: send {FORMS[kind]}") from None
        with container:
            tracks = container.streams.audio if kind == "speech" else container.streams.video
            if not tracks:
                raise MediaError(f"{path}: has no {'sound' if kind == 'speech' else 'pictures'} in it: send another")
            track = tracks[0]
            if kind == "video" and track.codec_context.width * track.codec_context.height > MOST_PIXELS:
                size = f"{track.codec_context.width} × {track.codec_context.height}"
                raise MediaError(f"{path}: has frames of {size} pixels: send a smaller copy")
            return _length(container, track)


def open_contained(file: Any) -> Any:
    """Open a file object with PyAV so that only ``CONTAINERS`` are recognised and nothing else is opened."""
    import av

    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}
    return av.open(file, container_options=options, io_open=_open_nothing)


def _open_nothing(url: str, flags: int, options: dict) -> Any:
    raise PermissionError("an upload may not name other files")


def _length(container: Any, track: Any) -> float:
    import av

    first, last = None, 0.0
    try:
        for packet in container.demux(track):
            if packet.pts is None and packet.dts is None:
                continue
            time = float((packet.dts if packet.pts is None else packet.pts) * packet.time_base)
            first = time if first is None else min(first, time)
            last = max(last, time + float((packet.duration or 0) * packet.time_base))
    except av.error.FFmpegError:
        pass  # it breaks off: what comes before counts
    return 0.0 if first is None else last - first


def processor_of(model: Any) -> Any:
    """Return what of a model's preprocessing an example clip needs, small enough to travel with every job."""
    from mmretrieval.data.processor import Processor

    return Processor(clip=model.processor.clip_spec)


def spool(folder: Path) -> Path:
    """Return the name of a new file for an upload, without a suffix: nothing shall guess from it what is inside."""
    import secrets

    return folder / secrets.token_hex(16)

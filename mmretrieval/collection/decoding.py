"""What a worker process does with one video: open, cut, decode, and say of every moment what became of it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.collection.cutting import SHORTEST, Cutting
from mmretrieval.collection.stillness import is_black, repeats
from mmretrieval.errors import MediaError
from mmretrieval.files import sha256_file

Span = tuple[float | None, float | None]
"""Seconds that a manifest row asks for, None where it leaves a side open; a video that is to be cut has neither."""

WHOLE: Span = (None, None)

MOMENTS_AT_ONCE = 16
"""Moments decoded in one go: what lies between two of them is decoded once, and their frames fit into memory."""


class Job(NamedTuple):
    """A video to decode.

    Attributes:
        path: The file.
        hash: The SHA-256 it had when it was found.
        spans: What of it is asked for.
        known: Spans that need no embedding.
        most: Moments to give at most, from all over the video; None gives all of them.
    """

    path: str
    hash: str
    spans: tuple[Span, ...]
    known: frozenset[tuple[float, float]]
    most: int | None = None


class Opened(NamedTuple):
    """The video can be read: what is known about it, and its length in seconds."""

    metadata: dict[str, Any]
    duration: float

    @property
    def extra_time(self) -> float:
        """Seconds by which its length raises the time limit: a long film is not a hang."""
        return self.duration


class Clip(NamedTuple):
    """A decoded moment.

    Attributes:
        asked: The span that was asked for.
        start: First second.
        end: Last second.
        alone: Whether it is the only moment of that span.
        frames: (T, C, size, size) uint8, as the model sees it.
    """

    asked: Span
    start: float
    end: float
    alone: bool
    frames: np.ndarray


class Bad(NamedTuple):
    """A part of the video that cannot be used, and why; without times it is what was asked for as a whole."""

    reason: str
    start: float | None = None
    end: float | None = None


class Dropped(NamedTuple):
    """A moment in which there is nothing to see: ``black``, or ``still`` as the one before it."""

    kind: str
    start: float
    end: float


class Changed(NamedTuple):
    """The file is no longer what it was when it was found; nothing that was read can be trusted."""


class _Window(NamedTuple):
    asked: Span
    start: float
    end: float
    alone: bool


@dataclass(frozen=True)
class Decoder:
    """Decodes the moments of a video; it travels to the workers.

    Attributes:
        processor: The preprocessing of the model, of which the video part is needed.
        backend: The video reader.
        cutting: How videos are cut.
    """

    processor: Any
    backend: str
    cutting: Cutting

    def __call__(self, job: Job) -> Iterator[Opened | Clip | Bad | Dropped | Changed]:
        """Yield ``Opened``, then every moment in its order and what is wrong, then ``Changed`` if the file did.

        Of a sample (``job.most``) nothing is said of the file as a whole.

        Raises:
            MediaError: The file cannot be read.
        """
        from mmretrieval.media.video import open_video

        with open_video(job.path, self.backend) as reader:
            # whole milliseconds, rounded down: a span that ends with its video must not end after it
            duration = math.floor(reader.duration * 1000) / 1000
            yield Opened(_metadata(job.path, reader), duration)
            windows, refused = self._windows(job, reader, duration)
            yield from refused
            yield from self._moments(job, reader, windows if job.most is None else spread(windows, job.most))
        if job.most is not None:
            return
        yield from _broken_off(job, duration)
        if _changed(job):
            yield Changed()

    def _windows(self, job: Job, reader: Any, duration: float) -> tuple[list[_Window], list[Bad]]:
        """Return the moments that are asked for, each span once, and what cannot be had."""
        from mmretrieval.media.files import check_span

        windows: dict[tuple[float, float], _Window] = {}
        refused = []
        for asked in job.spans:
            if asked == WHOLE:
                spans = self.cutting.spans(duration, self._boundaries(reader))
            else:
                try:
                    check_span(job.path, "video", *asked, reader.duration)
                except MediaError as error:
                    refused.append(Bad(str(error), *asked))
                    continue
                spans = [(asked[0] or 0.0, duration if asked[1] is None else asked[1])]
            for span in spans:
                windows.setdefault(span, _Window(asked, *span, alone=len(spans) == 1))
        return list(windows.values()), refused

    def _boundaries(self, reader: Any) -> list[float]:
        if not self.cutting.shots:
            return []
        from mmretrieval.collection.shots import find_shots

        return find_shots(reader)

    def _moments(self, job: Job, reader: Any, windows: Sequence[_Window]) -> Iterator[Clip | Bad | Dropped]:
        new = [(window.start, window.end) not in job.known for window in windows]
        # whether a moment is still is seen by the one before it, be that known or not
        needed = [here or after for here, after in zip(new, [*new[1:], False])]
        todo = [(window, fresh) for window, fresh, decode in zip(windows, new, needed) if decode]
        before = None
        for first in range(0, len(todo), MOMENTS_AT_ONCE):
            part = todo[first : first + MOMENTS_AT_ONCE]
            for (window, fresh), (frames, damaged) in zip(part, self._read(reader, [window for window, _ in part])):
                said = self._judge(window, frames, damaged, before)
                before = None if damaged else frames[-1]
                if fresh:
                    yield said

    def _read(self, reader: Any, windows: Sequence[_Window]) -> list[tuple[np.ndarray, str | None]]:
        """Return for each moment its frames (T, C, size, size), and what is damaged of them."""
        from mmretrieval.data.processor import MUCH_LARGER
        from mmretrieval.media.sampling import span_indices

        chosen = []
        for window in windows:
            span = span_indices(reader.times, window.start, window.end)
            chosen.append(span[self.processor.choose_frames(len(span), reader.fps)])
        size = self.processor.clip_spec.size
        try:
            frames = reader.read(np.concatenate(chosen), MUCH_LARGER * size, self._fit)
        except MediaError:
            if len(windows) > 1:  # one of them may be whole
                return [answer for window in windows for answer in self._read(reader, [window])]
            return [(np.zeros((1, 3, size, size), np.uint8), "not one of its frames can be decoded")]
        parts = np.split(frames, np.cumsum([len(indices) for indices in chosen])[:-1])
        return [(part, _damage(reader, indices)) for part, indices in zip(parts, chosen)]

    def _fit(self, frame: np.ndarray) -> np.ndarray:
        return self.processor.fit(frame[None])[0].numpy()

    def _judge(
        self, window: _Window, frames: np.ndarray, damaged: str | None, before: np.ndarray | None
    ) -> Clip | Bad | Dropped:
        span = (window.start, window.end)
        if damaged is not None:
            return Bad(damaged, *span)
        # what somebody asked for by its times is theirs to judge
        if window.asked == WHOLE and not self.cutting.keep_still:
            if is_black(frames):
                return Dropped("black", *span)
            if before is not None and repeats(frames, before):
                return Dropped("still", *span)
        return Clip(window.asked, *span, window.alone, frames)


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return ``count`` of the items, chosen as frames of a clip are; all of them if there are no more."""
    from mmretrieval.media.sampling import uniform_indices

    return [items[place] for place in uniform_indices(len(items), min(count, len(items)))] if items else []


def _metadata(path: str, reader: Any) -> dict[str, Any]:
    known = {
        "fps": round(float(reader.fps), 3),
        "duration": round(float(reader.duration), 3),
        "modified": datetime.fromtimestamp(os.path.getmtime(path), UTC).isoformat(timespec="seconds"),
    }
    try:
        return {"width": int(reader.info.width), "height": int(reader.info.height), **known}
    except MediaError:  # the first frame is damaged; others may be whole
        return known


def _damage(reader: Any, indices: np.ndarray) -> str | None:
    frames = set(indices.tolist())
    damaged = len(frames & reader.corrupt)
    return f"damaged: {damaged} of the {len(frames)} frames that were looked at" if damaged else None


def _broken_off(job: Job, duration: float) -> Iterator[Bad]:
    """Yield the part that a file's header promises and its content does not hold."""
    from mmretrieval.media.pyav_frames import open_container
    from mmretrieval.media.stills import is_still

    if is_still(Path(job.path)):
        return
    with open_container(Path(job.path)) as container:
        stream = container.streams.video[0]
        promised = float(stream.duration * stream.time_base) if stream.duration else 0.0
    if WHOLE in job.spans and promised - duration >= SHORTEST:
        yield Bad(f"the file breaks off: it should last {promised:.1f} s", duration, round(promised, 3))


def _changed(job: Job) -> bool:
    try:
        return sha256_file(job.path) != job.hash
    except OSError:
        return True

"""The work itself: videos go to a runner, which decodes and embeds them; what it says of them goes into the ledger."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.collection.cutting import Cutting
from mmretrieval.collection.decoding import WHOLE, Bad, Changed, Decoder, Dropped, Job, Opened, Span
from mmretrieval.collection.ledger import Done, Ledger
from mmretrieval.collection.progress import Progress
from mmretrieval.collection.runner import Embedded, Runner
from mmretrieval.collection.segments import Moment
from mmretrieval.collection.sources import Source
from mmretrieval.collection.workers import End
from mmretrieval.errors import CollectionError
from mmretrieval.shown import one_line

CUT = "cut"
"""Key of a moment's metadata that says how its video was cut; what is named so need not be looked at again."""


class Task(NamedTuple):
    """A video to look at: its content, and what is asked for of it, by span."""

    path: str
    hash: str
    size: int
    sources: dict[Span, Source]


class Register:
    """Which spans and ids are taken, by moments of the collection and by those that are new."""

    def __init__(self, moments: Iterable[Moment]):
        self._spans: dict[str, set[tuple[float, float]]] = {}
        self._ids: dict[str, str] = {}
        for moment in moments:
            self.claim(moment)

    def knows(self, moment: Moment) -> bool:
        """Whether there is a moment of that content and span."""
        return (moment.start, moment.end) in self._spans.get(moment.hash, ())

    def spans(self, digest: str) -> frozenset[tuple[float, float]]:
        """Return the spans of a content that are taken."""
        return frozenset(self._spans.get(digest, ()))

    def claim(self, moment: Moment) -> str | None:
        """Enter a moment; or return why it cannot be."""
        if moment.id in self._ids:
            return f"its id '{moment.id}' is taken by {self._ids[moment.id]}: give it another"
        self._ids[moment.id] = moment.path
        self._spans.setdefault(moment.hash, set()).add((moment.start, moment.end))
        return None


@dataclass
class _Video:
    """A video that is being worked on."""

    task: Task
    done: Done
    metadata: dict[str, Any] = field(default_factory=dict)


class Work:
    """Has videos decoded and embedded, and decides what is done.

    Args:
        tasks: The videos.
        register: What is taken.
        ledger: Where everything that is done goes.
        cutting: How videos are cut.
        strict: Stop at the first thing that cannot be used.

    Attributes:
        changed: Videos that changed while they were read.
        videos: How many videos there are to do.
        finished: How many of them are finished.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        register: Register,
        ledger: Ledger,
        cutting: Cutting,
        strict: bool = False,
    ):
        self.changed: list[Done] = []
        self.videos = len(tasks)
        self.finished = 0
        self._videos = {task.hash: _Video(task, Done(task.path, task.hash, list(task.sources))) for task in tasks}
        self._register, self._ledger = register, ledger
        self._cutting, self._strict = cutting, strict

    def run(self, runner: Runner, shown: bool) -> None:
        """Do all of it.

        Args:
            runner: Decodes and embeds.
            shown: Show a progress bar.

        Raises:
            CollectionError: Strict, and something cannot be used; or what the runner raises.
            StorageError: The disk is full or refuses to be written.
        """
        if not self._videos:
            return
        size = sum(video.task.size for video in self._videos.values())
        with Progress(self.videos, size, shown) as progress, closing(runner.run(self._jobs())) as pieces:
            for job, piece in pieces:
                self._take(self._videos[job.hash], piece, progress)

    def _jobs(self) -> list[Job]:
        return [
            Job(task.path, task.hash, tuple(task.sources), self._register.spans(task.hash))
            for task in (video.task for video in self._videos.values())
        ]

    def _take(self, video: _Video, piece: Any, progress: Progress) -> None:
        """Note what the runner said of a video."""
        done = video.done
        match piece:
            case Opened():
                video.metadata = piece.metadata
            case Embedded():
                self._embedded(video, piece)
                progress.embedded(1)
            case Bad():
                self._bad(video, *piece)
            case Dropped():
                done.black += piece.kind == "black"
                done.still += piece.kind == "still"
            case Changed():
                done.bad, done.changed = [], True
                self._bad(video, "changed while it was read: add it again when nothing writes to it any more")
            case End():
                if piece.reason is not None:
                    self._bad(video, piece.reason)
                self._finish(video, progress)

    def _embedded(self, video: _Video, piece: Embedded) -> None:
        """Note a moment; it is named after its manifest row, else after its file's name and content."""
        source = video.task.sources[piece.asked]
        name = source.id or f"{one_line(Path(source.path).stem)}-{video.task.hash[:12]}"
        if not piece.alone:
            name = f"{name}@{piece.start:.3f}-{piece.end:.3f}"
        cut = {CUT: self._cutting.name} if piece.asked == WHOLE else {}
        metadata = {**video.metadata, **cut, **source.metadata}
        moment = Moment(name, source.path, piece.start, piece.end, video.task.hash, metadata)
        refused = self._register.claim(moment)
        if refused is None and not np.isfinite(piece.embedding).all():
            refused = "the model made numbers of it that are not finite"
        if refused is not None:
            self._bad(video, refused, piece.start, piece.end)
            return
        self._ledger.add(moment, piece.embedding)
        self._ledger.seal_if_due()

    def _bad(self, video: _Video, reason: str, start: float | None = None, end: float | None = None) -> None:
        reason = reason.removeprefix(f"{video.task.path}: ")
        if self._strict:
            raise CollectionError(f"{video.task.path}: {reason}")
        video.done.bad.append((reason, start, end))

    def _finish(self, video: _Video, progress: Progress) -> None:
        """Note a video as done."""
        self.finished += 1
        if video.done.changed:
            self.changed.append(video.done)
        self._ledger.finish(video.done)
        self._ledger.seal_if_due()
        progress.finished(video.task.size, len(video.done.bad))


def decoder_of(model: Any, backend: str, cutting: Cutting) -> Decoder:
    """Return what decodes for a model, light enough to travel: its preprocessing of video alone."""
    processor = copy.copy(model.processor)
    processor.speech_spec = processor.text_spec = processor.tokenizer = None
    return Decoder(processor, backend, cutting)


def size_of(path: str) -> int:
    """Return the bytes of a file, 0 if it has just gone."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0

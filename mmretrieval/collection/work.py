"""The work itself: videos go to the decoders, what they give goes through the model, what is done into the ledger."""

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
from mmretrieval.collection.decoding import (
    MOMENTS_AT_ONCE,
    WHOLE,
    Bad,
    Changed,
    Clip,
    Decoder,
    Dropped,
    Job,
    Opened,
    Span,
)
from mmretrieval.collection.embed import Embedder
from mmretrieval.collection.ledger import Done, Ledger
from mmretrieval.collection.progress import Progress
from mmretrieval.collection.segments import Moment
from mmretrieval.collection.sources import Source
from mmretrieval.collection.workers import End, Workers
from mmretrieval.environment import cores
from mmretrieval.errors import CollectionError

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
    waiting: int = 0
    ended: bool = False


class Work:
    """Decodes and embeds videos.

    Args:
        tasks: The videos.
        register: What is taken.
        ledger: Where everything that is done goes.
        embedder: Makes embeddings of clips.
        cutting: How videos are cut.
        strict: Stop at the first thing that cannot be used.

    Attributes:
        changed: Videos that changed while they were read.
        finished: How many videos are finished.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        register: Register,
        ledger: Ledger,
        embedder: Embedder,
        cutting: Cutting,
        strict: bool = False,
    ):
        self.changed: list[Done] = []
        self.finished = 0
        self._videos = {task.hash: _Video(task, Done(task.path, task.hash, list(task.sources))) for task in tasks}
        self._register, self._ledger, self._embedder = register, ledger, embedder
        self._cutting, self._strict = cutting, strict
        self._waiting: list[tuple[_Video, Moment, np.ndarray]] = []

    def run(self, decoder: Decoder, processes: int, time_limit: float, memory_limit: int, shown: bool) -> None:
        """Do all of it.

        Args:
            decoder: Makes clips of videos.
            processes: How many of them decode.
            time_limit: Seconds of work, beyond its own length, that a video may take.
            memory_limit: Bytes that decoding it may take.
            shown: Show a progress bar.

        Raises:
            CollectionError: Strict, and something cannot be used.
            StorageError: The disk is full or refuses to be written.
        """
        if not self._videos:
            return
        ahead = self._embedder.batch_size + MOMENTS_AT_ONCE
        workers = Workers(decoder, processes, time_limit, memory_limit, ahead)
        size = sum(video.task.size for video in self._videos.values())
        with Progress(len(self._videos), size, shown) as progress, closing(workers.run(self._jobs())) as pieces:
            for job, piece in pieces:
                self._take(self._videos[job.hash], piece, progress)
                if len(self._waiting) >= self._embedder.wanted:
                    self._embed(max(1, cores() - workers.busy), progress)
            self._embed(cores(), progress)

    def _jobs(self) -> list[Job]:
        return [
            Job(task.path, task.hash, tuple(task.sources), self._register.spans(task.hash))
            for task in (video.task for video in self._videos.values())
        ]

    def _take(self, video: _Video, piece: Any, progress: Progress) -> None:
        """Note what a decoder said of a video."""
        done = video.done
        match piece:
            case Opened():
                video.metadata = piece.metadata
            case Clip():
                self._clip(video, piece)
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
                video.ended = True
                self._finish(video, progress)

    def _clip(self, video: _Video, clip: Clip) -> None:
        """Make a moment of a clip; it is named after its manifest row, else after its file's name and content."""
        source = video.task.sources[clip.asked]
        name = source.id or f"{Path(source.path).stem}-{video.task.hash[:12]}"
        if not clip.alone:
            name = f"{name}@{clip.start:.3f}-{clip.end:.3f}"
        cut = {CUT: self._cutting.name} if clip.asked == WHOLE else {}
        metadata = {**video.metadata, **cut, **source.metadata}
        moment = Moment(name, source.path, clip.start, clip.end, video.task.hash, metadata)
        refused = self._register.claim(moment)
        if refused is not None:
            self._bad(video, refused, clip.start, clip.end)
            return
        video.waiting += 1
        self._waiting.append((video, moment, clip.frames))

    def _embed(self, threads: int, progress: Progress) -> None:
        """Embed all clips that wait, and finish the videos that are complete with them."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        embeddings = self._embedder([frames for _, _, frames in waiting], threads)
        for (video, moment, _), embedding in zip(waiting, embeddings):
            video.waiting -= 1
            if np.isfinite(embedding).all():
                self._ledger.add(moment, embedding)
            else:
                self._bad(video, "the model made numbers of it that are not finite", moment.start, moment.end)
        progress.embedded(len(waiting))
        for video in {video.task.hash: video for video, _, _ in waiting}.values():
            self._finish(video, progress)
        self._ledger.seal_if_due()

    def _bad(self, video: _Video, reason: str, start: float | None = None, end: float | None = None) -> None:
        reason = reason.removeprefix(f"{video.task.path}: ")
        if self._strict:
            raise CollectionError(f"{video.task.path}: {reason}")
        video.done.bad.append((reason, start, end))

    def _finish(self, video: _Video, progress: Progress) -> None:
        """Note a video as done if nothing of it is outstanding."""
        if not video.ended or video.waiting:
            return
        self.finished += 1
        if video.done.changed:
            self.changed.append(video.done)
        self._ledger.finish(video.done)
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

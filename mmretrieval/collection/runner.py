"""Who decodes and embeds: whatever takes jobs and says of every moment what became of it; here, this machine."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any, NamedTuple, Protocol

import numpy as np

from mmretrieval.collection.decoding import MOMENTS_AT_ONCE, Clip, Decoder, Job, Span, spread
from mmretrieval.collection.embed import CALIBRATION, Embedder
from mmretrieval.collection.workers import Workers


class Embedded(NamedTuple):
    """A moment that is done.

    Attributes:
        asked: The span that was asked for.
        start: First second.
        end: Last second.
        alone: Whether it is the only moment of that span.
        embedding: (D,) float32.
    """

    asked: Span
    start: float
    end: float
    alone: bool
    embedding: np.ndarray


Pieces = Generator[tuple[Job, Any], None, None]
"""A job and one thing about it: ``Opened``, ``Embedded``, ``Bad``, ``Dropped``, ``Changed`` or ``End``."""


class Runner(Protocol):
    """Decodes and embeds; it knows no collection, and keeps nothing."""

    def run(self, jobs: Sequence[Job]) -> Pieces:
        """Yield what becomes of each job, in the order of its video, and ``End`` once per job, last.

        Ending early, by ``close`` of the generator or an exception, stops all that it has begun.
        """

    def close(self) -> None:
        """Let go of everything that is kept ready for the next jobs."""


class Limits(NamedTuple):
    """What decoding a video may take.

    Attributes:
        time: Seconds of work, beyond its own length.
        memory: Bytes.
    """

    time: float
    memory: int


class LocalRunner:
    """Decodes in limited child processes and embeds in this process.

    Args:
        decoder: Makes clips of videos.
        embedder: Makes embeddings of clips.
        limits: What decoding a video may take.
        processes: How many of them decode.
        cores: How many cores decoding and embedding share.
    """

    def __init__(self, decoder: Decoder, embedder: Embedder, limits: Limits, processes: int, cores: int):
        self._embedder, self._cores = embedder, cores
        self._workers = Workers(decoder, processes, *limits, ahead=2 * embedder.batch_size + MOMENTS_AT_ONCE)

    def run(self, jobs: Sequence[Job]) -> Pieces:
        """Yield what becomes of each job; clips of several videos are embedded together."""
        if self._embedder.uncalibrated:
            self._calibrate(jobs)
        held: list[tuple[Job, Any]] = []
        clips, behind = 0, set()
        with closing(self._workers.run(jobs)) as pieces:
            for job, piece in pieces:
                # nothing overtakes what is held of the same video
                if not isinstance(piece, Clip) and job.hash not in behind:
                    yield job, piece
                    continue
                held.append((job, piece))
                behind.add(job.hash)
                clips += isinstance(piece, Clip)
                if clips >= self._embedder.batch_size:
                    yield from self._embed(held, max(1, self._cores - self._workers.busy))
                    held, clips, behind = [], 0, set()
            yield from self._embed(held, self._cores)

    def _calibrate(self, jobs: Sequence[Job]) -> None:
        """Calibrate with moments from all over the videos: the first ones may all be of one scene."""
        each = -(-CALIBRATION // max(1, len(jobs)))
        sample = [job._replace(most=each) for job in spread(jobs, CALIBRATION)]
        clips = [piece.frames for _, piece in self._workers.run(sample) if isinstance(piece, Clip)]
        if clips:
            self._embedder.calibrate(clips)

    def _embed(self, held: Sequence[tuple[Job, Any]], threads: int) -> list[tuple[Job, Any]]:
        """Return what was held, with embeddings in the place of clips."""
        clips = [piece.frames for _, piece in held if isinstance(piece, Clip)]
        if not clips:
            return []
        embeddings = iter(self._embedder(clips, threads))
        return [
            (job, Embedded(*piece[:4], next(embeddings)) if isinstance(piece, Clip) else piece) for job, piece in held
        ]

    def close(self) -> None:
        """End the decoding processes."""
        self._workers.close()

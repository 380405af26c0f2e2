"""From spans of videos to embeddings: files are hashed and decoded by threads, moments encoded in batches."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mmretrieval.collection.segments import Moment
from mmretrieval.collection.sources import SetAside, Source, cut
from mmretrieval.environment import cores
from mmretrieval.errors import MMRetrievalError
from mmretrieval.files import sha256_file

BATCH = 32
AHEAD = 8
"""Decoded moments that may wait for the model, per worker: what bounds the memory."""

T = TypeVar("T")
R = TypeVar("R")


class Facts(NamedTuple):
    """What is known about a video file before it is decoded."""

    hash: str
    duration: float
    metadata: dict[str, Any]


def read_facts(paths: Sequence[str], backend: str, step: Callable[[bool], Any]) -> dict[str, Facts | str]:
    """Hash and open every file; the answer by path is its facts, or the reason why it cannot be used.

    ``step`` is called once per file with whether it worked.
    """

    def read(path: str) -> Facts | str:
        return _or_reason(path, lambda: _facts(path, backend))

    facts = {}
    for path, answer in zip(paths, _in_order(read, paths)):
        facts[path] = answer
        step(not isinstance(answer, str))
    return facts


def plan(
    sources: Sequence[Source], facts: dict[str, Facts | str], window: float
) -> tuple[list[Moment], list[SetAside]]:
    """Cut sources into moments; what cannot be cut is set aside.

    A moment is named after its manifest row, else after its file's name and content; windows add their span.
    """
    moments: list[Moment] = []
    aside: dict[str, SetAside] = {}
    for source in sources:
        known = facts[source.path]
        if isinstance(known, str):
            aside[source.path] = SetAside(source.path, known)
            continue
        if source.start is None and source.end is None:
            spans = cut(known.duration, window)
        else:
            spans = [(source.start or 0.0, known.duration if source.end is None else source.end)]
        name = source.id or f"{Path(source.path).stem}-{known.hash[:12]}"
        for start, end in spans:
            moment_id = name if len(spans) == 1 else f"{name}@{start:.3f}-{end:.3f}"
            metadata = {**known.metadata, **source.metadata}
            moments.append(Moment(moment_id, source.path, start, end, known.hash, metadata))
    return moments, list(aside.values())


def embed_moments(
    model: Any, moments: Sequence[Moment], backend: str, step: Callable[[bool], Any]
) -> tuple[list[Moment], np.ndarray, list[SetAside]]:
    """Decode and embed moments; ``step`` is called once per moment with whether it could be decoded.

    Returns:
        The moments that worked, their embeddings (n, D) float32, and the others with their reasons.
    """

    def decode(moment: Moment) -> Any:
        clip = (moment.path, moment.start, moment.end)
        return _or_reason(moment.path, lambda: model.processor.video(*clip, backend=backend))

    kept: list[Moment] = []
    rows: list[np.ndarray] = []
    aside: list[SetAside] = []
    waiting: list[tuple[Moment, Any]] = []

    def encode() -> None:
        embeddings = model.embed("video", [clip for _, clip in waiting])
        for (moment, _), embedding in zip(waiting, embeddings):
            if np.isfinite(embedding).all():
                kept.append(moment)
                rows.append(np.asarray(embedding, np.float32))
            else:
                reason = "the model made numbers of it that are not finite"
                aside.append(SetAside(moment.path, reason, moment.start, moment.end))
        waiting.clear()

    for moment, clip in zip(moments, _in_order(decode, moments)):
        if isinstance(clip, str):
            aside.append(SetAside(moment.path, clip, moment.start, moment.end))
        else:
            waiting.append((moment, clip))
        if len(waiting) == BATCH:
            encode()
        step(not isinstance(clip, str))
    if waiting:
        encode()
    return kept, np.stack(rows) if rows else np.zeros((0, model.dim), np.float32), aside


def _facts(path: str, backend: str) -> Facts:
    from mmretrieval.media.video import open_video

    digest = sha256_file(path)
    with open_video(path, backend) as video:
        info = video.info
    modified = datetime.fromtimestamp(os.path.getmtime(path), UTC).isoformat(timespec="seconds")
    metadata = {
        "width": int(info.width),
        "height": int(info.height),
        "fps": round(float(info.fps), 3),
        "duration": round(float(info.duration), 3),
        "modified": modified,
    }
    # whole milliseconds, rounded down: a span that ends with its video must not end after it
    return Facts(digest, math.floor(info.duration * 1000) / 1000, metadata)


def _or_reason(path: str, work: Callable[[], R]) -> R | str:
    """Return what ``work`` returns, or why it failed: a damaged file can make a decoder raise anything."""
    try:
        return work()
    except MMRetrievalError as error:
        return str(error).removeprefix(f"{path}: ")
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _in_order(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Run ``work`` over ``items`` in threads and yield the answers in order, never far ahead of who takes them."""
    workers = cores()
    running: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) >= workers * AHEAD:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            # when the taker stops early (Ctrl-C, a full disk), what has not begun never begins
            for future in running:
                future.cancel()

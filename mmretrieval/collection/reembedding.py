"""Another model for a collection: the moments it holds, no more and no fewer, embedded anew from their videos."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.collection.embed import Embedder
from mmretrieval.collection.ingest import Options, interruptible
from mmretrieval.collection.ledger import Ledger
from mmretrieval.collection.looking import look_at
from mmretrieval.collection.segments import UNREAD, Moment
from mmretrieval.collection.snapshot import Snapshot
from mmretrieval.collection.sources import SetAside, Source, find_sources
from mmretrieval.collection.summary import describe, plain
from mmretrieval.collection.work import Register, Task, Work, size_of
from mmretrieval.errors import CollectionError
from mmretrieval.shown import count

FOLDER = "reembedding"
"""Folder inside a collection for what is embedded before the switch: additions meanwhile leave it alone."""

CHANGED = "holds something else than what was embedded."
LATE = "was not there when it was imported: 'index add' embeds it."

Key = tuple[str, float, float]
"""What an embedding is of: the content of a video, and the span."""


class Reembedded(NamedTuple):
    """What a re-embedding did.

    Attributes:
        moments: Moments that have an embedding of the new model.
        videos: Different contents among them.
        resumed: Moments that an interrupted run had embedded.
        discarded: Shards of an interrupted run that were damaged, or of another model or precision.
        lost: Moments that are no longer in the collection.
        already: The collection was made by that model; nothing was done.
        set_aside: Why: the videos, or parts of them, that could not be embedded.
    """

    moments: int = 0
    videos: int = 0
    resumed: int = 0
    discarded: int = 0
    lost: int = 0
    set_aside: tuple[SetAside, ...] = ()
    already: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**self._asdict(), "set_aside": plain(self.set_aside)}

    def lines(self) -> list[str]:
        """Say it to a person."""
        first = f"{count(self.videos, 'video')}, {count(self.moments, 'moment')} embedded anew"
        lines = [f"{first}, {self.resumed} of them by an interrupted run" if self.resumed else first]
        if self.discarded:
            what = "of an interrupted run discarded: damaged, or of another model or precision"
            lines.append(f"{count(self.discarded, 'shard')} {what}")
        if self.lost:
            lines.append(f"{count(self.lost, 'moment')} lost, set aside:")
            lines += [f"  {describe(aside)}" for aside in self.set_aside]
        return lines


class LossError(CollectionError):
    """Moments would be lost as their videos cannot be embedded; ``set_aside`` has them all."""

    def __init__(self, message: str, set_aside: tuple[SetAside, ...]):
        super().__init__(message)
        self.set_aside = set_aside


@dataclass(frozen=True)
class Reembedding:
    """Moments of a collection with embeddings of another model.

    Attributes:
        moments: The moments, in their order, with the present paths of their videos.
        embeddings: Theirs, (n, D) float32.
        precision: What the embeddings were computed in.
        duplicates: Records of copies, all of them.
        set_aside: What could not be embedded.
        summary: The outcome in numbers.
    """

    moments: list[Moment]
    embeddings: np.ndarray
    precision: str
    duplicates: list[dict[str, str]]
    summary: Reembedded

    @property
    def set_aside(self) -> tuple[SetAside, ...]:
        """What could not be embedded."""
        return self.summary.set_aside


@contextmanager
def reembed(
    old: Snapshot, model: Any, folder: Path, options: Options, name: str, allow_lost: bool
) -> Iterator[Reembedding]:
    """Embed the moments of ``old`` with another model; what an interrupted run has done is not done again.

    Give the outcome to a collection inside the ``with`` block: when it ends well, the shards are removed.

    Args:
        old: The collection.
        model: The model that embeds.
        folder: The collection that they are for, which has the shards.
        options: How to do it; how videos are cut is taken from the moments.
        name: Folder of the shards in it.
        allow_lost: Go on without the moments whose videos cannot be embedded.

    Raises:
        LossError: Without ``allow_lost``, a video is gone or changed, which is seen before anything is embedded, or
            damaged: what is embedded then stays for the next run. Or nothing could be embedded.
        StorageError: The disk is full or refuses to be written; what was done before it was stays for the next run.
        KeyboardInterrupt: Somebody pressed Ctrl-C; what is done stays for the next run.
    """
    with interruptible() as begun:
        embedder = Embedder(model, options.precision)
        there = _Whereabouts(old, options.progress)
        moments = [moment._replace(path=there.path_of(moment)) for moment in old.moments]
        gone = [moment for moment in moments if moment.hash not in there.where]
        if gone and not allow_lost:
            # said before hours of embedding, not after them
            raise _loss(old, len(gone), there.gone(gone), "nothing has been embedded yet")
        with _ledger(model, folder, embedder.precision, options.backend, name) as ledger:
            done = {_key(moment) for moment in ledger.moments}
            known = [moment for moment in moments if _key(moment) in done]
            tasks = _tasks([moment for moment in moments if moment.hash in there.where and _key(moment) not in done])
            work = Work(tasks, Register(known), ledger, options.cutting)
            begun.append(work)
            with closing(options.runner_of(model, embedder)) as runner:
                work.run(runner, options.progress)
            outcome = _outcome(moments, ledger, work, there, embedder.precision, len(known))
            lost = outcome.summary.lost
            if lost and (not allow_lost or not outcome.moments):
                ledger.seal()
                raise _loss(old, lost, outcome.set_aside, "the others are and wait")
            yield outcome
            ledger.clear()


def forget_finished(model: Any, folder: Path, precision: str, backend: str) -> None:
    """Remove what is in the collection by now, but was left by a process that was killed just after the switch."""
    _ledger(model, folder, precision, backend, FOLDER).forget()


def _ledger(model: Any, folder: Path, precision: str, backend: str, name: str) -> Ledger:
    key = {"model": model.fingerprint(), "precision": precision, "dim": model.dim}
    return Ledger(folder, {**key, "spans": "of a collection", "backend": backend}, name)


class _Whereabouts:
    """Where the videos of a collection are now, told by content.

    A file that was renamed without the collection being told is looked for in the folder where it was.

    Attributes:
        where: A path by content hash, of what is still there.
        duplicates: Records of copies, all of them.
    """

    def __init__(self, old: Snapshot, progress: bool):
        moments, noted = old.moments, old.manifest.duplicates
        paths = dict.fromkeys([*(moment.path for moment in moments), *(record["path"] for record in noted)])
        look = look_at([Source(path) for path in paths], (), progress)
        self._hashes = look.hashes
        self._reasons = {aside.path: aside.reason for aside in look.unreadable}
        self.where: dict[str, str] = {}
        for path, digest in look.hashes.items():
            self.where.setdefault(digest, path)
        missing = {moment.hash: moment.path for moment in moments if moment.hash not in self.where}
        if missing:
            around = [Source(path) for path in _videos_around(missing.values()) if path not in paths]
            found = look_at(around, (), progress).hashes
            self.where.update({digest: path for path, digest in found.items() if digest in missing})
        homes = {moment.hash: self.path_of(moment) for moment in reversed(moments)}
        self.duplicates = []
        for record in noted:
            original = homes.get(look.hashes.get(record["path"], ""), record["same_as"])
            if record["path"] != original:  # one that stands in for a lost original is a copy no more
                self.duplicates.append({"path": record["path"], "same_as": original})

    def path_of(self, moment: Moment) -> str:
        """Return where the video of a moment is now, or where it was if it is nowhere."""
        if self._hashes.get(moment.path) == moment.hash:
            return moment.path
        return self.where.get(moment.hash, moment.path)

    def gone(self, moments: Sequence[Moment]) -> tuple[SetAside, ...]:
        """Return why the videos of moments, which are nowhere, cannot be used."""
        paths = {moment.hash: moment.path for moment in moments}
        other = {digest: LATE if digest.startswith(UNREAD) else CHANGED for digest in paths}
        return tuple(SetAside(path, self._reasons.get(path, other[digest])) for digest, path in paths.items())


def _videos_around(paths: Sequence[str]) -> list[str]:
    """Return the videos in and below the folders of files that are gone."""
    folders = [folder for folder in dict.fromkeys(map(os.path.dirname, paths)) if os.path.isdir(folder)]
    with suppress(CollectionError):  # no video in any of them
        return list(dict.fromkeys(source.path for source in find_sources(folders)[0])) if folders else []
    return []


def _tasks(moments: Sequence[Moment]) -> list[Task]:
    """Return what to do for moments: their spans, which keep their names and what is known of them."""
    asked: dict[str, dict[tuple[float | None, float | None], Source]] = {}
    for moment in moments:
        source = Source(moment.path, moment.id, moment.start, moment.end, moment.metadata)
        asked.setdefault(moment.hash, {}).setdefault((moment.start, moment.end), source)
    tasks = []
    for digest, sources in asked.items():
        path = next(iter(sources.values())).path
        tasks.append(Task(path, digest, size_of(path), sources))
    return tasks


def _outcome(
    moments: Sequence[Moment], ledger: Ledger, work: Work, there: _Whereabouts, precision: str, resumed: int
) -> Reembedding:
    """Give every moment its new embedding; those that have none are lost."""
    rows = {_key(moment): row for row, moment in enumerate(ledger.moments)}
    kept = [moment for moment in moments if _key(moment) in rows]
    lost = [moment for moment in moments if _key(moment) not in rows]
    ended = {**ledger.done, **{done.hash: done for done in work.changed}}
    gone = there.gone([moment for moment in lost if moment.hash not in there.where])
    damaged = {moment.hash: moment.path for moment in lost if moment.hash in there.where}
    aside = [*gone, *(SetAside(path, *bad) for digest, path in damaged.items() for bad in ended[digest].bad)]
    summary = Reembedded(
        moments=len(kept),
        videos=len({moment.hash for moment in kept}),
        resumed=resumed,
        discarded=ledger.discarded,
        lost=len(lost),
        set_aside=tuple(aside),
    )
    embeddings = ledger.embeddings()[[rows[_key(moment)] for moment in kept]]
    return Reembedding(kept, embeddings, precision, there.duplicates, summary)


def _loss(old: Snapshot, lost: int, aside: Sequence[SetAside], others: str) -> LossError:
    first = f"the first: {describe(aside[0])}"
    if lost == len(old):
        return LossError(f"not one moment of {old.folder} can be embedded; {first}", tuple(aside))
    return LossError(
        f"{lost} of {len(old)} moments of {old.folder} cannot be embedded, {others}: mend the videos and run the same "
        f"command again, or go on without these moments with --allow-lost; {first}",
        tuple(aside),
    )


def _key(moment: Moment) -> Key:
    return (moment.hash, moment.start, moment.end)

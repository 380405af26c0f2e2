"""What a build or an addition brings in: new moments with their embeddings, and everything worth noting on the way.

Videos are told apart by the hash of their content. A runner decodes and embeds them, here or on a cluster, the ledger
keeps what is done, and in the end all of it is one addition to the collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmretrieval.collection.cutting import WINDOW, Cutting
from mmretrieval.collection.decoding import Span
from mmretrieval.collection.embed import Embedder
from mmretrieval.collection.ledger import Ledger
from mmretrieval.collection.looking import Look, look_at
from mmretrieval.collection.runner import Limits, LocalRunner, Runner
from mmretrieval.collection.segments import Moment
from mmretrieval.collection.sources import SetAside, Source, find_sources
from mmretrieval.collection.summary import Summary
from mmretrieval.collection.work import CUT, Register, Task, Work, decoder_of, size_of
from mmretrieval.environment import cores
from mmretrieval.errors import CollectionError

RUNNERS = ("local", "ray")
"""Who may decode and embed."""


@dataclass(frozen=True)
class Options:
    """How videos become moments with embeddings.

    Attributes:
        window: Seconds of a moment; a video at most one second longer is one moment.
        stride: Seconds from the start of one moment to the next; None is ``window``.
        shots: Let no moment reach over the boundary between two shots.
        keep_still: Keep near-black moments, and those that only repeat the still picture before them.
        precision: What the backbone computes in: "fp32", "bf16", "int8", or "auto", the fastest close one.
        time_limit: Seconds of work, beyond its own length, after which decoding a video is given up.
        memory_limit: Bytes that decoding a video may take.
        workers: Decoding processes; None is one for every two cores. On a cluster each has cores of its own.
        progress: Show progress bars when standard error is a terminal.
        backend: The video reader: ``pyav``, the careful one, or ``decord``.
        on_bad: "skip" sets broken files aside and lists them, "raise" stops at the first.
        runner: Who decodes and embeds: "local", this machine, or "ray", a Ray cluster.
        ray_address: Where the cluster is, as seen from one of its machines; None starts one on this machine alone.

    Raises:
        CollectionError: A value that is not allowed.
    """

    window: float = WINDOW
    stride: float | None = None
    shots: bool = False
    keep_still: bool = False
    precision: str = "auto"
    time_limit: float = 300.0
    memory_limit: int = 2 << 30
    workers: int | None = None
    progress: bool = True
    backend: str = "pyav"
    on_bad: str = "skip"
    runner: str = "local"
    ray_address: str | None = None

    def __post_init__(self):
        _ = self.cutting
        if self.runner not in RUNNERS:
            raise CollectionError(f"unknown runner '{self.runner}': use one of {', '.join(RUNNERS)}")
        if not self.time_limit > 0:
            raise CollectionError(f"a video may take more than 0 s to decode, got {self.time_limit:g} s")
        if self.workers is not None and self.workers < 1:
            raise CollectionError(f"at least 1 process decodes, got {self.workers}")

    @property
    def cutting(self) -> Cutting:
        """How videos are cut."""
        return Cutting(self.window, self.stride, self.shots, self.keep_still)

    def runner_of(self, model: Any, embedder: Embedder) -> Runner:
        """Return who decodes and embeds; a cluster is not asked for before there is work."""
        decoder, limits = decoder_of(model, self.backend, self.cutting), Limits(self.time_limit, self.memory_limit)
        if self.runner == "ray":
            from mmretrieval.collection.ray_runner import RayRunner

            return RayRunner(decoder, model, embedder.precision, limits, self.workers, self.ray_address)
        # the other cores are for the model
        processes = max(1, cores() // 2) if self.workers is None else self.workers
        return LocalRunner(decoder, embedder, limits, processes, cores())


@dataclass(frozen=True)
class Ingest:
    """The outcome of looking at some sources.

    Attributes:
        moments: New moments.
        embeddings: Theirs, (n, D) float32.
        precision: What the embeddings were computed in.
        stale: Rows of the collection whose file now holds something else.
        duplicates: Path of the file with the same content, by path.
        moved: Present path by content hash, for files that were renamed.
        seen: Every path of which all that is known is said here; what is noted about others stays.
        summary: The outcome in numbers, and what cannot be used.
    """

    moments: list[Moment]
    embeddings: np.ndarray
    precision: str
    stale: list[int]
    duplicates: dict[str, str]
    moved: dict[str, str]
    seen: set[str]
    summary: Summary

    @property
    def set_aside(self) -> tuple[SetAside, ...]:
        """What cannot be used."""
        return self.summary.set_aside


@contextmanager
def ingest(
    paths: Sequence[str | Path],
    model: Any,
    folder: Path,
    options: Options,
    existing: Sequence[Moment] = (),
    quarantined: Sequence[dict[str, Any]] = (),
    precision: str | None = None,
) -> Iterator[Ingest]:
    """Find, hash, cut, decode and embed; what is known already is not embedded again.

    Give the outcome to the collection inside the ``with`` block: when it ends well, the pending shards in ``folder``,
    from which an interrupted run goes on, are removed.

    Args:
        paths: Video files, folders of them and manifests.
        model: The model that embeds.
        folder: The collection.
        options: How to do it.
        existing: Moments that are in the collection.
        quarantined: What the collection noted as unusable.
        precision: What its embeddings were computed in; None where there are none.

    Raises:
        CollectionError: A path does not exist, nothing was found, the collection has another precision than asked for,
            or ``on_bad`` is "raise" and something is broken.
        StorageError: The disk is full or refuses to be written; what was done before it was stays for the next run.
        KeyboardInterrupt: Somebody pressed Ctrl-C; what is done stays for the next run.
    """
    with interruptible() as begun:
        sources, aside = find_sources(paths)
        look = look_at(sources, existing, options.progress)
        aside += look.unreadable
        if aside and options.on_bad == "raise":
            raise CollectionError(f"{aside[0].path}: {aside[0].reason}")
        embedder = Embedder(model, _precision(folder, options.precision, precision))
        cutting = options.cutting
        key = {"model": model.fingerprint(), "precision": embedder.precision, "dim": model.dim}
        with Ledger(folder, {**key, "cutting": cutting.name, "backend": options.backend}) as ledger:
            live = [moment for row, moment in enumerate(existing) if row not in look.stale]
            resumed = [moment for moment in ledger.moments if look.path_of(moment.hash, moment.path)]
            register = Register([*live, *resumed])
            tasks, settled = _tasks(look, live, quarantined, ledger, cutting.name)
            work = Work(tasks, register, ledger, cutting, options.on_bad == "raise")
            begun.append(work)
            with closing(options.runner_of(model, embedder)) as runner:
                work.run(runner, options.progress)
            yield _outcome(look, live, ledger, work, aside, settled, embedder.precision, len(resumed))
            ledger.clear()


@contextmanager
def interruptible() -> Iterator[list[Work]]:
    """On Ctrl-C say what is kept, which the ledger sees to, and how to go on.

    Put the work, when it begins, into the list that this gives.
    """
    begun: list[Work] = []
    try:
        yield begun
    except KeyboardInterrupt:
        done = [f"{work.finished} of {work.videos} videos are done and kept" for work in begun]
        kept = done[0] if done else "no video was begun"
        raise KeyboardInterrupt(f"interrupted; {kept}: run the same command again to go on") from None


def _precision(folder: Path, asked: str, recorded: str | None) -> str:
    """Return the precision to embed in: that of the collection, if it has one."""
    if recorded is None:
        return asked
    if asked not in ("auto", recorded):
        raise CollectionError(
            f"the embeddings of {folder} were computed in {recorded}, {asked} was asked for: leave --precision out, "
            f"or build another collection"
        )
    return recorded


def _tasks(
    look: Look, live: Sequence[Moment], quarantined: Sequence[dict[str, Any]], ledger: Ledger, cutting: str
) -> tuple[list[Task], set[str]]:
    """Return the videos that have to be looked at, and the paths of which everything is known."""
    spans = {(moment.hash, moment.start, moment.end) for moment in live}
    ways = {(moment.hash, moment.metadata.get(CUT)) for moment in live}
    # a file that failed as a whole, for lack of time it may be, is tried again
    failed = {record["path"] for record in quarantined if "start" not in record}
    asked: dict[str, dict[Span, Source]] = {}
    settled = set()
    for source in look.sources:
        digest = look.hashes[source.path]
        whole = source.start is None and source.end is None
        if whole and (digest, cutting) in ways and source.path not in failed:
            if source.path not in look.duplicates and source.path not in look.moved.values():
                settled.add(source.path)
        elif (digest, source.start, source.end) not in spans:
            asked.setdefault(digest, {}).setdefault((source.start, source.end), source)
    tasks = []
    for digest, sources in asked.items():
        if digest in ledger.done and set(sources) <= set(ledger.done[digest].spans):
            continue
        path = next(iter(sources.values())).path
        tasks.append(Task(path, digest, size_of(path), sources))
    return tasks, settled


def _outcome(
    look: Look,
    live: Sequence[Moment],
    ledger: Ledger,
    work: Work,
    aside: list[SetAside],
    settled: set[str],
    precision: str,
    resumed: int,
) -> Ingest:
    """Put everything that is done together, in the order of the sources."""
    present = set(look.hashes.values())
    there = Register(live)
    place = {digest: number for number, digest in enumerate(dict.fromkeys(look.hashes.values()))}
    rows, moments = [], []
    for row, moment in enumerate(ledger.moments):
        path = look.path_of(moment.hash, moment.path)
        # what a run that was killed just after it wrote the manifest has left is in the collection
        if path is not None and not there.knows(moment):
            rows.append(row)
            moments.append(moment._replace(path=path))
    order = sorted(range(len(rows)), key=lambda n: (place.get(moments[n].hash, -1), moments[n].start, moments[n].end))
    done = [(look.path_of(item.hash, item.path), item) for item in ledger.done.values()]
    done += [(item.path, item) for item in work.changed]
    done = [(path, item) for path, item in done if path is not None]
    aside = aside + [SetAside(path, *bad) for path, item in done for bad in item.bad]
    summary = Summary(
        videos=len(done),
        moments=len(rows),
        resumed=min(resumed, len(rows)),
        known=sum(moment.hash in present for moment in live),
        duplicates=len(look.duplicates),
        black=sum(item.black for _, item in done),
        still=sum(item.still for _, item in done),
        discarded=ledger.discarded,
        set_aside=tuple(aside),
    )
    return Ingest(
        moments=[moments[n] for n in order],
        embeddings=ledger.embeddings()[[rows[n] for n in order]],
        precision=precision,
        stale=sorted(look.stale),
        duplicates=look.duplicates,
        moved=look.moved,
        seen=set(look.hashes) - settled | {item.path for item in aside},
        summary=summary,
    )

"""The same work on a Ray cluster: its workers decode and embed, and what comes back are embeddings.

Each worker is a ``LocalRunner`` of its own, so a file that hangs, crashes or eats memory costs itself alone there, too.
Videos are handed out a few at a time. When a worker dies, what it had not finished goes to others; what it has said
already is known and not said twice. Nothing is decided here: the ledger of whoever takes the pieces knows what is done.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import re
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from mmretrieval.collection.cluster import connected
from mmretrieval.collection.decoding import Bad, Decoder, Dropped, Job
from mmretrieval.collection.embed import Embedder
from mmretrieval.collection.runner import Embedded, Limits, LocalRunner, Pieces
from mmretrieval.collection.workers import End
from mmretrieval.environment import installed
from mmretrieval.errors import CollectionError, MMRetrievalError

CORES = 2
"""Cores of a worker: one decodes while one embeds."""

MOST_JOBS = 64
"""Videos handed to a worker at a time; fewer towards the end, so that all workers end together."""

AHEAD = 8
"""Messages that a worker may be ahead of whoever takes them."""

GATHER = 0.25
"""Seconds whose pieces make one message."""

LOSSES = 3
"""Workers that may die while a video is theirs, before it is set aside: it may be what kills them."""

PATIENCE = 300.0
"""Seconds to wait for a first worker: a cluster may be busy, or has to start machines."""


class Member:
    """What runs in a process of the cluster: decodes and embeds what it is given.

    Args:
        model: A pickled model, of which the video part is needed.
        decoder: Makes clips of videos.
        precision: What the backbone computes in.
        limits: What decoding a video may take.
        version: The version of this package where the work is handed out.

    Raises:
        CollectionError: This package has another version here.
    """

    def __init__(self, model: bytes, decoder: Decoder, precision: str, limits: Limits, version: str | None):
        self._node = socket.gethostname()
        here = installed("mmretrieval")
        if here != version:
            raise CollectionError(f"{self._node} has mmretrieval {here}, not {version}")
        embedder = Embedder(pickle.loads(model), precision)
        self._runner = LocalRunner(decoder, embedder, limits, CORES // 2, CORES)

    def hello(self) -> str:
        """Say where this runs."""
        return self._node

    def work(self, jobs: Sequence[Job]) -> Iterator[list[tuple[str, Any]]]:
        """Yield what becomes of jobs, as hashes and pieces."""
        here = [job for job in jobs if os.path.exists(job.path)]
        gone = f"is not there on {self._node}: all machines of the cluster need the files under the same path"
        yield [(job.hash, End(gone)) for job in jobs if job not in here]
        gathered, since = [], time.monotonic()
        with closing(self._runner.run(here)) as pieces:
            for job, piece in pieces:
                gathered.append((job.hash, piece))
                if time.monotonic() - since >= GATHER:
                    yield gathered
                    gathered, since = [], time.monotonic()
        yield gathered


@dataclass
class _Video:
    """A video on its way, and what was heard of it."""

    job: Job
    known: set[tuple[float, float]] = field(default_factory=set)
    said: set[Any] = field(default_factory=set)
    losses: int = 0

    def rest(self) -> Job:
        """Return the job without the moments that are embedded already."""
        return self.job._replace(known=self.job.known | self.known)

    def is_new(self, piece: Any) -> bool:
        """Note what a worker said; False for what another said before it died."""
        if isinstance(piece, Embedded):
            self.known.add((piece.start, piece.end))
        elif isinstance(piece, Bad | Dropped):
            if piece in self.said:
                return False
            self.said.add(piece)
        return True


class RayRunner:
    """Decodes and embeds on a Ray cluster.

    Args:
        decoder: Makes clips of videos.
        model: What embeds them; its video part is sent to each machine once.
        precision: What its backbone computes in, on all of them.
        limits: What decoding a video may take.
        workers: How many processes; None is as many as the cluster has room for.
        address: Where the cluster is; None starts one on this machine alone.

    Raises:
        CollectionError: A precision that is not the same on all machines.
    """

    def __init__(
        self,
        decoder: Decoder,
        model: Any,
        precision: str,
        limits: Limits,
        workers: int | None = None,
        address: str | None = None,
    ):
        if precision == "int8":
            raise CollectionError(
                "int8 takes its ranges from a sample of the videos that a worker is given, so that workers would "
                "differ: use fp32 or bf16 on a cluster, or --runner local"
            )
        self._model = pickle.dumps(_video_part(model, decoder), protocol=5)
        self._setup = (decoder, precision, limits, installed("mmretrieval"))
        self._workers, self._address = workers, address

    def run(self, jobs: Sequence[Job]) -> Pieces:
        """Yield what becomes of each job.

        Raises:
            DependencyError: Ray is not installed.
            CollectionError: The cluster cannot be reached, or none of its workers can work.
        """
        if not jobs:
            return
        with connected(self._address, 2 * len(self._model)) as ray, closing(_Crew(ray, self._setup)) as crew:
            crew.hire(ray.put(self._model), self._workers or _room(ray), len(jobs))
            yield from crew.run(jobs)

    def close(self) -> None:
        """Do nothing: the workers end with their jobs."""


class _Crew:
    """The workers of one run."""

    def __init__(self, ray: Any, setup: tuple):
        self._ray, self._setup = ray, setup
        self._actor = ray.remote(num_cpus=CORES, max_restarts=0, max_task_retries=0)(Member)
        self._model: Any = None
        self._starting: dict[Any, Any] = {}  # worker by what it will answer first
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, dict[str, _Video]]] = {}  # worker and its videos by its stream

    def hire(self, model: Any, workers: int, most: int) -> None:
        """Start so many workers, and no more than ``most``."""
        self._model = model
        for _ in range(max(1, min(workers, most))):
            self._start()

    def run(self, jobs: Sequence[Job]) -> Pieces:
        """Hand out jobs until nothing is left of them."""
        todo = deque(_Video(job) for job in jobs)
        while todo or self._busy:
            while todo and self._idle:
                self._hand_out(todo)
            for event in self._wait():
                if event in self._starting:
                    self._welcome(event)
                else:
                    yield from self._hear(event, todo)

    def close(self) -> None:
        """End all workers."""
        for worker in [*self._starting.values(), *self._idle, *(worker for worker, _ in self._busy.values())]:
            with suppress(Exception):  # it may be gone, and the cluster with it
                self._ray.kill(worker)

    def _start(self) -> None:
        worker = self._actor.remote(self._model, *self._setup)
        self._starting[worker.hello.remote()] = worker

    def _wait(self) -> list[Any]:
        """Return what something has happened to: a worker that starts, or one that works."""
        timeout = None if self._busy else PATIENCE
        ready, _ = self._ray.wait([*self._busy, *self._starting], num_returns=1, timeout=timeout, fetch_local=False)
        if not ready:
            there = self._ray.cluster_resources().get("CPU", 0)
            raise CollectionError(
                f"no worker has started on the Ray cluster within {PATIENCE:g} s: a worker needs {CORES} free cores "
                f"of one machine, the cluster has {there:g} in all"
            )
        return ready

    def _welcome(self, event: Any) -> None:
        """Take in a worker that has started, or has failed to."""
        worker = self._starting.pop(event)
        try:
            self._ray.get(event)
        except self._ray.exceptions.RayError as error:
            if not self._starting and not self._idle and not self._busy:
                raise CollectionError(
                    f"no worker can work on the Ray cluster ({_reason(error)}): install the same mmretrieval[scale] "
                    f"on all machines"
                ) from None
        else:
            self._idle.append(worker)

    def _hand_out(self, todo: deque[_Video]) -> None:
        worker = self._idle.pop()
        workers = len(self._idle) + len(self._busy) + len(self._starting) + 1
        # what was with a worker that died goes alone: if it is what kills them, it takes no other along
        count = 1 if todo[0].losses else min(MOST_JOBS, math.ceil(len(todo) / (2 * workers)))
        videos = [todo.popleft() for _ in range(count)]
        work = worker.work.options(num_returns="streaming", _generator_backpressure_num_objects=AHEAD)
        stream = work.remote([video.rest() for video in videos])
        self._busy[stream] = (worker, {video.job.hash: video for video in videos})

    def _hear(self, stream: Any, todo: deque[_Video]) -> Pieces:
        """Yield the pieces of the next message of a worker; or note that it is done, or dead."""
        worker, videos = self._busy[stream]
        try:
            message = self._ray.get(next(stream))
        except StopIteration:
            del self._busy[stream]
            self._idle.append(worker)
            return
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self._ray.exceptions.RayError:
            yield from self._lost(stream, todo)
            return
        for digest, piece in message:
            video = videos[digest]
            if isinstance(piece, End):
                del videos[digest]
            if video.is_new(piece):
                yield video.job, piece

    def _lost(self, stream: Any, todo: deque[_Video]) -> Pieces:
        """Give the videos of a worker that died to others, and start another in its place."""
        worker, videos = self._busy.pop(stream)
        with suppress(Exception):
            self._ray.kill(worker)
        for video in reversed(videos.values()):
            video.losses += 1
            if video.losses < LOSSES:
                todo.appendleft(video)
            else:
                yield video.job, End(f"{LOSSES} workers of the cluster died on it: replace it or leave it out")
        self._start()


def _video_part(model: Any, decoder: Decoder) -> Any:
    """Return what embeds video, light enough to travel; the model stays as it is."""
    part = copy.copy(model)
    part.processor = decoder.processor
    branches = getattr(model, "branches", None)
    if branches is not None:
        part._modules = {**part._modules, "branches": type(branches)({"video": branches["video"]})}
    return part


def _room(ray: Any) -> int:
    """Return how many workers the cluster has room for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max(1, sum(int(resources.get("CPU", 0)) // CORES for resources in nodes))


def _cause(error: Any) -> Exception:
    """Return what went wrong in a worker: an error that somebody can mend as it is, a bug with its traceback."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, MMRetrievalError) else error


def _reason(error: Exception) -> str:
    """Return the last line of what Ray says, which is the error itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^mmretrieval\.errors\.\w+: ", "", lines[-1]) if lines else type(error).__name__

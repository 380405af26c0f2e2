"""Worker processes that may hang, crash or eat memory without taking anything but their own job along.

Each worker has one job at a time and sends what it makes of it through a pipe, piece by piece. The time limit is a
timer of the system that ends the worker, even inside a decoder that never returns; only time spent working counts, not
waiting for the one who takes the pieces. The memory limit is the system's, too. A worker that ended is replaced, and
its job ends with the reason. ``concurrent.futures`` gives up the whole pool where one process dies, hence this one.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from mmretrieval.errors import MMRetrievalError
from mmretrieval.processes import worker_processes

Work = Callable[[Any], Iterator[Any]]
"""Makes pieces of a job; it is sent to the workers and so can be pickled, as jobs and pieces can."""

STOPPING = 0.2
"""Seconds after which a thread that waits for room looks whether it is still wanted."""


class End(NamedTuple):
    """The last thing that is heard of a job.

    Attributes:
        reason: Why it ended early; None says that it is done.
        retired: Whether the process ends with it.
    """

    reason: str | None = None
    retired: bool = False


class Workers:
    """Does jobs in processes, a bounded way ahead of whoever takes the pieces.

    Args:
        work: What is done with a job.
        count: Processes.
        time_limit: Seconds a job may work, and as many more as the pieces it gives say in an ``extra_time``.
        memory_limit: Bytes a worker may take beyond what it starts with.
        ahead: Pieces that wait here at most; each worker holds one more.
    """

    def __init__(self, work: Work, count: int, time_limit: float, memory_limit: int, ahead: int):
        self._setup = (work, time_limit, memory_limit)
        self._count = count
        self._ahead = ahead
        self._ready: queue.Queue = queue.Queue(ahead)
        self._workers: list[Worker] = []
        self._stopping = threading.Event()

    @property
    def busy(self) -> int:
        """How many processes need a core just now: none while half of the room is filled."""
        filled = 2 * self._ready.qsize() >= self._ahead
        return 0 if filled else sum(worker.job is not None for worker in self._workers)

    def run(self, jobs: Iterable[Any]) -> Generator[tuple[Any, Any], None, None]:
        """Yield (job, piece) as they come, and (job, ``End``) once per job; jobs are begun in their order.

        Afterwards the processes wait for more jobs, until ``close``. Ending early, by ``close`` of the generator or an
        exception, ends them.
        """
        self._ready, self._stopping = queue.Queue(self._ahead), threading.Event()
        pump = threading.Thread(target=self._pump, args=(deque(jobs),), daemon=True)
        pump.start()
        done = False
        try:
            while (ready := self._ready.get()) is not None:
                if isinstance(ready, BaseException):
                    raise ready
                yield ready
            done = True
        finally:
            self._stopping.set()
            if not done:
                self.close()  # the pump then hears that every pipe has closed
            pump.join()
            if not done:
                self.close()  # what the pump has begun meanwhile

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()

    def _pump(self, jobs: deque) -> None:
        """Hand out jobs and collect pieces, in a thread of its own: who takes the pieces is busy with a network."""
        try:
            missing = min(self._count, len(jobs)) - len(self._workers)
            self._workers += [Worker(*self._setup) for _ in range(missing)]
            while not self._stopping.is_set():
                for place, worker in enumerate(self._workers):
                    if worker.job is None and jobs:
                        self._workers[place] = self._begin(worker, jobs.popleft())
                listening = {worker.pipe: worker for worker in self._workers if worker.job is not None}
                if not listening:
                    break
                for pipe in wait(list(listening)):
                    self._put(listening[pipe].receive())
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _begin(self, worker: Worker, job: Any) -> Worker:
        """Give a job to a worker, or to a new one in its place."""
        if not worker.begin(job):
            worker = Worker(*self._setup)
            worker.begin(job)
        return worker

    def _put(self, ready: Any) -> None:
        while not self._stopping.is_set():
            try:
                return self._ready.put(ready, timeout=STOPPING)
            except queue.Full:
                continue


class Worker:
    """One process and this end of its pipe.

    Args:
        work: What is done with a job.
        time_limit: Seconds a job may work, and as many more as its pieces say in an ``extra_time``.
        memory_limit: Bytes it may take beyond what it starts with.
    """

    def __init__(self, work: Work, time_limit: float, memory_limit: int):
        context = worker_processes()
        self.job: Any = None
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, work, time_limit, memory_limit), daemon=True
        )
        self.process.start()
        theirs.close()  # only then the pipe closes when the process ends
        self._limit = time_limit

    def begin(self, job: Any) -> bool:
        """Send a job; False if the process has ended since its last one."""
        self.job = job
        try:
            self.pipe.send(job)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[Any, Any]:
        """Return the next (job, piece); the death of the process is the end of its job."""
        job = self.job
        try:
            piece = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            piece = End(self._cause())
        if isinstance(piece, End):
            self.job = None
            if piece.retired:
                self.process.join()  # only then the next job finds it gone, instead of being lost with it
        return job, piece

    def _cause(self) -> str:
        code = self.process.exitcode
        if code == -signal.SIGALRM:
            more = f"more than {self._limit:g} s beyond its own length"
            return f"took too long to decode ({more}): raise --time-limit or leave it out"
        if code is not None and code < 0:
            return f"the decoder crashed on it ({signal.Signals(-code).name}): replace it or leave it out"
        return f"the decoder ended on it with exit code {code}: replace it or leave it out"


@dataclass
class _Timer:
    """Ends this process when it has worked for too long; stands still outside of its ``with`` blocks."""

    left: float

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, max(self.left, 1e-6))  # 0 would be no limit

    def __exit__(self, *exc: object) -> None:
        self.left = signal.setitimer(signal.ITIMER_REAL, 0)[0]


def _serve(pipe: Connection, work: Work, time_limit: float, memory_limit: int) -> None:
    """Do jobs until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _get_ready()
    _limit_memory(memory_limit)
    try:
        while True:
            timer = _Timer(time_limit)
            pieces = work(pipe.recv())
            piece = None
            while not isinstance(piece, End):
                with timer:
                    piece = _next(pieces, memory_limit)
                timer.left += getattr(piece, "extra_time", 0.0)
                pipe.send(piece)
            if piece.retired:
                return
    except (EOFError, OSError):
        return


def _next(pieces: Iterator[Any], memory_limit: int) -> Any:
    """Return the next piece, or how the job ended: a damaged file can make a decoder raise anything."""
    try:
        return next(pieces)
    except StopIteration:
        return End()
    except MemoryError:
        size = f"{memory_limit / 2**30:.1f} GB"
        reason = f"needs more than {size} of memory to be decoded: make a smaller copy or leave it out"
        return End(reason, retired=True)  # what could not get more may not give back what it got
    except MMRetrievalError as error:
        return End(str(error))
    except Exception as error:
        return End(f"{type(error).__name__}: {error}")


def _get_ready() -> None:
    """Load what decoding takes before the time of the first job runs."""
    import av  # noqa: F401
    import torch

    import mmretrieval.data.processor
    import mmretrieval.media.video  # noqa: F401

    torch.set_num_threads(1)  # the processes are the parallelism


def _limit_memory(more: int) -> None:
    """Let this process take ``more`` bytes of address space than it has; only Linux tells how much that is."""
    import resource

    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            present = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    limit, most = present + more, resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))

"""Processes that decode what may be hostile: each file has a limit of time and memory, and takes nobody along."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mmretrieval.collection.workers import End, Worker
from mmretrieval.web.decoding.jobs import Job, Refused, do
from mmretrieval.web.problems import ProblemError

ENDING = "the server is ending"

logger = logging.getLogger("mmretrieval.web")


class Decoders:
    """Some processes, each doing one job at a time; one that ends is replaced.

    Args:
        count: Processes.
        time_limit: Seconds for a job.
        memory_limit: Bytes beyond what a process starts with.
        waiting: Jobs that may wait for a process.
    """

    def __init__(self, count: int, time_limit: float, memory_limit: int, waiting: int):
        self.time_limit, self.memory_limit = time_limit, memory_limit
        self._most = count + waiting
        self._present = 0
        self._own = threading.local()
        self._workers: set[Worker] = set()
        self._threads = ThreadPoolExecutor(count, "decoder", initializer=self._replace)
        self._closed = False

    def start(self) -> None:
        """Start the first process now, so that the first job does not wait for it."""
        self._threads.submit(lambda: None).result()

    async def run(self, job: Job) -> list[Any]:
        """Return all that a job yields.

        Raises:
            ProblemError: Too many jobs wait (503), the file is refused, or its decoder ran into a limit (422).
        """
        if self._present >= self._most:
            raise ProblemError(503, "too many files wait to be decoded: try again in a moment", {"Retry-After": "2"})
        self._present += 1
        try:
            pieces = await asyncio.wrap_future(self._threads.submit(self._do, job))
        finally:
            self._present -= 1
        for piece in pieces:
            if isinstance(piece, Refused):
                raise ProblemError(422, piece.reason)
        return pieces

    def close(self) -> None:
        """End all processes, whatever they do."""
        self._closed = True
        for worker in list(self._workers):
            worker.process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in list(self._workers):
            worker.process.kill()
            worker.process.join()

    def _replace(self) -> Worker:
        old = getattr(self._own, "worker", None)
        self._workers.discard(old)
        worker = Worker(do, self.time_limit, self.memory_limit)
        self._workers.add(worker)
        self._own.worker = worker
        return worker

    def _do(self, job: Job) -> list[Any]:
        worker = self._own.worker
        if self._closed:
            raise ProblemError(503, ENDING)
        if not worker.begin(job):
            worker = self._replace()
            worker.begin(job)
        pieces: list[Any] = []
        while True:
            _, piece = worker.receive()
            if not isinstance(piece, End):
                pieces.append(piece)
            elif piece.reason is None:
                return pieces
            elif self._closed:
                raise ProblemError(503, ENDING)
            else:
                raise self._gave_up(piece.reason)

    def _gave_up(self, reason: str) -> ProblemError:
        logger.warning("a decoder gave up: %s", reason)
        gigabytes = self.memory_limit / 2**30
        return ProblemError(
            422,
            f"it cannot be decoded within {self.time_limit:g} s and {gigabytes:.1f} GB of memory: "
            f"send something shorter or smaller, as wav, mp3, m4a, ogg, webm or mp4",
        )

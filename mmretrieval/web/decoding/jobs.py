"""What is done in decoding processes: jobs that yield something, or say why not. Light, for every process loads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol


class Job(Protocol):
    """Something to do in such a process; it can be pickled, as can what it yields."""

    def run(self) -> Iterator[Any]: ...


class Refused(NamedTuple):
    """What a job yields when a file cannot be used, and why, in a line for the person whose file it is."""

    reason: str


def do(job: Job) -> Iterator[Any]:
    """Do a job; what every process is started with."""
    return job.run()

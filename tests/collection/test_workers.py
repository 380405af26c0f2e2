"""Jobs that hang, crash or eat memory end alone, with a reason."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing

import numpy as np
import pytest

from mmretrieval.collection.workers import End, Workers
from mmretrieval.errors import MediaError

GIGABYTE = 1 << 30


class Longer(int):
    extra_time = 60.0


def count(job):
    """Do what the job says, after as many pieces as it says."""
    what, pieces = job
    yield from range(pieces)
    if what == "hang":
        time.sleep(3600)
    elif what == "extend":
        yield Longer(1)
        time.sleep(1.5)
    elif what == "spin":
        while True:
            pass
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "leave":
        os._exit(3)
    elif what == "eat":
        hoard = [np.zeros(1 << 24) for _ in range(1000)]
        yield len(hoard)
    elif what == "broken":
        raise MediaError("a.mp4: is broken.")
    elif what == "bug":
        raise KeyError("x")


def outcome(jobs, processes: int = 2, time_limit: float = 60.0, ahead: int = 4):
    """The number of pieces and the reason of the end, by job."""
    pieces, ends = dict.fromkeys(jobs, 0), {}
    for job, piece in Workers(count, processes, time_limit, 2 * GIGABYTE, ahead).run(jobs):
        assert job not in ends
        if isinstance(piece, End):
            ends[job] = piece.reason
        else:
            assert piece == pieces[job]
            pieces[job] += 1
    return pieces, ends


def test_every_piece_of_every_job_arrives_in_order():
    jobs = [("fine", number) for number in range(30)]
    pieces, ends = outcome(jobs)
    assert pieces == {job: job[1] for job in jobs}
    assert ends == dict.fromkeys(jobs)


def test_no_jobs():
    assert outcome([]) == ({}, {})


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("kill", "the decoder crashed on it (SIGKILL): replace it or leave it out"),
        ("crash", "the decoder crashed on it (SIGSEGV): replace it or leave it out"),
        ("leave", "the decoder ended on it with exit code 3: replace it or leave it out"),
        ("eat", "needs more than 2.0 GB of memory to be decoded: make a smaller copy or leave it out"),
        ("broken", "a.mp4: is broken."),
        ("bug", "KeyError: 'x'"),
    ],
)
def test_a_job_that_fails_keeps_what_it_gave_and_the_others_are_done(what, reason):
    jobs = [("fine", 3), (what, 2), ("fine", 1), (what, 0), ("fine", 5)]
    pieces, ends = outcome(jobs, processes=1)
    assert pieces == {job: job[1] for job in jobs}
    assert ends == {job: None if job[0] == "fine" else reason for job in jobs}


@pytest.mark.parametrize("what", ["hang", "spin"])
def test_a_job_without_end_is_given_up(what):
    jobs = [("fine", 2), (what, 1), ("fine", 4)]
    pieces, ends = outcome(jobs, processes=1, time_limit=2)
    assert (
        ends[what, 1]
        == "took too long to decode (more than 2 s beyond its own length): raise --time-limit or leave it out"
    )
    assert pieces[what, 1] == 1 and ends["fine", 2] is None and ends["fine", 4] is None


def test_waiting_for_a_slow_taker_is_not_work():
    """A job of many pieces outlasts its limit many times over while nobody takes them."""
    job = ("fine", 200)
    taken = []
    for _, piece in Workers(count, 1, 2.0, GIGABYTE, 1).run([job]):
        if len(taken) < 12:
            time.sleep(0.3)
        taken.append(piece)
    assert taken == [*range(200), End()]


def test_a_long_job_may_say_that_it_takes_longer():
    _, ends = outcome([("extend", 1)], processes=1, time_limit=1)
    assert ends == {("extend", 1): None}


def test_nothing_runs_on_when_the_taker_stops():
    workers = Workers(count, 2, 60.0, GIGABYTE, 2)
    with closing(workers.run([("fine", 10_000), ("hang", 0), ("fine", 10_000)])) as pieces:
        next(pieces)
    assert workers._workers and not any(worker.process.is_alive() for worker in workers._workers)


def test_work_that_cannot_travel_is_an_error_and_not_a_hang():
    with pytest.raises(Exception, match="(?i)pickle|local"):
        list(Workers(lambda job: iter(()), 1, 60.0, GIGABYTE, 2).run([1]))

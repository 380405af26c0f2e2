"""Which index is best for some embeddings, by measurement: the fastest that finds what comparing with all finds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmretrieval.collection.candidates import CANDIDATES, Candidate, Cells
from mmretrieval.collection.index import EXACT, TUNED_FOR, one_thread, stored

EXACT_BELOW = 16_384
"""Moments below which nothing is measured: comparing with all of them takes less than a millisecond at D = 256."""
RECALL = 0.99
"""Share of the true ten best that an index has to find, on average over the queries."""
QUERIES = 200
EXACT_QUERIES = 40
"""Enough of them to know how long exact search takes; what it finds is known."""
NOISE = 0.75
"""Length of what is added to a unit embedding to make a query of it: their cosine is then 0.8."""
FAST = 1.0
"""Milliseconds below which nothing that is slow to build is tried: nobody would feel the difference."""
SEED = 0


@dataclass
class Choice:
    """An index and why it is this one.

    Attributes:
        index: The FAISS index.
        kind: Its name among ``exact`` and ``candidates.CANDIDATES``.
        parameters: What it was built and tuned with.
        measured: Everything that was tried, in order: ``kind``, ``parameters``, ``bytes`` (in memory) and either
            ``recall``, ``milliseconds`` (processor time of one query on one thread, the median) and ``build_seconds``,
            or ``skipped``, the reason.
    """

    index: Any
    kind: str
    parameters: dict[str, Any] = field(default_factory=dict)
    measured: list[dict[str, Any]] = field(default_factory=list)


def choose_index(exact: Any, memory: int | None = None) -> Choice:
    """Choose the index that answers fastest among those that find ``RECALL`` of the ten best.

    Exact search is among them, so nothing slower is ever chosen; it is also the answer for few embeddings. If the
    memory is too small for any that finds enough, the one that finds most is chosen.

    Args:
        exact: An exact index of the embeddings; another may share its memory.
        memory: Bytes the index may take; half of the machine's by default.
    """
    if exact.ntotal < EXACT_BELOW:
        return Choice(exact, EXACT)
    memory = machine_memory() // 2 if memory is None else memory
    trial = Trial(exact)
    size = exact.ntotal * exact.d * 4
    measured = [
        {"kind": EXACT, "parameters": {}, "bytes": size, "build_seconds": 0.0, **trial.measure(exact, EXACT_QUERIES)}
    ]
    slowest = measured[0]["milliseconds"]
    best = Choice(exact, EXACT) if size <= memory else None
    best_row = measured[0] if best else None
    cells = Cells(exact)
    for candidate in CANDIDATES:
        row = {"kind": candidate.kind, "parameters": {}, "bytes": candidate.bytes(exact.ntotal, exact.d)}
        reason = _reason_to_skip(candidate, row["bytes"], memory, best_row, exact)
        if reason:
            measured.append({**row, "skipped": reason})
            continue
        start = time.perf_counter()
        index, built_with = candidate.build(exact, cells)
        seconds = round(time.perf_counter() - start, 3)
        for tuned_to in _tune(index, candidate, built_with, trial):
            tried = {**row, "build_seconds": seconds, **tuned_to}
            measured.append(tried)
            if _is_better(tried, best_row):
                best, best_row = Choice(index, candidate.kind, tried["parameters"]), tried
            good = best_row is not None and best_row["recall"] >= RECALL
            # turned up further it only becomes slower, and something faster is known
            if tried["recall"] >= RECALL or _is_slower(tried, best_row["milliseconds"] if good else slowest):
                break
        if best is not None and best.index is index:
            candidate.tune(index, best.parameters)
    best = best or Choice(exact, EXACT)  # nothing fits at all: what is smallest to explain
    best.measured = measured
    return best


class Trial:
    """Held-out queries and their true answers.

    Queries are embeddings with noise of the data's own shape: a mixture of differences between embeddings.
    """

    def __init__(self, exact: Any):
        rng = np.random.default_rng(SEED)
        embeddings = stored(exact)
        rows, others = rng.integers(0, len(embeddings), QUERIES), rng.integers(0, len(embeddings), 256)
        centred = embeddings[others] - embeddings[others].mean(axis=0)
        noise = rng.normal(size=(QUERIES, len(centred))) @ centred
        noise /= np.linalg.norm(noise, axis=1, keepdims=True) + 1e-12
        lengths = np.linalg.norm(embeddings[rows], axis=1, keepdims=True)
        self.queries = (embeddings[rows] + NOISE * lengths * noise).astype(np.float32)
        self.truth = exact.search(self.queries, TUNED_FOR)[1]

    def measure(self, index: Any, count: int = QUERIES) -> dict[str, float]:
        """Ask the first ``count`` queries twice, alone and on one thread; return ``recall`` and ``milliseconds``."""
        queries, truth = self.queries[:count], self.truth[:count]
        times, found = np.zeros((2, len(queries))), np.zeros_like(truth)
        with one_thread():
            for repeat in times:
                for number in range(len(queries)):
                    # the thread's own time, not the clock's: what else the machine does must not choose the index
                    start = time.thread_time()
                    found[number] = index.search(queries[number : number + 1], TUNED_FOR)[1][0]
                    repeat[number] = time.thread_time() - start
        return {
            "recall": round(recall(found, truth), 4),
            "milliseconds": round(float(np.median(times.min(axis=0))) * 1000, 4),
        }


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of the true answers (n, k) that were found (n, k), whatever their order."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), truth.tolist())]))


def machine_memory() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _tune(index: Any, candidate: Candidate, built_with: dict[str, Any], trial: Trial) -> Iterator[dict[str, Any]]:
    """Turn an index up, step by step, and measure it at every step."""
    for setting in candidate.settings(index):
        candidate.tune(index, setting)
        yield {"parameters": {**built_with, **setting}, **trial.measure(index)}


def _is_slower(tried: dict[str, Any], limit: float) -> bool:
    return tried["milliseconds"] > limit


def _is_better(tried: dict[str, Any], best: dict[str, Any] | None) -> bool:
    if best is None:
        return True
    if min(tried["recall"], best["recall"]) >= RECALL:
        return tried["milliseconds"] < best["milliseconds"]
    return tried["recall"] > best["recall"]


def _reason_to_skip(
    candidate: Candidate, size: int, memory: int, best: dict[str, Any] | None, exact: Any
) -> str | None:
    unfit = candidate.unfit(exact.d)
    if unfit:
        return unfit
    if size > memory:
        return f"takes {size / 1e9:.2f} GB, allowed are {memory / 1e9:.2f} GB"
    if candidate.slow_up_to is not None:
        if best and best["recall"] >= RECALL and best["milliseconds"] <= FAST:
            return f"slow to build, and {best['kind']} answers in {best['milliseconds']} ms"
        if exact.ntotal > candidate.slow_up_to:
            return f"slow to build: tried up to {candidate.slow_up_to} moments, here are {exact.ntotal}"
    return None

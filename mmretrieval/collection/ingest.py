"""What a build or an addition brings in: new moments with their embeddings, and everything worth noting on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmretrieval.collection.embed import Facts, embed_moments, plan, read_facts
from mmretrieval.collection.segments import Moment
from mmretrieval.collection.sources import SetAside, find_sources
from mmretrieval.errors import CollectionError


@dataclass(frozen=True)
class Ingest:
    """The outcome of looking at some sources.

    Attributes:
        moments: New moments.
        embeddings: Theirs, (n, D) float32.
        known: How many moments were in the collection already.
        stale: Rows of the collection whose file now holds something else.
        set_aside: What cannot be used.
        duplicates: Path of the file with the same content, by path.
        moved: Present path by content hash, for files that were renamed.
        seen: Every path that was looked at.
    """

    moments: list[Moment]
    embeddings: np.ndarray
    known: int
    stale: list[int]
    set_aside: list[SetAside]
    duplicates: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


def ingest(
    paths: Sequence[str | Path],
    model: Any,
    existing: Sequence[Moment],
    *,
    window: float,
    progress: bool,
    backend: str,
    on_bad: str,
) -> Ingest:
    """Find, hash, cut, decode and embed; what ``existing`` moments cover already is not embedded again.

    Raises:
        CollectionError: A path does not exist, nothing was found, or ``on_bad`` is "raise" and something is broken.
    """
    sources, aside = find_sources(paths)
    files = list(dict.fromkeys(source.path for source in sources))
    with _bar("reading files", "video", len(files), progress) as step:
        facts = read_facts(files, backend, step)
    planned, uncut = plan(sources, facts, window)
    aside += uncut
    moved, duplicates = _renamed(existing, facts)
    stale = [row for row, moment in enumerate(existing) if _is_stale(moment, facts, moved)]
    gone = set(stale)
    fresh, known, refused = _fresh(planned, (moment for row, moment in enumerate(existing) if row not in gone))
    aside += refused
    _refuse(aside, on_bad)
    with _bar("embedding", "moment", len(fresh), progress) as step:
        moments, embeddings, undecoded = embed_moments(model, fresh, backend, step)
    _refuse(undecoded, on_bad)
    return Ingest(moments, embeddings, known, stale, aside + undecoded, duplicates, moved, set(files))


def _renamed(existing: Sequence[Moment], facts: dict[str, Facts | str]) -> tuple[dict[str, str], dict[str, str]]:
    """Compare by content: return present path by hash of files that were renamed, and original by path of copies."""
    home = {moment.hash: moment.path for moment in existing}
    moved: dict[str, str] = {}
    duplicates: dict[str, str] = {}
    for path, known in facts.items():
        if isinstance(known, str):
            continue
        original = moved.get(known.hash) or home.setdefault(known.hash, path)
        if original == path:
            continue
        if os.path.exists(original):
            duplicates[path] = original
        else:
            moved[known.hash] = path
    return moved, duplicates


def _is_stale(moment: Moment, facts: dict[str, Facts | str], moved: dict[str, str]) -> bool:
    """Return whether the file of a moment was replaced by one with other content."""
    known = facts.get(moved.get(moment.hash, moment.path))
    return isinstance(known, Facts) and known.hash != moment.hash


def _fresh(planned: Sequence[Moment], existing: Iterable[Moment]) -> tuple[list[Moment], int, list[SetAside]]:
    """Return the planned moments that are new, how many are not, and those whose id is taken."""
    spans: set[tuple[str, float, float]] = set()
    ids: dict[str, str] = {}
    for moment in existing:
        spans.add((moment.hash, moment.start, moment.end))
        ids[moment.id] = moment.path
    fresh, known, refused = [], 0, []
    for moment in planned:
        span = (moment.hash, moment.start, moment.end)
        if span in spans:
            known += 1
        elif moment.id in ids:
            reason = f"its id '{moment.id}' is taken by {ids[moment.id]}: give it another"
            refused.append(SetAside(moment.path, reason, moment.start, moment.end))
        else:
            spans.add(span)
            ids[moment.id] = moment.path
            fresh.append(moment)
    return fresh, known, refused


def _refuse(aside: Sequence[SetAside], on_bad: str) -> None:
    if aside and on_bad == "raise":
        raise CollectionError(f"{aside[0].path}: {aside[0].reason}")


@contextmanager
def _bar(title: str, unit: str, total: int, progress: bool) -> Iterator[Callable[[bool], None]]:
    """Show a progress bar with rate, time left and failures; quiet when not asked for or not on a terminal."""
    from tqdm import tqdm

    failures = 0
    with tqdm(total=total, desc=title, unit=unit, disable=None if progress else True) as bar:

        def step(worked: bool) -> None:
            nonlocal failures
            if not worked:
                failures += 1
                bar.set_postfix(set_aside=failures)
            bar.update()

        yield step

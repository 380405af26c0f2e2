"""The order of all hits of a query, as far down as somebody wants to read."""

from __future__ import annotations

import numpy as np

from mmretrieval.search.gallery import Gallery
from mmretrieval.search.merging import Group, Grouper

DEPTH = 256
"""Moments asked of the index at first; four times as many, as often as these do not make enough hits."""


def rank(
    gallery: Gallery,
    query: np.ndarray,
    wanted: int,
    rows: np.ndarray | None = None,
    merge: bool = True,
    fold: bool = True,
    least: float | None = None,
) -> list[Group]:
    """Return the first ``wanted`` hits of a query, best first.

    The first ten of twenty hits are the ten of ten hits: pages never repeat or lose one.

    Args:
        gallery: What is searched.
        query: The embedding that is looked for, (D,) float32.
        wanted: How many hits; all if there are fewer.
        rows: Rows that may be answers, (m,) int; None allows all.
        merge: Neighbouring moments of a video become one hit.
        fold: Near-duplicates become one hit.
        least: Score below which nothing is a hit.
    """
    total = len(gallery) if rows is None else len(rows)
    depth = min(max(DEPTH, wanted), total)
    while True:
        scores, found = best_moments(gallery, query, depth, rows)
        if depth < total and len(scores) == depth:
            # of equal scores the index may have kept any: only what is surely before them has its final place
            sure = scores > scores[-1]
            scores, found = scores[sure], found[sure]
        ended = least is not None and bool((scores < least).any())
        if ended:
            scores, found = scores[scores >= least], found[scores >= least]
        groups = Grouper(gallery, query, rows, merge, fold).take(found, scores, wanted)
        if len(groups) == wanted or ended or depth == total:
            return groups
        depth = min(4 * depth, total)


def best_moments(
    gallery: Gallery, query: np.ndarray, depth: int, rows: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and rows (m,) of the best moments; of equal ones the first of the collection comes first."""
    scores, found = (part[0] for part in gallery.nearest(query[None], depth, rows))
    there = found >= 0  # an index that looks at a part of the collection alone fills up with -1
    scores, found = scores[there], found[there]
    order = np.lexsort((found, -scores))
    return scores[order], found[order]

"""Retrieval metrics of a score matrix: rows are queries, columns the gallery, higher is better.

Scores may be NumPy arrays or torch tensors of any float type; all counting is done in float64 with NumPy.

``relevant`` says which items answer a query: None is the diagonal of a square matrix, an integer array (Q,) names one
item per query (several queries may share it), a bool mask (Q, G) allows several items per query.

``ties`` says where the relevant item stands among items of exactly its score:

- ``"position"``: items keep their order in the gallery, as in a stable sort. Scores that are all equal give k/n.
- ``"expected"``: the exact expectation over all orders of the tied items (McSherry & Najork, ECIR 2008).
- ``"pessimistic"``: after every tied item that is not relevant.

Ranks are expected ones by default. A threshold on an expected rank would be biased (with n equal scores it is
(n + 1)/2 for everybody, within no small k), so recall and precision go by position instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

TIES = ("expected", "position", "pessimistic")


class Standings(NamedTuple):
    """How the gallery answers each query; everything the metrics need. All arrays are (Q,).

    ``better``: irrelevant items scored strictly above the best relevant one. ``rivals``: irrelevant items of exactly
    its score. ``peers``: relevant items of exactly its score, itself included. ``earlier``: rivals that stand before
    the first of those peers in the gallery. ``precision``: average precision of the query under the chosen ties.
    """

    better: np.ndarray
    rivals: np.ndarray
    peers: np.ndarray
    earlier: np.ndarray
    precision: np.ndarray


def ranks(scores: Any, relevant: Any = None, ties: str = "expected") -> np.ndarray:
    """Return the rank (Q,) of the best relevant item of each query, 1 is first; a rank may be a half with ties.

    Args:
        scores: (Q, G), higher is better.
        relevant: Which items answer a query; see the head of this file.
        ties: "expected", "position" or "pessimistic".

    Raises:
        ValueError: The scores are no finite matrix, ``relevant`` does not fit it, a query has no relevant item, or
            ``ties`` is unknown.
    """
    return _ranks(standings(scores, relevant, ties), ties)


def recall(
    scores: Any, ks: Iterable[int] = (1, 5, 10), relevant: Any = None, ties: str = "position"
) -> dict[str, float]:
    """Return the share of queries with a relevant item among the first k, as ``{"recall@1": …}`` from 0 to 1.

    Raises:
        ValueError: As in ``ranks``, or a k below 1.
    """
    return _recall(standings(scores, relevant, ties), ks, ties)


def mean_average_precision(scores: Any, relevant: Any = None, ties: str = "position") -> float:
    """Return the mean average precision, 0 to 1; with one relevant item per query it is the mean reciprocal rank.

    Raises:
        ValueError: As in ``ranks``.
    """
    return float(standings(scores, relevant, ties).precision.mean())


def mean_reciprocal_rank(scores: Any, relevant: Any = None) -> float:
    """Return the mean of 1 / rank of the best relevant item, ties by position.

    Raises:
        ValueError: As in ``ranks``.
    """
    return float((1.0 / ranks(scores, relevant, "position")).mean())


def median_rank(scores: Any, relevant: Any = None, ties: str = "expected") -> float:
    """Return the median over queries of the rank of the best relevant item.

    Raises:
        ValueError: As in ``ranks``.
    """
    return float(np.median(ranks(scores, relevant, ties)))


def summary(table: Standings, ks: Iterable[int] = (1, 5, 10), ties: str = "position") -> dict[str, float]:
    """Return recall, mAP and the median rank of standings that were counted with these ``ties``.

    With ties by position the median is that of expected ranks all the same.
    """
    return {
        **_recall(table, ks, ties),
        "map": float(table.precision.mean()),
        "median_rank": float(np.median(_ranks(table, "expected" if ties == "position" else ties))),
    }


def standings(scores: Any, relevant: Any = None, ties: str = "position") -> Standings:
    """Count how the gallery answers each query, one row at a time, so memory stays that of the scores.

    Standings of several blocks of queries may be joined with ``concatenate``.

    Raises:
        ValueError: As in ``ranks``.
    """
    if ties not in TIES:
        raise ValueError(f"ties must be one of {', '.join(TIES)}, got {ties!r}")
    scores = _matrix(scores)
    items_of = _relevant_items(relevant, scores.shape)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, scores.shape[1] + 1))])
    table = [_standing(row, items, ties, harmonic) for row, items in zip(scores, items_of, strict=True)]
    return Standings(*(np.array(column, dtype=np.float64) for column in zip(*table, strict=True)))


def concatenate(tables: Iterable[Standings]) -> Standings:
    """Join the standings of several blocks of queries."""
    return Standings(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))


def _standing(row: np.ndarray, items: np.ndarray, ties: str, harmonic: np.ndarray) -> tuple[float, ...]:
    values = row[items]
    best = values.max()
    first = items[values == best].min()
    better = np.count_nonzero(row > best)
    peers = np.count_nonzero(values == best)
    rivals = np.count_nonzero(row == best) - peers
    earlier = np.count_nonzero(row[:first] == best) if rivals else 0
    if len(items) == 1 and ties != "expected":
        precision = 1.0 / (1 + better + (rivals if ties == "pessimistic" else earlier))
    elif ties == "expected":
        precision = _expected_precision(row, values, harmonic)
    else:
        precision = _average_precision(row, items, ties)
    return better, rivals, peers, earlier, precision


def _average_precision(row: np.ndarray, items: np.ndarray, ties: str) -> float:
    """Average precision of one query: the mean over relevant items of (relevant items up to it) / its rank."""
    places = []
    values, above, tied, peers = _groups(row, row[items])
    for value, better, count, peer in zip(values, above, tied, peers, strict=True):
        if ties == "pessimistic":
            within = np.arange(count - peer, count)
        elif count == peer:
            within = np.arange(peer)
        else:
            within = np.searchsorted(np.flatnonzero(row == value), np.sort(items[row[items] == value]))
        places.append(1 + better + within)
    return float(np.mean(np.arange(1, len(items) + 1) / np.concatenate(places)))


def _expected_precision(row: np.ndarray, values: np.ndarray, harmonic: np.ndarray) -> float:
    """Average precision of one query, averaged over all orders of tied items.

    A group of m tied items, r of them relevant, comes after n items with R relevant ones. Each of its places j holds a
    relevant item with probability r/m, and then (j − 1)(r − 1)/(m − 1) further ones are expected before it in the
    group. The sum over j of r/m · (R + 1 + (j − 1)(r − 1)/(m − 1)) / (n + j) has the closed form below.
    """
    _, above, m, r = _groups(row, values)
    found = np.cumsum(r) - r
    slope = (r - 1) / np.maximum(m - 1, 1)
    sums = (found + 1 - (above + 1) * slope) * (harmonic[above + m] - harmonic[above]) + slope * m
    return float((r / m * sums).sum() / len(values))


def _groups(row: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct scores of the relevant items, best first: score, items above it, items of it, relevant items of it."""
    ordered = np.sort(row)
    scores, peers = np.unique(values, return_counts=True)
    above = len(row) - np.searchsorted(ordered, scores, side="right")
    tied = len(row) - np.searchsorted(ordered, scores, side="left") - above
    return scores[::-1], above[::-1], tied[::-1], peers[::-1]


def _ranks(table: Standings, ties: str) -> np.ndarray:
    if ties == "expected":  # the first of p peers among p + r tied items is expected at place (p + r + 1) / (p + 1)
        return 1 + table.better + table.rivals / (table.peers + 1)
    return 1 + table.better + (table.rivals if ties == "pessimistic" else table.earlier)


def _recall(table: Standings, ks: Iterable[int], ties: str) -> dict[str, float]:
    result = {}
    for k in ks:
        if k < 1:
            raise ValueError(f"recall@k needs k of at least 1, got {k}")
        if ties == "expected":
            result[f"recall@{k}"] = float((1 - _all_miss(table, k)).mean())
        else:
            result[f"recall@{k}"] = float((_ranks(table, ties) <= k).mean())
    return result


def _all_miss(table: Standings, k: int) -> np.ndarray:
    """Probability (Q,) that no relevant item is among the first k, over all orders of tied items (hypergeometric)."""
    places = k - table.better  # how many places the tied group has left within the first k
    missing = np.ones(len(places))
    for place in range(k):
        drawn = np.maximum(table.rivals - place, 0) / np.maximum(table.rivals + table.peers - place, 1)
        missing = np.where(place < places, missing * drawn, missing)
    return missing


def _matrix(scores: Any) -> np.ndarray:
    scores = as_numpy(scores)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"scores must be a matrix of queries by gallery, got shape {scores.shape}")
    scores = scores.astype(np.float64, copy=False)
    if not np.isfinite(scores).all():
        query, item = np.argwhere(~np.isfinite(scores))[0]
        raise ValueError(f"scores must be finite, got {scores[query, item]} for query {query} and item {item}")
    return scores


def _relevant_items(relevant: Any, shape: tuple[int, int]) -> list[np.ndarray]:
    """Turn any form of ``relevant`` into the relevant columns of each query."""
    queries, gallery = shape
    if relevant is None:
        if queries != gallery:
            raise ValueError(f"{queries} queries and {gallery} items have no diagonal: say which items are relevant")
        return list(np.arange(queries)[:, None])
    relevant = as_numpy(relevant)
    if relevant.dtype == bool and relevant.shape == shape:
        lonely = np.flatnonzero(~relevant.any(axis=1))
        if len(lonely):
            raise ValueError(f"every query needs a relevant item; query {lonely[0]} has none ({len(lonely)} in all)")
        return [np.flatnonzero(row) for row in relevant]
    if relevant.dtype.kind in "iu" and relevant.shape == (queries,):
        if relevant.min() < 0 or relevant.max() >= gallery:
            outside = relevant[(relevant < 0) | (relevant >= gallery)][0]
            raise ValueError(f"relevant items are numbered 0 to {gallery - 1}, got {outside}")
        return list(relevant[:, None])
    raise ValueError(
        f"relevant must be a bool mask of shape {shape} or {queries} item numbers, got {relevant.dtype} of shape "
        f"{relevant.shape}"
    )


def as_numpy(values: Any) -> np.ndarray:
    """Return a NumPy array of an array or a torch tensor, wherever it lies and whatever its float type."""
    if hasattr(values, "detach"):  # a torch tensor, perhaps on a GPU or of a type NumPy does not know
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
        return values.numpy()
    return np.asarray(values)

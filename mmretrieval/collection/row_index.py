"""What a query is compared with: the index, the newest moments beside it, and nothing that was removed."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmretrieval.collection.index import Allowed, search_index
from mmretrieval.collection.places import Places


class RowIndex:
    """Searches one generation of a collection as if it were one index over its rows.

    Args:
        index: A FAISS index of the first places.
        tail: An exact one of the places after these, what was added since the index was made.
        places: Which places are rows.
    """

    def __init__(self, index: Any, tail: Any, places: Places):
        self.places = places
        self.parts = [(0, index), (index.ntotal, tail)]
        # nothing added, nothing removed: a search is then the bare call
        self.whole = index if not tail.ntotal and places.alive.all() else None
        self._everything = self._split(places.alive)

    def nearest(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows (n, k') of the best rows for queries (n, D), best first.

        k' = min(k, rows); with ``rows``, (m,) int, only these may be answers.
        """
        if self.whole is not None:
            return search_index(self.whole, queries, k, rows)
        allowed = self._everything
        if rows is not None:
            chosen = np.zeros(len(self.places), bool)
            chosen[self.places.of_rows[rows]] = True
            allowed = self._split(chosen)
        scores, found = [], []
        for (start, index), part in zip(self.parts, allowed):
            best, at = search_index(index, queries, k, part)
            scores.append(best)
            found.append(at + start)
        best, at = np.concatenate(scores, axis=1), np.concatenate(found, axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(best, order, 1), self.places.rows(np.take_along_axis(at, order, 1))

    def _split(self, chosen: np.ndarray) -> list[Allowed | None]:
        """Return what each part may answer when the places ``chosen``, (places,) bool, may."""
        inside = [chosen[start : start + index.ntotal] for start, index in self.parts]
        return [None if part.all() else Allowed(part) for part in inside]

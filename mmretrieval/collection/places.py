"""Rows and places: a place counts every moment ever written to the present segments, a row only those not removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


class Places:
    """Translates between the rows that people see and the places where moments lie.

    Places number all moments of all segments, in order; the index knows only these, so a removal leaves it alone. Rows
    number the moments that are left, in the same order.

    Args:
        sizes: Number of moments by segment, in order.
        removed: What is removed, as numbers within a segment, by segment.

    Attributes:
        alive: (places,) bool, whether a moment is left.
        of_rows: (rows,) int64, the place of every row.
    """

    def __init__(self, sizes: Mapping[str, int], removed: Mapping[str, Sequence[int]]):
        self.segments = list(sizes)
        self.starts = np.concatenate([[0], np.cumsum(list(sizes.values()), dtype=np.int64)])
        self.alive = np.ones(self.starts[-1], bool)
        for number, name in enumerate(self.segments):
            gone = np.asarray(removed.get(name, []), np.int64)
            self.alive[self.starts[number] + gone] = False
        self.of_rows = np.flatnonzero(self.alive)
        self._rows = np.cumsum(self.alive) - 1

    def __len__(self) -> int:
        return len(self.alive)

    def rows(self, places: np.ndarray) -> np.ndarray:
        """Return the rows at places whose moments are left."""
        return self._rows[places]

    def removed_with(self, rows: Iterable[int]) -> dict[str, list[int]]:
        """Return what is removed, by segment, when the moments at ``rows`` are, too."""
        alive = self.alive.copy()
        alive[self.of_rows[np.asarray(list(rows), np.int64)]] = False
        removed = {}
        for name, start, end in zip(self.segments, self.starts, self.starts[1:]):
            gone = np.flatnonzero(~alive[start:end])
            if len(gone):
                removed[name] = gone.tolist()
        return removed

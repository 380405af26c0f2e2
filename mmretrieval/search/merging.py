"""From moments to what a person is shown: neighbours of one video become one span, near-duplicates one hit.

Windows of a video overlap, so one scene answers several times. A moment's score falls as its window leaves the scene,
about in proportion to how much of the scene it still sees. So around the best moment the scene begins and ends where
the scores of its neighbours, read off at their middles, fall below a level between that of the best moment and that of
just any moment of the collection.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mmretrieval.search.gallery import Gallery, unit

LEVEL = 0.8
"""Where the level lies between any moment's score (0) and the best one's (1).

Of 0.4 to 0.9 the best on 40 long videos of the toy world, typed and spoken together, and no worse on 40 others. Half,
which geometry would suggest, makes spans too long: the setting stays in view (``benchmarks/moments.py``).
"""

ROUNDING = 1e-6
"""How far the cosine of equal embeddings may be from 1."""

TOUCHING = 0.1
"""Seconds between two moments that still follow each other."""

DUPLICATE = 0.005
"""Two moments show the same thing if they are nearer than this share of what lies between any two of the collection.

Measured as 1 − cosine. A share, because models differ: of some, all videos lie in a narrow cone.
"""


@dataclass
class Group:
    """One hit in the making: the row of its best moment, that one's score, its span in seconds, and what it covers."""

    row: int
    score: float
    start: float
    end: float
    members: np.ndarray
    copies: list[int] = field(default_factory=list)


class Grouper:
    """Groups moments of a gallery for one query.

    Args:
        gallery: What is searched.
        query: The embedding that is looked for, (D,).
        rows: Rows that may be answers, (m,) int; None allows all.
        merge: Whether neighbours become one span.
        fold: Whether near-duplicates become one hit.
    """

    def __init__(self, gallery: Gallery, query: np.ndarray, rows: np.ndarray | None, merge: bool, fold: bool):
        self.gallery = gallery
        self.query = query
        self.merge = merge
        self.fold = fold
        self.free = np.ones(len(gallery), bool)
        if rows is not None:
            self.free[:] = False
            self.free[rows] = True
        self.groups: list[Group] = []
        self._profiles: dict[int, np.ndarray] = {}
        self._usual: float | None = None

    def take(self, rows: np.ndarray, scores: np.ndarray, wanted: int) -> list[Group]:
        """Group moments that come best first, until there are ``wanted`` groups; the rest only adds copies to them.

        A group depends on the moments that are better than its best one and on nothing else: whoever asks for more
        groups gets the same ones first.
        """
        for row, score in zip(rows.tolist(), scores.tolist()):
            if len(self.groups) == wanted:
                break
            if self.free[row]:
                self._place(row, score)
        if self.fold and self.groups:
            self._add_copies(rows)
        return self.groups

    def _place(self, row: int, score: float) -> None:
        """Make a group around a moment, or note it as a copy where there is one like it already."""
        group = self._group(row, score)
        if self.fold and self.groups:
            (likeness,) = self._likeness(np.array([row]))
            if likeness.max() >= self._alike():
                self.groups[int(likeness.argmax())].copies.append(row)
                return
        self.groups.append(group)

    def _add_copies(self, rows: np.ndarray) -> None:
        """Add those of ``rows`` that are in no group yet and like one of the groups."""
        rows = rows[self.free[rows]]
        if not len(rows):
            return
        likeness = self._likeness(rows)
        alike = likeness.max(axis=1) >= self._alike()
        for row, twin in zip(rows[alike].tolist(), likeness[alike].argmax(axis=1).tolist()):
            if self.free[row]:
                self._group(row, 0.0)
                self.groups[twin].copies.append(row)

    def _group(self, row: int, score: float) -> Group:
        """Return the group around a moment; what it covers belongs to no other."""
        start, end, members = self._grow(row) if self.merge else self._alone(row)
        self.free[members] = False
        return Group(row, score, start, end, members)

    def _likeness(self, rows: np.ndarray) -> np.ndarray:
        """Return cosines (m, groups) of moments with the best moment of every group."""
        embeddings = self.gallery.embeddings
        return unit(embeddings[rows]) @ unit(embeddings[[group.row for group in self.groups]]).T

    def _alike(self) -> float:
        """Return the cosine from which on two moments show the same thing."""
        return 1 - max(DUPLICATE * self.gallery.spread, ROUNDING)

    def _alone(self, row: int) -> tuple[float, float, np.ndarray]:
        return float(self.gallery.starts[row]), float(self.gallery.ends[row]), np.array([row])

    def _grow(self, row: int) -> tuple[float, float, np.ndarray]:
        """Return the span around a moment, and the rows that it covers."""
        rows = self.gallery.rows_beside(row)
        scores = self._profile(row, rows)
        place = int(np.flatnonzero(rows == row)[0])
        level = self._level(scores[place])
        first, start = self._border(rows, scores, place, -1, level)
        last, end = self._border(rows, scores, place, +1, level)
        starts, ends = self.gallery.starts[rows], self.gallery.ends[rows]
        # what is shorter than a moment is shown as long as one, around its own middle
        lacking = max(0.0, ends[place] - starts[place] - (end - start)) / 2
        late = max(0.0, end + lacking - ends.max())
        early = max(0.0, starts.min() - (start - lacking))
        start, end = float(start - lacking - late + early), float(end + lacking - late + early)
        shown = np.minimum(ends, end) - np.maximum(starts, start)
        covered = (shown >= (ends - starts) / 2) & self.free[rows]
        covered[first : last + 1] = True
        return start, end, rows[covered]

    def _border(self, rows: np.ndarray, scores: np.ndarray, place: int, step: int, level: float) -> tuple[int, float]:
        """Return the last place of a span in one direction, and the second where the span ends there."""
        starts, ends = self.gallery.starts, self.gallery.ends
        own = (starts if step < 0 else ends)[rows[place]]
        while 0 <= place + step < len(rows):
            here, beside = rows[place], rows[place + step]
            earlier, later = (beside, here) if step < 0 else (here, beside)
            if starts[later] - ends[earlier] > TOUCHING:
                break
            if scores[place + step] < level:
                # where a scene ends shows in moments that are no answers themselves, too
                if ends[earlier] - starts[later] > TOUCHING:
                    own = self._crossing(here, beside, scores[place], scores[place + step], level, own)
                break
            if not self.free[beside]:
                break
            place += step
            own = (min if step < 0 else max)(own, (starts if step < 0 else ends)[beside])
        return place, float(own)

    def _crossing(self, here: int, beside: int, high: float, low: float, level: float, farthest: float) -> float:
        """Return the second where the score falls to a level between the middles of two overlapping moments."""
        middle, other = ((self.gallery.starts[row] + self.gallery.ends[row]) / 2 for row in (here, beside))
        second = middle + (other - middle) * np.clip((high - level) / max(high - low, 1e-12), 0.0, 1.0)
        return min(second, farthest) if other > middle else max(second, farthest)

    def _profile(self, row: int, rows: np.ndarray) -> np.ndarray:
        """Return the scores of all moments of a video; always of all, so that rounding is always the same."""
        video = int(self.gallery.videos[row])
        if video not in self._profiles:
            self._profiles[video] = self.gallery.embeddings[rows] @ self.query
        return self._profiles[video]

    def _level(self, best: float) -> float:
        if self._usual is None:
            self._usual = float(np.median(self.gallery.embeddings[self.gallery.sample] @ self.query))
        return min(self._usual + LEVEL * (best - self._usual), best)

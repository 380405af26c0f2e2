"""What is asked for: one query or a mixture of several, and what kind of answer is wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmretrieval.errors import QueryError, did_you_mean
from mmretrieval.search.filters import Filter

if TYPE_CHECKING:
    import numpy as np

WITHOUT = -0.5
"""Weight of what is not wanted: at −1 an answer is far from it rather than near to what is wanted."""

QUERIES = ("text", "speech", "video", "like", "without")


@dataclass(frozen=True)
class Request:
    """One question to a collection.

    Several queries at once are a mixture: the sum of their embeddings, each of unit length, times its weight.

    Attributes:
        text: A typed caption.
        speech: A recording: any audio file, a video with sound, or mono samples at 16 kHz. Silence before and after
            the words is cut off.
        video: An example clip, the whole of it; or its frames (T, C, H, W) uint8 as the model's processor reads them.
        like: The id of a moment: others like it are wanted; itself and what overlaps it are left out.
        without: A typed caption of what is not wanted.
        weights: By the names above; 1 where nothing is said, −0.5 for ``without``. A negative weight turns away from
            what is asked.
        k: How many hits; all if there are fewer.
        offset: How many hits to pass over first: page 3 of 10 hits has offset 20.
        filters: What may be an answer at all; looked at before ranking.
        merge: Neighbouring moments of a video become one hit.
        fold: Near-duplicates become one hit.
        min_score: Score below which nothing is a hit.

    Raises:
        QueryError: No query, a weight that is none or belongs to no query, ``k`` below 1, ``offset`` below 0.
    """

    text: str | None = None
    speech: str | Path | np.ndarray | None = None
    video: str | Path | np.ndarray | None = None
    like: str | None = None
    without: str | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    k: int = 10
    offset: int = 0
    filters: Filter = Filter()
    merge: bool = True
    fold: bool = True
    min_score: float | None = None

    def __post_init__(self):
        if not any(getattr(self, name) is not None for name in QUERIES):
            asked = f", got weights for {', '.join(self.weights)} alone" if self.weights else ", got nothing"
            raise QueryError(f"give something to look for: text, speech, video or like{asked}")
        if self.k < 1:
            raise QueryError(f"k is the number of answers and at least 1, got {self.k}")
        if self.offset < 0:
            raise QueryError(f"offset is the number of answers to pass over and at least 0, got {self.offset}")
        for name, weight in self.weights.items():
            self._check_weight(name, weight)
        if not any(weight > 0 for _, _, weight in self.parts()):
            raise QueryError("nothing is asked for, only what is not wanted: give a query with a weight above 0")

    def parts(self) -> list[tuple[str, str | Path | np.ndarray, float]]:
        """Return the name, the query and the weight of every query that was given, in a fixed order."""
        usual = {"without": WITHOUT}
        given = [(name, getattr(self, name)) for name in QUERIES if getattr(self, name) is not None]
        return [(name, query, float(self.weights.get(name, usual.get(name, 1.0)))) for name, query in given]

    def _check_weight(self, name: str, weight: float) -> None:
        if name not in QUERIES:
            raise QueryError(
                f"there is no query '{name}' to weigh.{did_you_mean(name, QUERIES)} Known are " + ", ".join(QUERIES)
            )
        if getattr(self, name) is None:
            raise QueryError(f"there is a weight for {name}, but no {name} query")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or not weight:
            raise QueryError(
                f"the weight of {name} is a number other than 0, negative for what is not wanted, got {weight}"
            )

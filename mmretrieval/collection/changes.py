"""``Change``: what distinguishes the next generation of a collection from the present one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmretrieval.collection.ingest import Ingest
from mmretrieval.collection.manifest import Manifest, now
from mmretrieval.collection.reembedding import Reembedding
from mmretrieval.collection.segments import Moment
from mmretrieval.collection.sources import SetAside
from mmretrieval.collection.summary import plain


@dataclass(frozen=True)
class Change:
    """What is new.

    Attributes:
        moments: Moments to append.
        embeddings: Theirs, (n, D) float32.
        removed: Row numbers by segment, all of them.
        moved: Present path by content hash, all of them.
        duplicates: Records of copies, all of them.
        quarantined: Records of what could not be used, all of them.
    """

    moments: Sequence[Moment]
    embeddings: np.ndarray
    removed: dict[str, list[int]]
    moved: dict[str, str]
    duplicates: list[dict[str, str]]
    quarantined: list[dict[str, Any]]

    @classmethod
    def appending(cls, present: Manifest, moments: Sequence[Moment], embeddings: np.ndarray) -> Change:
        """Return the change that only adds moments."""
        return cls(moments, embeddings, present.removed, present.moved, present.duplicates, present.quarantined)

    @classmethod
    def removing(cls, present: Manifest, removed: dict[str, list[int]]) -> Change:
        """Return the change that only removes moments; ``removed`` are all that are then removed."""
        nothing = np.zeros((0, present.dim), np.float32)
        return cls([], nothing, removed, present.moved, present.duplicates, present.quarantined)

    @classmethod
    def ingesting(cls, present: Manifest, outcome: Ingest, removed: dict[str, list[int]]) -> Change:
        """Return the change that an ingest makes: notes on files that were looked at again replace the old ones."""
        duplicates = [record for record in present.duplicates if record["path"] not in outcome.seen]
        duplicates += [{"path": path, "same_as": original} for path, original in outcome.duplicates.items()]
        quarantined = _quarantined(present, outcome.set_aside, outcome.seen)
        moved = {**present.moved, **outcome.moved}
        return cls(outcome.moments, outcome.embeddings, removed, moved, duplicates, quarantined)

    @classmethod
    def reembedding(cls, present: Manifest, outcome: Reembedding) -> Change:
        """Return the change from nothing to the moments of ``present`` with other embeddings."""
        quarantined = _quarantined(present, outcome.set_aside)
        return cls(outcome.moments, outcome.embeddings, {}, {}, outcome.duplicates, quarantined)

    def is_nothing(self, present: Manifest) -> bool:
        """Return whether the next generation would be the present one again."""
        same = (present.removed, present.moved, present.duplicates, present.quarantined)
        return not self.moments and same == (self.removed, self.moved, self.duplicates, self.quarantined)


def _quarantined(present: Manifest, set_aside: Sequence[SetAside], seen: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the records of what cannot be used: new ones, and the present ones on files that were not ``seen``."""
    time = now()
    before = {_without_time(record): record for record in present.quarantined}
    quarantined = [record for record in present.quarantined if record["path"] not in seen]
    for record in plain(list(dict.fromkeys(set_aside))):
        # what was known to be broken keeps the time when it was first seen
        old = before.get(_without_time(record))
        if old not in quarantined:
            quarantined.append(old or {**record, "time": time})
    return quarantined


def _without_time(record: dict[str, Any]) -> tuple:
    return tuple(sorted((name, value) for name, value in record.items() if name != "time"))

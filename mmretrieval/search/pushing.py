"""A collection's moments put into Milvus, and kept in step: only what differs travels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmretrieval.collection.progress import count_up
from mmretrieval.errors import CollectionError
from mmretrieval.search.milvus import BATCH, Copy, Milvus, digests_of, keys_of

if TYPE_CHECKING:
    from mmretrieval.collection.collection import Collection

ROUNDS = 3
"""How often the rows are compared again: when another process writes the same copy, they go on differing."""


class Pushed(NamedTuple):
    """What a push did: the name in Milvus, rows written and removed, and rows there are."""

    name: str
    written: int
    removed: int
    rows: int


def push(collection: Collection, milvus: Milvus, progress: bool = True) -> Pushed:
    """Make the copy of a collection in Milvus what the collection is; interrupted, it goes on when called again.

    Args:
        collection: The generation that is copied.
        milvus: Where to.
        progress: Show a progress bar when standard error is a terminal.

    Raises:
        CollectionError: Milvus fails, something else has the copy's name, or another process writes it, too.
    """
    copy = Copy.of(collection.folder, collection.manifest)
    ids, embeddings = collection.table.column("id").to_pylist(), collection.embeddings()
    keys, digests = keys_of(ids), digests_of(embeddings)
    _check_distinct(ids, keys)
    milvus.prepare(copy)
    written = removed = 0
    for _ in range(ROUNDS):
        milvus.index(copy.name, "embedding", len(ids))
        there, theirs = milvus.rows(copy)
        new, gone = _differences(keys, digests, there, theirs)
        if not len(new) and not len(gone):
            milvus.write_record(copy, whole=True)
            return Pushed(copy.name, written, removed, len(ids))
        milvus.write_record(copy, whole=False)
        for first in range(0, len(gone), BATCH):
            milvus.call("delete", copy.name, ids=gone[first : first + BATCH].tolist())
        with count_up("pushing", "moments", len(new), progress) as step:
            for first in range(0, len(new), BATCH):
                part = new[first : first + BATCH]
                rows = [
                    {"key": int(keys[row]), "digest": int(digests[row]), "id": ids[row], "embedding": embeddings[row]}
                    for row in part
                ]
                milvus.call("upsert", copy.name, rows)
                step(len(part))
        written, removed = written + len(new), removed + len(gone)
    raise CollectionError(
        f"the copy of {copy.folder} in Milvus at {milvus.place} goes on changing: another process writes it, too; "
        f"wait until it is done, then push again"
    )


def _differences(
    keys: np.ndarray, digests: np.ndarray, there: np.ndarray, theirs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that Milvus lacks or has with another embedding, and the keys that it has too many."""
    order = np.argsort(there, kind="stable")
    there, theirs = there[order], theirs[order]
    place = np.searchsorted(there, keys)
    same = np.zeros(len(keys), bool)
    inside = place < len(there)
    same[inside] = (there[place[inside]] == keys[inside]) & (theirs[place[inside]] == digests[inside])
    return np.flatnonzero(~same), np.setdiff1d(there, keys)


def _check_distinct(ids: list[str], keys: np.ndarray) -> None:
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(np.diff(keys[order]) == 0)
    if len(twice):
        one, other = (ids[order[place]] for place in (twice[0], twice[0] + 1))
        raise CollectionError(f"moments '{one}' and '{other}' have the same number in Milvus: give one another id")

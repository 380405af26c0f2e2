"""What is searched, by columns: every filter, neighbour and near-duplicate is looked up here, without reading JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mmretrieval.errors import QueryError
from mmretrieval.search.outside import MilvusNearest

if TYPE_CHECKING:
    from mmretrieval.collection.collection import Collection
    from mmretrieval.search.milvus import Milvus

SAMPLE = 2048
"""Moments that stand for all of them where a typical score is wanted."""


class Gallery:
    """The moments of one generation of a collection as arrays, each made when it is first needed and then kept.

    What many moments share (a path, the metadata of a video) is read once, however many moments there are. The
    embeddings are kept in memory besides those in the index: 4 · D bytes a moment.

    Args:
        collection: What is searched.
        milvus: Where to look for the nearest moments instead of in the collection's own index.

    Raises:
        CollectionError: Milvus has no copy of just this generation.
    """

    def __init__(self, collection: Collection, milvus: Milvus | None = None):
        self.collection = collection
        self._engine = collection if milvus is None else MilvusNearest(self, milvus)

    def nearest(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows of the nearest moments, as ``Collection.nearest``."""
        return self._engine.nearest(queries, k, rows)

    def __len__(self) -> int:
        return len(self.collection)

    @cached_property
    def embeddings(self) -> np.ndarray:
        """Embeddings, (n, D) float32."""
        return self.collection.embeddings()

    @cached_property
    def sample(self) -> np.ndarray:
        """Some rows, always the same ones, that stand for all of them, (m,) int, ascending."""
        return (
            np.unique(np.linspace(0, len(self) - 1, SAMPLE).round().astype(np.int64)) if len(self) else np.zeros(0, int)
        )

    @cached_property
    def spread(self) -> float:
        """How far apart two moments are on average: 1 − cosine."""
        # the mean of all cosines of unit vectors is the squared length of their mean
        return 1 - float(np.square(unit(self.embeddings[self.sample]).mean(axis=0)).sum()) if len(self) else 0.0

    @cached_property
    def starts(self) -> np.ndarray:
        """First second of every moment, (n,) float."""
        return self.collection.table.column("start").to_numpy()

    @cached_property
    def ends(self) -> np.ndarray:
        """Last second of every moment, (n,) float."""
        return self.collection.table.column("end").to_numpy()

    @cached_property
    def videos(self) -> np.ndarray:
        """Number of the video that every moment is from, (n,) int; videos are the same if their content is."""
        return self._encoded("hash")[0]

    @cached_property
    def paths(self) -> tuple[np.ndarray, list[str]]:
        """Place in the list for every moment, (n,) int, and the list of all paths, where the files are now."""
        codes, paths = self._encoded("path")
        moved = self.collection.manifest.moved
        if moved:
            hash_codes, hashes = self._encoded("hash")
            places = np.full(len(hashes), -1)
            for number, name in enumerate(hashes):
                if name in moved:
                    places[number] = len(paths)
                    paths.append(moved[name])
            codes = np.where(places[hash_codes] >= 0, places[hash_codes], codes)
        return codes, paths

    @cached_property
    def durations(self) -> np.ndarray:
        """Length of the video that every moment is from, in seconds, (n,) float; NaN where nobody knows."""
        codes, facts = self._metadata
        return np.array([float(fact.get("duration", "nan")) for fact in facts])[codes]

    @cached_property
    def modified(self) -> np.ndarray:
        """When the file of every moment was changed last, seconds since 1970, (n,) float; NaN where nobody knows."""
        codes, facts = self._metadata
        return np.array([_seconds(fact.get("modified")) for fact in facts])[codes]

    @cached_property
    def tags(self) -> dict[str, np.ndarray]:
        """Which moments, (n,) bool, have a tag, by its name in lower case."""
        codes, facts = self._metadata
        holders: dict[str, list[int]] = {}
        for number, fact in enumerate(facts):
            for label in fact.get("labels") or ():
                holders.setdefault(str(label).lower(), []).append(number)
        found = {}
        for tag, numbers in sorted(holders.items()):
            has = np.zeros(len(facts), bool)
            has[numbers] = True
            found[tag] = has[codes]
        return found

    def rows_beside(self, row: int) -> np.ndarray:
        """Return the rows of the same video as the moment at ``row``, itself among them, in the order of time."""
        order, first = self._by_video
        video = self.videos[row]
        return order[first[video] : first[video + 1]]

    def row_of(self, moment_id: str) -> int:
        """Return the row of a moment.

        Raises:
            QueryError: There is no such moment.
        """
        if moment_id not in self._rows_by_id:
            raise QueryError(f"there is no moment '{moment_id}' in {self.collection.folder}: give an id from a search")
        return self._rows_by_id[moment_id]

    def ids(self, rows: Any) -> tuple[str, ...]:
        """Return the ids of the moments at ``rows``."""
        column = self.collection.table.column("id")
        return tuple(column[int(row)].as_py() for row in rows)

    @cached_property
    def _rows_by_id(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.collection.table.column("id").to_pylist())}

    @cached_property
    def _by_video(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all rows by video and time, (n,), and where each video begins among them, (videos + 1,)."""
        order = np.lexsort((self.ends, self.starts, self.videos))
        count = self.videos.max(initial=-1) + 1
        return order, np.searchsorted(self.videos[order], np.arange(count + 1))

    @cached_property
    def _metadata(self) -> tuple[np.ndarray, list[dict[str, Any]]]:
        codes, texts = self._encoded("metadata")
        return codes, [json.loads(text) for text in texts]

    def _encoded(self, name: str) -> tuple[np.ndarray, list[str]]:
        """Return a column of texts as places, (n,) int, in the list of those that differ."""
        column = self.collection.table.column(name).combine_chunks().dictionary_encode()
        return column.indices.to_numpy(zero_copy_only=False).astype(np.int64), column.dictionary.to_pylist()


def _seconds(moment: str | None) -> float:
    if moment is None:
        return float("nan")
    time = datetime.fromisoformat(moment)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def unit(rows: np.ndarray) -> np.ndarray:
    """Return embeddings (n, D) at unit length."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)

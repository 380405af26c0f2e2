"""The nearest moments, asked of Milvus: it names them, and their scores are computed here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mmretrieval.collection.index import FEW
from mmretrieval.errors import CollectionError
from mmretrieval.search.milvus import Copy, Milvus, NotCopied, keys_of

if TYPE_CHECKING:
    from mmretrieval.search.gallery import Gallery

MOST = 16_384
"""Rows that Milvus gives for one query."""

SPARE = 2
"""By how much more is asked for than the share of allowed rows promises."""


class MilvusNearest:
    """Has what ranking asks of a collection: the nearest moments, all or among some rows.

    Rows are not sent to Milvus: expressions are limited in size. More is asked for, and what is not allowed left out.
    A few allowed rows are compared here, as in a collection's own index, and so is, with every row, what Milvus cannot
    give: more than ``MOST`` rows, enough allowed ones, or a generation that has been replaced there since.

    Args:
        gallery: The moments and their embeddings.
        milvus: Where their copy is.

    Raises:
        NotCopied: The copy is not what the collection is.
        CollectionError: Milvus fails.
    """

    def __init__(self, gallery: Gallery, milvus: Milvus):
        self._gallery, self._milvus = gallery, milvus
        self._copy = Copy.of(gallery.collection.folder, gallery.collection.manifest)
        milvus.load(self._copy)
        milvus.check(self._copy)
        keys = keys_of(gallery.collection.table.column("id").to_pylist())
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def nearest(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows (n, k') of the nearest moments; as ``Collection.nearest``.

        Raises:
            CollectionError: Milvus fails.
        """
        count = len(self._gallery) if rows is None else len(rows)
        k = min(k, count)
        if not k:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        depth = k if rows is None else math.ceil(SPARE * k * len(self._gallery) / count)
        candidates = [np.zeros(0, np.int64)] * len(queries)
        if depth <= MOST and (rows is None or count > FEW):
            candidates = self._ask(queries, depth, rows)
        pairs = [self._best(query, found, k, rows) for query, found in zip(queries, candidates)]
        return tuple(np.stack(part) if pairs else np.zeros((0, k)) for part in zip(*pairs))

    def _ask(self, queries: np.ndarray, depth: int, rows: np.ndarray | None) -> list[np.ndarray]:
        """Return the rows that Milvus names for each query, of those that are allowed; none if it has others by now."""
        failure, answer, found = None, [], []
        try:
            answer = self._milvus.search(self._copy, queries, min(depth, len(self._gallery)))
        except CollectionError as error:
            failure = error
        try:
            self._milvus.check(self._copy)  # afterwards: a push says that it begins before it changes anything
        except NotCopied:
            return [np.zeros(0, np.int64)] * len(queries)
        if failure is not None:
            raise failure
        for keys in answer:
            place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            named = self._order[place[self._keys[place] == keys]]
            found.append(named if rows is None else named[np.isin(named, rows)])
        return found

    def _best(
        self, query: np.ndarray, found: np.ndarray, k: int, rows: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows of the best ``k``: of those that were found, or of all where these are too few."""
        embeddings = self._gallery.embeddings
        if len(found) < k:
            found = np.arange(len(embeddings)) if rows is None else np.asarray(rows)
            rough = embeddings[found] @ query if rows is not None else embeddings @ query
            found = found[np.argsort(-rough, kind="stable")[:k]]
        # row by row, so that a score does not depend on what else was found
        scores = np.einsum("nd,d->n", embeddings[found], query, dtype=np.float64).astype(np.float32)
        order = np.lexsort((found, -scores))[:k]
        return scores[order], found[order]

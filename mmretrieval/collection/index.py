"""The FAISS part of a collection: derived from its segments, checked before it is read, searched from NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

EXACT = "exact"
"""Kind of index that compares a query with every embedding."""


def index_name(generation: int) -> str:
    """Return the name of the index file of a generation: ``index-000001.faiss``."""
    return f"index-{generation:06d}.faiss"


def build_index(embeddings: np.ndarray) -> Any:
    """Build an exact inner-product index over embeddings (n, D) float32; unit length makes it the cosine."""
    import faiss

    index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(np.ascontiguousarray(embeddings, np.float32))
    return index


def index_to_bytes(index: Any) -> bytes:
    """Return what ``faiss.write_index`` would write."""
    import faiss

    return faiss.serialize_index(index).tobytes()


def index_from_bytes(data: bytes) -> Any:
    """Read an index. FAISS trusts its input: hand over only bytes whose SHA-256 has been checked."""
    import faiss

    return faiss.deserialize_index(np.frombuffer(data, np.uint8))


def search_index(
    index: Any, queries: np.ndarray, k: int, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and row numbers (n, k') of the best rows for queries (n, D), best first; k' = min(k, rows).

    ``rows`` are the row numbers that may be answers, (m,) int; None allows all.
    """
    import faiss

    k = min(k, index.ntotal if rows is None else len(rows))
    if k == 0:
        return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    options = {}
    if rows is not None:
        allowed = np.zeros(index.ntotal, bool)
        allowed[rows] = True
        bits = np.packbits(allowed, bitorder="little")
        options = {"params": faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))}
    with _one_thread():
        return index.search(np.ascontiguousarray(queries, np.float32), k, **options)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep a query on one thread: on a busy machine waking the others costs more than they bring.

    FAISS and torch can share one OpenMP runtime, so the setting is handed back: a search must not slow the model.
    """
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)

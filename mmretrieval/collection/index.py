"""The FAISS part of a collection: derived from its segments, checked before it is read, searched from NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmretrieval.files import atomic_file

EXACT = "exact"
"""Kind of index that compares a query with every embedding."""
TUNED_FOR = 10
"""Number of answers for which an approximate index was tuned; for more of them it looks at more."""
FEW = 32_768
"""Allowed rows up to which each is compared, whatever the index: at D = 256 that takes 1 to 2 ms."""


def index_name(generation: int) -> str:
    """Return the name of the index file of a generation: ``index-000001.faiss``."""
    return f"index-{generation:06d}.faiss"


def build_index(embeddings: np.ndarray) -> Any:
    """Build an exact inner-product index over embeddings (n, D) float32; unit length makes it the cosine."""
    return gather_index([embeddings], *embeddings.shape)


def gather_index(parts: Iterable[np.ndarray], rows: int, dim: int) -> Any:
    """Build an exact index over the ``rows`` embeddings of several arrays (n, ``dim``), one after the other.

    Memory is taken once: growing it would hold everything twice for a while.
    """
    import faiss

    index = faiss.IndexFlatIP(dim)
    index.codes.resize(rows * dim * 4)
    index.ntotal = rows
    start = 0
    for part in parts:
        stored(index)[start : start + len(part)] = part
        start += len(part)
    return index


def stored(index: Any) -> np.ndarray:
    """Return the embeddings of an exact index, (n, D) float32, without a copy; they live as long as the index."""
    import faiss

    if not index.ntotal:
        return np.zeros((0, index.d), np.float32)
    return faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)


def write_index(path: Path, index: Any) -> None:
    """Write an index to a file, atomically and without a copy of it in memory.

    Raises:
        StorageError: The disk is full or refuses to be written.
    """
    import faiss

    with atomic_file(path) as unfinished:
        faiss.write_index(index, str(unfinished))


def index_to_bytes(index: Any) -> bytes:
    """Return what ``write_index`` would write."""
    import faiss

    return faiss.serialize_index(index).tobytes()


def index_from_bytes(data: bytes) -> Any:
    """Read an index. FAISS trusts its input: hand over only bytes whose SHA-256 has been checked."""
    import faiss

    return faiss.deserialize_index(np.frombuffer(data, np.uint8))


class Allowed:
    """Rows of an index that may be answers, made ready for FAISS; worth keeping when it is asked again.

    Args:
        mask: (rows of the index,) bool.
    """

    def __init__(self, mask: np.ndarray):
        import faiss

        self.count = int(np.count_nonzero(mask))
        self.selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))

    @classmethod
    def rows(cls, rows: np.ndarray, total: int) -> Allowed:
        """Allow the given row numbers, (m,) int, of ``total`` rows."""
        mask = np.zeros(total, bool)
        mask[rows] = True
        return cls(mask)


def search_index(
    index: Any, queries: np.ndarray, k: int, rows: np.ndarray | Allowed | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and row numbers (n, k') of the best rows for queries (n, D), best first; k' = min(k, rows).

    ``rows`` are the row numbers that may be answers, (m,) int, or the same as ``Allowed``; None allows all. An
    approximate index compares with all allowed rows when they are few, and looks further when they are many; there are
    always k' answers.
    """
    allowed = rows if rows is None or isinstance(rows, Allowed) else Allowed.rows(rows, index.ntotal)
    k = min(k, index.ntotal if allowed is None else allowed.count)
    if k == 0:
        return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    queries = np.ascontiguousarray(queries, np.float32)
    with one_thread():
        if allowed is None and k <= TUNED_FOR:
            scores, found = index.search(queries, k)
        elif allowed is not None and allowed.count <= FEW:
            return _compare_all(index, queries, k, allowed)
        else:
            scores, found = index.search(queries, k, params=_look_further(index, k, allowed))
        # one query is the usual case, and NumPy's min takes as long as a tenth of a search
        last = found.item(k - 1) if len(found) == 1 else found[:, -1].min(initial=0)
        if last < 0:
            # the part that was looked at holds fewer than k rows
            return _compare_all(index, queries, k, allowed)
        return scores, found


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep a query on one thread: on a busy machine waking the others costs more than they bring.

    FAISS and torch can share one OpenMP runtime, so the setting is handed back: a search must not slow the model.
    """
    import faiss

    threads = faiss.omp_get_max_threads()
    if threads == 1:
        yield
        return
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def exact_part(index: Any) -> Any:
    """Return the exact index that an index is or has inside, or None where only rounded embeddings are kept."""
    import faiss

    if isinstance(index, faiss.IndexRefine):
        return faiss.downcast_index(index.refine_index)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.downcast_index(index.storage)
    return index if isinstance(index, faiss.IndexFlat) else None


def lists_part(index: Any) -> Any:
    """Return the inverted lists that an index is or has inside, or None."""
    import faiss

    if isinstance(index, faiss.IndexRefine):
        index = faiss.downcast_index(index.base_index)
    return index if isinstance(index, faiss.IndexIVF) else None


def _look_further(index: Any, k: int, allowed: Allowed | None) -> Any:
    """Return search parameters that find as large a share of the answers as ten out of all rows."""
    import faiss

    more = math.ceil(k / TUNED_FOR)
    selector = {}
    if allowed is not None:
        more *= index.ntotal / allowed.count
        selector = {"sel": allowed.selector}
    lists = lists_part(index)
    if lists is not None:
        nprobe = min(lists.nlist, math.ceil(lists.nprobe * more))
        parameters = faiss.SearchParametersIVF(nprobe=nprobe, **selector)
        if lists is index:
            return parameters
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=parameters)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(2 * k, math.ceil(index.hnsw.efSearch * more)), **selector)
    return faiss.SearchParameters(**selector)


def _compare_all(index: Any, queries: np.ndarray, k: int, allowed: Allowed | None) -> tuple[np.ndarray, np.ndarray]:
    """Search by comparing with every allowed row."""
    import faiss

    selector = {} if allowed is None else {"sel": allowed.selector}
    exact = exact_part(index)
    if exact is not None:
        return exact.search(queries, k, params=faiss.SearchParameters(**selector))
    return index.search(queries, k, params=faiss.SearchParametersIVF(nprobe=index.nlist, **selector))

"""Kinds of approximate index that a collection may have, each built from an exact one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.collection.index import lists_part, stored

PER_CELL = 40
"""Embeddings per cell that k-means looks at; FAISS advises 39 at least."""
ROUNDS = 10
LINKS = 32
SEED = 0


class Cells:
    """A division of the embeddings into cells by k-means, made once and shared by every kind that needs one."""

    def __init__(self, exact: Any):
        self.exact = exact
        # a power of two near 2.5 √n: comparing with the centres then costs about as much as with what is in the cells
        self.count = 2 ** round(np.log2(2.5 * np.sqrt(exact.ntotal)))

    @cached_property
    def sample(self) -> np.ndarray:
        """Embeddings to learn from, (m, D)."""
        embeddings = stored(self.exact)
        size = min(len(embeddings), self.count * PER_CELL)
        chosen = np.random.default_rng(SEED).choice(len(embeddings), size, replace=False)
        return embeddings[np.sort(chosen)]

    @cached_property
    def centres(self) -> Any:
        """An exact index of the centres."""
        import faiss

        centres = faiss.IndexFlatIP(self.exact.d)
        clustering = faiss.Clustering(self.exact.d, self.count)
        clustering.niter, clustering.max_points_per_centroid, clustering.seed = ROUNDS, PER_CELL, SEED
        # fewer embeddings per cell than FAISS likes are still better than fewer cells
        clustering.min_points_per_centroid = 1
        clustering.train(self.sample, centres)
        return centres

    @cached_property
    def of_rows(self) -> np.ndarray:
        """The cell of every embedding, (n,) int64."""
        return np.ascontiguousarray(self.centres.search(stored(self.exact), 1)[1][:, 0])

    def own(self, index: Any) -> Any:
        """Give an IVF index a copy of the centres, so that it lives without these cells."""
        import faiss

        index.quantizer = faiss.clone_index(self.centres)
        index.quantizer.this.disown()
        index.own_fields = True
        return index


class Candidate(NamedTuple):
    """A kind of index that may be chosen.

    Attributes:
        kind: Its name in the manifest.
        bytes: Memory it takes, from number and width of the embeddings.
        build: From an exact index and its cells to an index, and the parameters it was built with.
        settings: Ways to tune it, from fast to thorough.
        tune: Sets one of them; what else the parameters hold is ignored.
        unfit: The reason why it cannot hold embeddings of a width, or None.
        slow_up_to: For kinds that are slow to build, the number of embeddings up to which they are tried at all, and
            only where no other kind is fast enough.
    """

    kind: str
    bytes: Callable[[int, int], int]
    build: Callable[[Any, Cells], tuple[Any, dict[str, Any]]]
    settings: Callable[[Any], Iterator[dict[str, Any]]]
    tune: Callable[[Any, dict[str, Any]], None]
    unfit: Callable[[int], str | None] = lambda dim: None
    slow_up_to: int | None = None


def _ivf_flat(exact: Any, cells: Cells) -> tuple[Any, dict[str, Any]]:
    import faiss

    index = faiss.IndexIVFFlat(cells.centres, exact.d, cells.count, faiss.METRIC_INNER_PRODUCT)
    return _filled(cells.own(index), exact, cells), {"cells": cells.count}


def _ivf_sq8(exact: Any, cells: Cells) -> tuple[Any, dict[str, Any]]:
    import faiss

    index = faiss.IndexIVFScalarQuantizer(
        cells.centres, exact.d, cells.count, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    # a tenth of the range to spare on both sides, for what is appended later
    index.sq.rangestat_arg = 0.1
    return _filled(cells.own(index), exact, cells), {"cells": cells.count}


def _ivf_sq8_refined(exact: Any, cells: Cells) -> tuple[Any, dict[str, Any]]:
    return _refined(_ivf_sq8(exact, cells)[0], exact, 4), {"cells": cells.count, "refine": 4}


def _ivf_pq4_refined(exact: Any, cells: Cells) -> tuple[Any, dict[str, Any]]:
    import faiss

    index = faiss.IndexIVFPQFastScan(cells.centres, exact.d, cells.count, exact.d // 2, 4, faiss.METRIC_INNER_PRODUCT)
    cells.own(index)
    index.pq.cp.min_points_per_centroid = 1
    index.train(cells.sample)
    index.add(stored(exact))
    return _refined(index, exact, 8), {"cells": cells.count, "refine": 8}


def _hnsw(exact: Any, cells: Cells) -> tuple[Any, dict[str, Any]]:
    import faiss

    index = faiss.IndexHNSWFlat(exact.d, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    index.add(stored(exact))
    return index, {"links": LINKS}


def _filled(index: Any, exact: Any, cells: Cells) -> Any:
    """Put all embeddings into the cells that are known already."""
    import faiss

    embeddings = stored(exact)
    index.train(cells.sample)
    # to faiss.swig_ptr an array is an address: it must live until the call returns
    of_rows = cells.of_rows
    index.add_core(len(embeddings), faiss.swig_ptr(embeddings), None, faiss.swig_ptr(of_rows))
    return index


def _refined(base: Any, exact: Any, factor: int) -> Any:
    """Compare the ``factor`` × k best of an index again, with the embeddings as they are; they are not copied."""
    import faiss

    index = faiss.IndexRefine(base, exact)
    index.k_factor = factor
    return index


def _probes(index: Any) -> Iterator[dict[str, Any]]:
    count = lists_part(index).nlist
    return ({"probes": probes} for probes in (2**power for power in range(count.bit_length())))


def _set_probes(index: Any, parameters: dict[str, Any]) -> None:
    lists_part(index).nprobe = parameters["probes"]


def _efforts(index: Any) -> Iterator[dict[str, Any]]:
    return ({"effort": effort} for effort in (16, 32, 64, 128, 256, 512))


def _set_effort(index: Any, parameters: dict[str, Any]) -> None:
    index.hnsw.efSearch = parameters["effort"]


def _even(dim: int) -> str | None:
    return f"needs an even width, this is {dim}" if dim % 2 else None


_IVF = {"settings": _probes, "tune": _set_probes}
CANDIDATES = [
    Candidate("ivf_flat", lambda n, dim: n * (4 * dim + 8), _ivf_flat, **_IVF),
    Candidate("ivf_sq8", lambda n, dim: n * (dim + 8), _ivf_sq8, **_IVF),
    Candidate("ivf_sq8_refined", lambda n, dim: n * (5 * dim + 8), _ivf_sq8_refined, **_IVF),
    Candidate(
        "ivf_pq4_refined",
        lambda n, dim: n * (4 * dim + dim // 4 + 8),
        _ivf_pq4_refined,
        unfit=_even,
        slow_up_to=2**31,
        **_IVF,
    ),
    Candidate(
        "hnsw",
        lambda n, dim: n * (4 * dim + 9 * LINKS),
        _hnsw,
        _efforts,
        _set_effort,
        slow_up_to=262_144,
    ),
]
"""Every kind, in the order in which they are tried."""

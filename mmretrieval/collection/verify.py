"""Check a collection from the disk up: every byte of every file, and that its parts fit together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.collection.index import exact_part, lists_part, stored
from mmretrieval.collection.locks import read_pinned
from mmretrieval.collection.manifest import NAME, DamagedManifest, Manifest
from mmretrieval.collection.segments import live_embeddings, live_table, segment_sizes
from mmretrieval.collection.upkeep import read_index
from mmretrieval.files import sha256_file

ROUNDING = 0.05
"""Distance from embeddings to their 8-bit form, as a share of their length and on average, that is still rounding."""


class Problem(NamedTuple):
    """A file of a collection and what is wrong with it."""

    file: str
    problem: str


def verify_collection(folder: str | Path) -> list[Problem]:
    """Return what is wrong with the collection in ``folder``; an empty list means every byte is as written.

    It works where ``Collection.open`` refuses: every damaged file is named, the manifest too.

    Raises:
        CollectionError: ``folder`` is no collection at all, or has a newer format.
    """
    folder = Path(folder)
    try:
        manifest, pin = read_pinned(folder)
    except DamagedManifest:
        return [Problem(NAME, "damaged")]
    try:
        problems = check_files(folder, manifest) + _check_retired(folder, manifest)
        return problems or list(_check_parts(folder, manifest))
    finally:
        pin.release()


def check_files(folder: Path, manifest: Manifest) -> list[Problem]:
    """Compare every file with the size and the SHA-256 that the manifest promises."""
    checked = [(name, _compare(folder / name, record)) for name, record in manifest.files.items()]
    return [Problem(name, problem) for name, problem in checked if problem]


def _check_retired(folder: Path, manifest: Manifest) -> list[Problem]:
    """Check what is kept for readers of older generations, where it has not been deleted."""
    checked = [(name, _compare(folder / name, record)) for name, record in manifest.retired.items()]
    return [Problem(name, problem) for name, problem in checked if problem not in (None, "missing")]


def _compare(file: Path, record: dict[str, Any]) -> str | None:
    """Return what is wrong with a file, or None."""
    try:
        size = file.stat().st_size
        if size != record["bytes"]:
            return f"damaged: {size} bytes instead of {record['bytes']}"
        return None if sha256_file(file) == record["sha256"] else "damaged: its checksum differs"
    except FileNotFoundError:
        return "missing"


def _check_parts(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    """Check that the index holds the embeddings of the segments, and the manifest the right numbers."""
    table = live_table(folder, manifest.segments, manifest.removed, ["id"])
    counted = manifest.counts["moments"]
    if len(table) != counted:
        yield Problem(NAME, f"counts {counted} moments, the segments hold {len(table)}")
    if len(table.column("id").unique()) != len(table):
        yield Problem(NAME, "two moments have one id")
    for name, size in segment_sizes(folder, manifest.segments, manifest.files).items():
        rows = len(live_table(folder, [name], {}, ["id"]))
        if rows != size:
            yield Problem(NAME, f"counts {size} moments in {name}, it holds {rows}")
    if manifest.index["rows"]:
        problem = _check_index(folder, manifest)
        if problem:
            yield Problem(manifest.index["file"], problem)


def _check_index(folder: Path, manifest: Manifest) -> str | None:
    """Compare the index with the segments it was made of, one segment at a time."""
    index = read_index(folder, manifest)
    rows = manifest.index["rows"]
    if index.ntotal != rows:
        return f"holds {index.ntotal} moments, the manifest says {rows}"
    lists = lists_part(index)
    if lists is not None and (_ids(lists) != np.arange(rows)).any():
        return "its lists do not hold every moment once"
    exact = exact_part(index)
    if exact is None:
        index.make_direct_map()
    start = 0
    for embeddings in live_embeddings(folder, manifest.segments, {}, manifest.dim):
        if start == rows:
            break
        end = start + len(embeddings)
        held = stored(exact)[start:end] if exact is not None else index.reconstruct_n(start, len(embeddings))
        if len(held) != len(embeddings) or not _agree(held, embeddings, index if exact is None else None):
            return "holds other embeddings than the segments"
        start = end
    return None


def _agree(held: np.ndarray, embeddings: np.ndarray, rounded: Any) -> bool:
    import faiss

    if isinstance(rounded, faiss.IndexIVFFlat) or rounded is None:
        return bool((held == embeddings).all())
    lengths = np.linalg.norm(embeddings, axis=1)
    # on average: of what is appended later, single numbers may lie outside the range that was learnt
    return bool(np.mean(np.linalg.norm(held - embeddings, axis=1) / np.maximum(lengths, 1e-6)) <= ROUNDING)


def _ids(lists: Any) -> np.ndarray:
    """Return the sorted ids in inverted lists."""
    import faiss

    inverted = lists.invlists
    parts = []
    for number in range(lists.nlist):
        size = inverted.list_size(number)
        if size:
            parts.append(faiss.rev_swig_ptr(inverted.get_ids(number), size).copy())
    return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)

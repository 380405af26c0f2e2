"""Check a collection from the disk up: every byte of every file, and that its parts fit together."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mmretrieval.collection.generations import live_embeddings, live_table
from mmretrieval.collection.index import index_from_bytes
from mmretrieval.collection.manifest import NAME, DamagedManifest, Manifest, read_manifest
from mmretrieval.files import sha256_file


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
        manifest = read_manifest(folder)
    except DamagedManifest:
        return [Problem(NAME, "damaged")]
    problems = check_files(folder, manifest)
    return problems or _check_parts(folder, manifest)


def check_files(folder: Path, manifest: Manifest) -> list[Problem]:
    """Compare every file with the size and the SHA-256 that the manifest promises."""
    problems = []
    for name, record in manifest.files.items():
        file = folder / name
        if not file.is_file():
            problems.append(Problem(name, "missing"))
        elif file.stat().st_size != record["bytes"]:
            problems.append(Problem(name, f"damaged: {file.stat().st_size} bytes instead of {record['bytes']}"))
        elif sha256_file(file) != record["sha256"]:
            problems.append(Problem(name, "damaged: its checksum differs"))
    return problems


def _check_parts(folder: Path, manifest: Manifest) -> list[Problem]:
    """Check that the index holds exactly the embeddings of the segments, and the manifest their number."""
    table = live_table(folder, manifest.segments, manifest.removed)
    embeddings = live_embeddings(folder, manifest.segments, manifest.removed, manifest.dim)
    file = manifest.index["file"]
    index = index_from_bytes((folder / file).read_bytes())
    problems = []
    if len(table) != manifest.counts["moments"]:
        problems.append(Problem(NAME, f"counts {manifest.counts['moments']} moments, the segments hold {len(table)}"))
    if len(set(table.column("id").to_pylist())) != len(table):
        problems.append(Problem(NAME, "two moments have one id"))
    if index.ntotal != len(table):
        problems.append(Problem(file, f"holds {index.ntotal} moments, the segments hold {len(table)}"))
    elif (index.reconstruct_n(0, index.ntotal) != embeddings).any():
        problems.append(Problem(file, "holds other embeddings than the segments"))
    return problems

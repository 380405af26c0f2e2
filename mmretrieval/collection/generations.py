"""One generation of a collection after the other: new files first, the manifest last, so either is there whole."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmretrieval.collection.index import EXACT, build_index, index_name, index_to_bytes
from mmretrieval.collection.manifest import NAME, Manifest, file_record, now, read_manifest
from mmretrieval.collection.segments import FOLDER, Moment, read_embeddings, read_moments, segment_name, write_segment
from mmretrieval.errors import CollectionError
from mmretrieval.files import atomic_write, only_holder, storage_error

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Change:
    """What distinguishes the next generation from the present one.

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


def first_generation(metric: str, dim: int, model: dict[str, str]) -> Manifest:
    """Return what a collection is before its first generation: nothing, for a model."""
    counts = {"videos": 0, "moments": 0, "quarantined": 0}
    return Manifest(0, "", "", metric, dim, counts, model, {}, [], {})


def write_generation(folder: Path, present: Manifest, change: Change) -> Manifest:
    """Write the next generation and return its manifest. When it fails, the present one is as it was.

    Raises:
        StorageError: The disk is full or refuses to be written.
        CollectionError: Another process changed the collection meanwhile.
    """
    made = [part for part in (folder / FOLDER, folder) if not part.exists()]
    try:
        _make_folders(folder)
        with only_holder(folder):
            if _generation(folder) != present.generation:
                raise CollectionError(f"{folder} was changed by another process meanwhile: run the command again")
            return _write(folder, present, change)
    except BaseException:
        for part in made:
            # what holds anything stays
            with suppress(OSError):
                part.rmdir()
        raise


def _write(folder: Path, present: Manifest, change: Change) -> Manifest:
    generation = present.generation + 1
    index_file = index_name(generation)
    segments, files = list(present.segments), {name: present.files[name] for name in present.segments}
    written = [index_file]
    try:
        if change.moments:
            segments.append(_next_segment(segments))
            written.append(segments[-1])
            write_segment(folder / segments[-1], change.moments, change.embeddings)
            files[segments[-1]] = file_record(folder / segments[-1])
        embeddings = live_embeddings(folder, segments, change.removed, present.dim)
        atomic_write(folder / index_file, index_to_bytes(build_index(embeddings)))
        files[index_file] = file_record(folder / index_file)
        videos = len(set(live_table(folder, segments, change.removed).column("hash").to_pylist()))
        time = now()
        manifest = replace(
            present,
            generation=generation,
            created=present.created or time,
            changed=time,
            counts={"videos": videos, "moments": len(embeddings), "quarantined": len(change.quarantined)},
            index={"kind": EXACT, "file": index_file},
            segments=segments,
            files=files,
            removed=change.removed,
            moved=change.moved,
            duplicates=change.duplicates,
            quarantined=change.quarantined,
        )
        manifest.write(folder)
    except BaseException:
        # an interruption may come after the manifest has taken its place; then these files are the collection
        if _generation(folder) != generation:
            for name in written:
                (folder / name).unlink(missing_ok=True)
        raise
    _tidy(folder, keep={index_file, present.index.get("file")})
    return manifest


def live_table(folder: Path, segments: Sequence[str], removed: dict[str, list[int]]) -> pyarrow.Table:
    """Return the moments of all segments without those removed, as a table of ``segments.COLUMNS``."""
    import pyarrow as pa

    tables = []
    for name in segments:
        table = read_moments(folder / name)
        tables.append(table.filter(pa.array(_alive(len(table), removed.get(name, [])))))
    return pa.concat_tables(tables)


def live_embeddings(folder: Path, segments: Sequence[str], removed: dict[str, list[int]], dim: int) -> np.ndarray:
    """Return the embeddings of all segments without those removed, (n, ``dim``) float32."""
    parts = []
    for name in segments:
        embeddings = read_embeddings(folder / name, dim)
        parts.append(embeddings[_alive(len(embeddings), removed.get(name, []))])
    return np.concatenate(parts) if parts else np.zeros((0, dim), np.float32)


def _alive(rows: int, removed: Sequence[int]) -> np.ndarray:
    alive = np.ones(rows, bool)
    alive[list(removed)] = False
    return alive


def _make_folders(folder: Path) -> None:
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error


def _generation(folder: Path) -> int:
    return read_manifest(folder).generation if (folder / NAME).exists() else 0


def _next_segment(segments: Sequence[str]) -> str:
    """Return a name with the number after the highest; numbers in between that are free stay free."""
    return segment_name(1 + max((int(Path(name).stem.split("-")[1]) for name in segments), default=0))


def _tidy(folder: Path, keep: set[str | None]) -> None:
    """Delete index files of old generations, and what killed processes left; only the one writer does this.

    The index of the last generation stays: a reader may have just opened its manifest.
    """
    old = [file for file in folder.glob("index-*.faiss") if file.name not in keep]
    for file in [*old, *folder.glob(".*.unfinished"), *folder.glob(f"{FOLDER}/.*.unfinished")]:
        file.unlink(missing_ok=True)

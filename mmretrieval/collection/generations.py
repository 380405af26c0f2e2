"""One generation of a collection after the other: new files first, the manifest last, so either is there whole.

Whoever calls these holds the collection with ``locks.only_writer``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmretrieval.collection.changes import Change
from mmretrieval.collection.index import index_name, write_index
from mmretrieval.collection.locks import READERS, held_generations, pin_name
from mmretrieval.collection.manifest import NAME, Manifest, file_record, now, read_manifest
from mmretrieval.collection.segments import (
    FOLDER,
    SEGMENT_ROWS,
    live_table,
    segment_name,
    segment_sizes,
    segment_table,
    write_segment,
)
from mmretrieval.collection.upkeep import keep_up
from mmretrieval.files import storage_error

if TYPE_CHECKING:
    import pyarrow


def first_generation(metric: str, dim: int, model: dict[str, str]) -> Manifest:
    """Return what a collection is before its first generation: nothing, for a model."""
    counts = {"videos": 0, "moments": 0, "quarantined": 0}
    return Manifest(0, "", "", metric, dim, counts, model, {}, [], {})


def fresh_start(present: Manifest, metric: str, dim: int, model: dict[str, str]) -> Manifest:
    """Return a collection before the first moment of another model: nothing of ``present`` but its files to retire."""
    return replace(present, metric=metric, dim=dim, model=model, index={}, segments=[], removed={})


def write_generation(folder: Path, present: Manifest, change: Change) -> Manifest:
    """Write the next generation and return its manifest. When it fails, the present one is as it was.

    Raises:
        StorageError: The disk is full or refuses to be written.
    """
    with next_generation(folder, present) as draft:
        segments = list(present.segments)
        for start in range(0, len(change.moments), SEGMENT_ROWS):
            part = slice(start, start + SEGMENT_ROWS)
            segments.append(draft.add_segment(segment_table(change.moments[part], change.embeddings[part])))
        draft.keep_index(segments)
        return draft.publish(
            segments,
            removed=change.removed,
            moved=change.moved,
            duplicates=change.duplicates,
            quarantined=change.quarantined,
        )


class Draft:
    """The next generation in the making; it is the collection once it is published."""

    def __init__(self, folder: Path, present: Manifest):
        self.folder = folder
        self.present = present
        self.number = present.generation + 1
        self.index = present.index
        self.files = dict(present.files)
        self.written: list[str] = []

    def add_segment(self, table: pyarrow.Table) -> str:
        """Write a segment and return its name, one that no generation on disk has used."""
        used = [*self.files, *self.present.retired, *(f"{FOLDER}/{file.name}" for file in _segments(self.folder))]
        last = max((int(Path(name).stem.split("-")[1]) for name in used if name.startswith(FOLDER)), default=0)
        name = segment_name(last + 1)
        self.written.append(name)
        write_segment(self.folder / name, table)
        self.files[name] = {**file_record(self.folder / name), "rows": len(table), "since": self.number}
        return name

    def keep_index(self, segments: Sequence[str], memory: int | None = None, anew: bool = False) -> None:
        """Make the index fit ``segments``: as it is, appended to, or chosen ``anew``, see ``upkeep``."""
        sizes = segment_sizes(self.folder, segments, self.files)
        kept = keep_up(self.folder, self.present, sizes, memory, anew)
        if kept is None:
            return
        name = index_name(self.number)
        self.written.append(name)
        write_index(self.folder / name, kept.index)
        self.files[name] = {**file_record(self.folder / name), "since": self.number}
        self.index = {"kind": kept.kind, "file": name, **kept.record}

    def publish(self, segments: Sequence[str], removed: dict[str, list[int]], **notes: Any) -> Manifest:
        """Write the manifest, which makes this the present generation, and return it."""
        present, time = self.present, now()
        table = live_table(self.folder, segments, removed, ["hash"])
        quarantined = notes.get("quarantined", present.quarantined)
        videos = table.column("hash").unique()
        named = {*segments, self.index["file"]}
        gone = {name: {**record, "until": present.generation} for name, record in present.files.items()}
        retired = {name: record for name, record in present.retired.items() if (self.folder / name).exists()}
        manifest = replace(
            present,
            generation=self.number,
            created=present.created or time,
            changed=time,
            counts={"videos": len(videos), "moments": len(table), "quarantined": len(quarantined)},
            index=self.index,
            segments=list(segments),
            files={name: record for name, record in self.files.items() if name in named},
            removed=removed,
            retired={**retired, **{name: record for name, record in gone.items() if name not in named}},
            **notes,
        )
        # made by the writer, so that readers who may not write find something to lock
        _touch(self.folder / READERS / pin_name(self.number))
        manifest.write(self.folder)
        return manifest


@contextmanager
def next_generation(folder: Path, present: Manifest) -> Iterator[Draft]:
    """Give a draft of the next generation; when the block fails before it is published, its files are deleted."""
    draft = Draft(folder, present)
    try:
        yield draft
    except BaseException:
        # an interruption may come after the manifest has taken its place; then these files are the collection
        if _generation(folder) != draft.number:
            for name in [*draft.written, f"{READERS}/{pin_name(draft.number)}"]:
                (folder / name).unlink(missing_ok=True)
        raise


def delete_unneeded(folder: Path, manifest: Manifest) -> None:
    """Delete what neither this generation nor a reader of an older one needs, and what killed writers left."""
    held = held_generations(folder, manifest.generation)
    needed = set(manifest.files)
    for name, record in manifest.retired.items():
        if any(record.get("since", 1) <= generation <= record["until"] for generation in held):
            needed.add(name)
    indexes = [(file.name, file) for file in folder.glob("index-*.faiss")]
    segments = [(f"{FOLDER}/{file.name}", file) for file in _segments(folder)]
    for name, file in [*indexes, *segments]:
        if name not in needed:
            file.unlink(missing_ok=True)
    for part in (folder, folder / FOLDER, folder / READERS):
        for file in part.glob(".*.unfinished"):
            file.unlink(missing_ok=True)


def _touch(file: Path) -> None:
    try:
        file.touch()
    except OSError as error:
        raise storage_error(file, error) from error


def _segments(folder: Path) -> list[Path]:
    return list((folder / FOLDER).glob("segment-*.parquet"))


def _generation(folder: Path) -> int:
    return read_manifest(folder).generation if (folder / NAME).exists() else 0

"""``Collection``: videos made searchable, kept as checksummed files in one folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmretrieval.collection.cutting import WINDOW
from mmretrieval.collection.generations import (
    Change,
    first_generation,
    live_embeddings,
    live_table,
    write_generation,
)
from mmretrieval.collection.index import index_from_bytes, search_index
from mmretrieval.collection.ingest import Ingest, Options, ingest
from mmretrieval.collection.manifest import (
    NAME,
    Manifest,
    check_bytes,
    damaged_file,
    missing_file,
    now,
    read_manifest,
)
from mmretrieval.collection.segments import Moment, moments_of
from mmretrieval.collection.summary import Summary
from mmretrieval.collection.verify import Problem, check_files, verify_collection
from mmretrieval.errors import CollectionError

if TYPE_CHECKING:
    import pyarrow


class Added(NamedTuple):
    """What an addition did, in numbers of moments: new ones, ones that were there already, and sources set aside."""

    added: int
    known: int
    set_aside: int


class Collection:
    """Moments of videos and their embeddings, on disk, belonging to one model.

    An object is one generation: what another process adds later is seen by opening again. Use ``build`` and ``open``.
    """

    def __init__(self, folder: str | Path, manifest: Manifest):
        self.folder = Path(folder)
        self.manifest = manifest
        self.summary = Summary()
        """What the last ``build`` or ``add`` of this object did."""

    @classmethod
    def build(
        cls,
        path: str | Path,
        sources: Sequence[str | Path],
        model: Any,
        model_path: str | Path,
        *,
        window: float = WINDOW,
        progress: bool = True,
        backend: str = "pyav",
        on_bad: str = "skip",
        **more: Any,
    ) -> Collection:
        """Make a collection of videos, or add what is missing to one that the same model made.

        Args:
            path: Folder to write; it is created.
            sources: Video files, folders of them (searched recursively) and ``.jsonl`` manifests.
            model: The model that embeds: a ``RetrievalModel`` with video.
            model_path: Where that model is saved; the collection remembers it.
            window: Seconds of a moment; a video at most one second longer is one moment.
            progress: Show progress bars when standard error is a terminal.
            backend: The video reader: ``pyav``, the careful one, or ``decord``.
            on_bad: "skip" sets broken files aside and lists them, "raise" stops at the first.
            more: Further options, see ``ingest.Options``.

        Raises:
            CollectionError: Nothing was found, nothing could be used, or the folder holds something else.
            StorageError: The disk is full or refuses to be written. Run again, it goes on from what was done.
        """
        folder = Path(path)
        options = Options(window=window, progress=progress, backend=backend, on_bad=on_bad, **more)
        if (folder / NAME).exists():
            collection = cls.open(folder)
            collection._ingest(sources, model, options)
            return collection
        if folder.exists() and (not folder.is_dir() or _has_foreign(folder)):
            raise CollectionError(f"'{folder}' is not empty and not a collection: give a new folder")
        _check_video(model)
        with ingest(sources, model, folder, options) as outcome:
            if not outcome.moments:
                raise _nothing_usable(outcome)
            record = {**_model_record(folder, model, model_path), "precision": outcome.precision}
            start = first_generation(model.metric, model.dim, record)
            collection = cls(folder, write_generation(folder, start, _change(start, outcome, {})))
        collection.summary = outcome.summary
        return collection

    @classmethod
    def open(cls, path: str | Path) -> Collection:
        """Open a collection; the checksum of every file is compared first.

        Raises:
            CollectionError: No collection, a newer format, or a file that is missing or damaged: the message names it.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        for file, problem in check_files(folder, manifest):
            raise missing_file(folder, file) if problem == "missing" else damaged_file(folder, file)
        return cls(folder, manifest)

    @cached_property
    def table(self) -> pyarrow.Table:
        """All moments as a table (id, path, start, end, hash, metadata), in the order of the rows of the index."""
        return live_table(self.folder, self.manifest.segments, self.manifest.removed)

    @cached_property
    def moments(self) -> list[Moment]:
        """All moments, in the order of the rows of the index."""
        return [self._present(moment) for moment in moments_of(self.table)]

    def moment(self, row: int) -> Moment:
        """Return the moment at a row of the index."""
        return self._present(moments_of(self.table.slice(row, 1))[0])

    def _present(self, moment: Moment) -> Moment:
        return moment._replace(path=self.manifest.moved.get(moment.hash, moment.path))

    def embeddings(self) -> np.ndarray:
        """Return the embeddings of all moments, (n, D) float32, in the order of the rows of the index."""
        return live_embeddings(self.folder, self.manifest.segments, self.manifest.removed, self.manifest.dim)

    @cached_property
    def index(self) -> Any:
        """The FAISS index; its bytes are checked before FAISS sees them."""
        name = self.manifest.index["file"]
        try:
            data = (self.folder / name).read_bytes()
        except FileNotFoundError:
            raise missing_file(self.folder, name) from None
        return index_from_bytes(check_bytes(data, name, self.manifest, self.folder))

    def nearest(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows (n, k') of the moments nearest to query embeddings (n, D), best first.

        k' = min(k, moments); with ``rows``, (m,) int, only those moments may be answers, and k' = min(k, m).
        """
        return search_index(self.index, queries, k, rows)

    def __len__(self) -> int:
        return self.manifest.counts["moments"]

    def info(self) -> dict[str, Any]:
        """Return what there is to know in plain values: counts, generation, model, index, metric, size on disk.

        ``quarantined`` counts what could not be used, ``set_aside`` lists it with path, reason and time.
        """
        manifest = self.manifest
        return {
            "path": str(self.folder),
            **manifest.counts,
            "duplicates": len(manifest.duplicates),
            "generation": manifest.generation,
            "created": manifest.created,
            "changed": manifest.changed,
            "model": {"fingerprint": manifest.model["fingerprint"], "path": str(self.model_path())},
            "index": manifest.index["kind"],
            "metric": manifest.metric,
            "dim": manifest.dim,
            "bytes": sum(record["bytes"] for record in manifest.files.values()),
            "set_aside": manifest.quarantined,
        }

    def verify(self) -> list[Problem]:
        """Return what is wrong with the files of this collection; see ``verify_collection``."""
        return verify_collection(self.folder)

    def model_path(self) -> Path:
        """Return where the model lies: as seen from the collection's folder if it is there, else where it lay."""
        relative = Path(os.path.normpath(self.folder / self.manifest.model["path"]))
        return relative if relative.is_dir() else Path(self.manifest.model["absolute"])

    def check_model(self, model: Any) -> None:
        """Make sure that ``model`` is the one that made this collection.

        Raises:
            CollectionError: It is another; the message says which is which.
        """
        made_by, given = self.manifest.model["fingerprint"], model.fingerprint()
        if made_by != given:
            raise CollectionError(
                f"{self.folder} was made by model {made_by[:8]}, this is {given[:8]}: open it with "
                f"{self.model_path()}, or build another with 'mmretrieval index build FOLDER --model MODEL VIDEOS'"
            )

    def add(
        self,
        sources: Sequence[str | Path],
        model: Any,
        *,
        window: float = WINDOW,
        progress: bool = True,
        backend: str = "pyav",
        on_bad: str = "skip",
        **more: Any,
    ) -> Added:
        """Add videos. What is there already, by content and span, is not embedded again.

        A file that was renamed is found under its new name from then on, a copy is noted, and a file whose content has
        changed is embedded anew in place of what it was. Arguments are those of ``build``.

        Raises:
            CollectionError: Another model, nothing found, or another process changed the collection meanwhile.
            StorageError: The disk is full or refuses to be written; the collection stays as it was.
        """
        options = Options(window=window, progress=progress, backend=backend, on_bad=on_bad, **more)
        return self._ingest(sources, model, options)

    def _ingest(self, sources: Sequence[str | Path], model: Any, options: Options) -> Added:
        self.check_model(model)
        manifest = self.manifest
        precision = manifest.model.get("precision", "fp32")  # collections of earlier versions do not say
        known = (self.moments, manifest.quarantined, precision)
        with ingest(sources, model, self.folder, options, *known) as outcome:
            self._advance(_change(manifest, outcome, self._removed_with(outcome.stale)))
        self.summary = outcome.summary
        return Added(len(outcome.moments), outcome.summary.known, len(outcome.set_aside))

    def remove(self, paths_or_ids: Iterable[str | Path]) -> int:
        """Remove videos by path (a folder: all below it) and moments by id; return how many moments went.

        Raises:
            CollectionError: One of them is not in the collection; then nothing is removed.
            StorageError: The disk is full or refuses to be written; the collection stays as it was.
        """
        rows: set[int] = set()
        for name in map(str, paths_or_ids):
            path = os.path.abspath(name)
            inside = path.rstrip(os.sep) + os.sep
            matching = {
                row
                for row, moment in enumerate(self.moments)
                if moment.id == name or moment.path == path or moment.path.startswith(inside)
            }
            if not matching:
                raise CollectionError(
                    f"{self.folder} has no video or moment '{name}': give a path or an id from a search"
                )
            rows |= matching
        manifest = self.manifest
        nothing = np.zeros((0, manifest.dim), np.float32)
        removed = self._removed_with(sorted(rows))
        self._advance(Change([], nothing, removed, manifest.moved, manifest.duplicates, manifest.quarantined))
        return len(rows)

    def _removed_with(self, rows: Sequence[int]) -> dict[str, list[int]]:
        """Return the removed rows of every segment, with those at ``rows`` of the index among them."""
        homes = self._homes() if rows else []
        removed = {name: set(gone) for name, gone in self.manifest.removed.items()}
        for row in rows:
            segment, place = homes[row]
            removed.setdefault(segment, set()).add(place)
        return {name: sorted(gone) for name, gone in removed.items()}

    def _homes(self) -> list[tuple[str, int]]:
        """Return segment and place in it for every row of the index."""
        homes = []
        for name in self.manifest.segments:
            gone = set(self.manifest.removed.get(name, []))
            rows = len(live_table(self.folder, [name], {}))
            homes += [(name, place) for place in range(rows) if place not in gone]
        return homes

    def _advance(self, change: Change) -> None:
        """Write the next generation, if there is anything new in it, and become it."""
        present = self.manifest
        same = (present.removed, present.moved, present.duplicates, present.quarantined)
        if not change.moments and same == (change.removed, change.moved, change.duplicates, change.quarantined):
            return
        self.manifest = write_generation(self.folder, present, change)
        for name in ("table", "moments", "index"):
            self.__dict__.pop(name, None)


def _change(present: Manifest, outcome: Ingest, removed: dict[str, list[int]]) -> Change:
    """Return the change that an ingest makes: notes on files that were looked at again replace the old ones."""
    duplicates = [record for record in present.duplicates if record["path"] not in outcome.seen]
    duplicates += [{"path": path, "same_as": original} for path, original in outcome.duplicates.items()]
    time = now()
    before = {_without_time(record): record for record in present.quarantined}
    quarantined = [record for record in present.quarantined if record["path"] not in outcome.seen]
    for item in dict.fromkeys(outcome.set_aside):
        record = {name: value for name, value in item._asdict().items() if value is not None}
        # what was known to be broken keeps the time when it was first seen
        old = before.get(_without_time(record))
        if old not in quarantined:
            quarantined.append(old or {**record, "time": time})
    moved = {**present.moved, **outcome.moved}
    return Change(outcome.moments, outcome.embeddings, removed, moved, duplicates, quarantined)


def _without_time(record: dict[str, Any]) -> tuple:
    return tuple(sorted((name, value) for name, value in record.items() if name != "time"))


def _model_record(folder: Path, model: Any, model_path: str | Path) -> dict[str, str]:
    absolute = os.path.abspath(model_path)
    relative = Path(os.path.relpath(absolute, os.path.abspath(folder))).as_posix()
    return {"fingerprint": model.fingerprint(), "path": relative, "absolute": absolute}


def _has_foreign(folder: Path) -> bool:
    """Return whether a folder without a manifest holds anything but what an interrupted build left there."""
    return any(
        not (item.name in ("segments", "pending") or item.name.startswith((".", "index-"))) for item in folder.iterdir()
    )


def _check_video(model: Any) -> None:
    if "video" not in model.modalities:
        raise CollectionError(
            f"a collection needs a model with video, this one knows {', '.join(model.modalities)}: train one with video"
        )


def _nothing_usable(outcome: Ingest) -> CollectionError:
    summary = outcome.summary
    if not summary.set_aside:
        return CollectionError(
            f"nothing is left to index: {summary.black} near-black and {summary.still} still moments were dropped; "
            f"keep them with --keep-still"
        )
    first, count = summary.set_aside[0], summary.quarantined
    start = "the only video is unusable" if count == 1 else f"all {count} videos are unusable; the first"
    return CollectionError(f"{start}: {first.path}: {first.reason}")

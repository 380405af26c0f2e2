"""``Collection``: videos made searchable, kept as checksummed files in one folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.collection.changes import Change
from mmretrieval.collection.checks import check_embedded, check_video, has_foreign, nothing_usable
from mmretrieval.collection.compaction import is_compact, write_compacted
from mmretrieval.collection.cutting import WINDOW
from mmretrieval.collection.generations import delete_unneeded, first_generation, fresh_start, write_generation
from mmretrieval.collection.ingest import Options, ingest
from mmretrieval.collection.ledger import FOLDER as PENDING
from mmretrieval.collection.locks import only_writer, read_pinned
from mmretrieval.collection.manifest import NAME, Manifest
from mmretrieval.collection.reembedding import FOLDER as REEMBEDDING
from mmretrieval.collection.reembedding import Reembedded, forget_finished, reembed
from mmretrieval.collection.segments import Moment
from mmretrieval.collection.snapshot import Snapshot, check_whole
from mmretrieval.collection.summary import Summary
from mmretrieval.collection.upkeep import needs_compaction
from mmretrieval.errors import CollectionError


class Added(NamedTuple):
    """What an addition did, in numbers of moments: new ones, ones that were there already, and sources set aside."""

    added: int
    known: int
    set_aside: int


class Collection(Snapshot):
    """Moments of videos and their embeddings, on disk, belonging to one model.

    An object is one generation, and the files of that generation stay as long as it lives: what another process adds,
    removes or compacts is seen by opening again. Use ``build``, ``create`` and ``open``.
    """

    summary = Summary()
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
        if folder.exists() and (not folder.is_dir() or has_foreign(folder)):
            raise CollectionError(f"'{folder}' is not empty and not a collection: give a new folder")
        check_video(model)
        with only_writer(folder):
            if not (folder / NAME).exists():
                with ingest(sources, model, folder, options) as outcome:
                    if not outcome.moments:
                        raise nothing_usable(outcome)
                    record = {**model_record(folder, model, model_path), "precision": outcome.precision}
                    start = first_generation(model.metric, model.dim, record)
                    collection = cls._begin(folder, start, Change.ingesting(start, outcome, {}))
                collection.summary = outcome.summary
                return collection
        # another process built it while this one waited
        collection = cls.open(folder)
        collection._ingest(sources, model, options)
        return collection

    @classmethod
    def create(
        cls, path: str | Path, moments: Sequence[Moment], embeddings: np.ndarray, model: Any, model_path: str | Path
    ) -> Collection:
        """Make a collection of moments that are embedded already.

        Args:
            path: Folder to write; it is created, and must not hold anything.
            moments: What is indexed, each with an id of its own.
            embeddings: Theirs, (n, D) float32.
            model: What embedded them: its ``metric``, ``dim`` and ``fingerprint()`` are asked for.
            model_path: Where that model is saved.

        Raises:
            CollectionError: The folder holds something, or moments and embeddings do not fit together.
            StorageError: The disk is full or refuses to be written. Nothing is left behind.
        """
        folder = Path(path)
        with only_writer(folder):
            if (folder / NAME).exists() or has_foreign(folder):
                raise CollectionError(f"'{folder}' is not empty: give a new folder")
            start = first_generation(model.metric, model.dim, model_record(folder, model, model_path))
            check_embedded(moments, embeddings, start.dim, ())
            return cls._begin(folder, start, Change.appending(start, moments, embeddings))

    @classmethod
    def _begin(cls, folder: Path, start: Manifest, change: Change) -> Collection:
        write_generation(folder, start, change)
        manifest, pin = read_pinned(folder)
        delete_unneeded(folder, manifest)
        return cls(folder, manifest, pin)

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
            CollectionError: Another model, nothing found, or another process goes on writing.
            StorageError: The disk is full or refuses to be written; the collection stays as it was.
        """
        options = Options(window=window, progress=progress, backend=backend, on_bad=on_bad, **more)
        return self._ingest(sources, model, options)

    def _ingest(self, sources: Sequence[str | Path], model: Any, options: Options) -> Added:
        with self._changing():
            self.check_model(model)
            manifest = self.manifest
            known = (self.moments, manifest.quarantined, _precision_of(manifest))
            with ingest(sources, model, self.folder, options, *known) as outcome:
                removed = self.places.removed_with(outcome.stale)
                self._advance(Change.ingesting(self.manifest, outcome, removed))
        self.summary = outcome.summary
        return Added(len(outcome.moments), outcome.summary.known, len(outcome.set_aside))

    def append(self, moments: Sequence[Moment], embeddings: np.ndarray) -> None:
        """Add moments that the same model has embedded already; arguments are those of ``create``.

        Raises:
            CollectionError: Moments and embeddings do not fit together, the collection has another model by now, or
                another process goes on writing.
            StorageError: The disk is full or refuses to be written; the collection stays as it was.
        """
        fingerprint = self.manifest.model["fingerprint"]
        with self._changing():
            self._check_fingerprint(fingerprint)
            check_embedded(moments, embeddings, self.manifest.dim, self.table.column("id").to_pylist())
            self._advance(Change.appending(self.manifest, moments, embeddings))

    def remove(self, paths_or_ids: Iterable[str | Path]) -> int:
        """Remove videos by path (a folder: all below it) and moments by id; return how many moments went.

        Raises:
            CollectionError: One of them is not in the collection; then nothing is removed. Or another process goes on
                writing.
            StorageError: The disk is full or refuses to be written; the collection stays as it was.
        """
        with self._changing():
            rows = self._rows_of(map(str, paths_or_ids))
            self._advance(Change.removing(self.manifest, self.places.removed_with(rows)))
        return len(rows)

    def reembed(
        self,
        model: Any,
        model_path: str | Path,
        *,
        out: str | Path | None = None,
        allow_lost: bool = False,
        progress: bool = True,
        backend: str = "pyav",
        **more: Any,
    ) -> Reembedded:
        """Move to another model: the same moments, embedded anew; until all are, the collection stays as it is.

        Args:
            model: The new model: a ``RetrievalModel`` with video.
            model_path: Where it is saved.
            out: A new folder for the outcome; by default this collection becomes it.
            allow_lost: Go on without the moments whose videos are gone, changed or damaged.
            progress: Show progress bars when standard error is a terminal.
            backend: The video reader: ``pyav``, the careful one, or ``decord``.
            more: ``precision``, ``time_limit``, ``memory_limit`` and ``workers``, see ``ingest.Options``.

        Raises:
            LossError: Without ``allow_lost``, moments would be lost. What is embedded stays for the next run.
            CollectionError: Nothing could be embedded, ``out`` holds something, or another process goes on writing.
            StorageError: The disk is full or refuses to be written. Run again, it goes on from what was done.
        """
        check_video(model)
        options = Options(progress=progress, backend=backend, **more)
        if out is not None:
            return self._reembed_into(Path(out), model, model_path, options, allow_lost)
        with self._changing():
            if self._is_of(model, options.precision):
                forget_finished(model, self.folder, _precision_of(self.manifest), options.backend)
                return Reembedded(already=True)
            with reembed(self, model, self.folder, options, REEMBEDDING, allow_lost) as outcome:
                record = {**model_record(self.folder, model, model_path), "precision": outcome.precision}
                start = fresh_start(self.manifest, model.metric, model.dim, record)
                self._write(start, Change.reembedding(self.manifest, outcome))
        return outcome.summary

    def _reembed_into(
        self, folder: Path, model: Any, model_path: str | Path, options: Options, allow_lost: bool
    ) -> Reembedded:
        if folder.exists() and not folder.is_dir():
            raise CollectionError(f"'{folder}' is a file: give a new folder")
        with only_writer(folder):
            if has_foreign(folder):
                raise CollectionError(f"'{folder}' is not empty: give a new folder")
            with reembed(self, model, folder, options, PENDING, allow_lost) as outcome:
                record = {**model_record(folder, model, model_path), "precision": outcome.precision}
                start = first_generation(model.metric, model.dim, record)
                self._begin(folder, start, Change.reembedding(self.manifest, outcome))
        return outcome.summary

    def _is_of(self, model: Any, precision: str) -> bool:
        """Return whether a model made this collection, in that precision."""
        made_by = self.manifest.model
        return made_by["fingerprint"] == model.fingerprint() and precision in ("auto", _precision_of(self.manifest))

    def compact(self, memory: int | None = None) -> int:
        """Write segments without what was removed, merge small ones, and choose the index anew.

        Rows stay as they are. Readers of older generations keep their files until they are done.

        Args:
            memory: Bytes that the index may take when it is searched; half of the machine's by default.

        Returns:
            By how many bytes the files of the collection became smaller.

        Raises:
            CollectionError: Another process goes on writing.
            StorageError: The disk is full or refuses to be written; the collection stays as it was.
        """
        with self._changing():
            before = self._bytes()
            if memory is not None or not is_compact(self.folder, self.manifest):
                self._compact(memory)
            delete_unneeded(self.folder, self.manifest)
            return before - self._bytes()

    def _rows_of(self, names: Iterable[str]) -> set[int]:
        """Return the rows of ids of moments, paths of videos, and everything below folders."""
        ids, homes, hashes = (self.table.column(column).to_pylist() for column in ("id", "path", "hash"))
        by_id = {moment: row for row, moment in enumerate(ids)}
        by_path: dict[str, list[int]] = {}
        for row, (home, digest) in enumerate(zip(homes, hashes)):
            by_path.setdefault(self.manifest.moved.get(digest, home), []).append(row)
        found: set[int] = set()
        for name in names:
            path = os.path.abspath(name)
            matching = set(by_path.get(path, ())) | ({by_id[name]} if name in by_id else set())
            if not matching:
                inside = path.rstrip(os.sep) + os.sep
                matching = {row for home, rows in by_path.items() if home.startswith(inside) for row in rows}
            if not matching:
                raise CollectionError(
                    f"{self.folder} has no video or moment '{name}': give a path or an id from a search"
                )
            found |= matching
        return found

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the collection for a whole change, which starts from its newest generation."""
        with only_writer(self.folder):
            manifest, pin = read_pinned(self.folder)
            if manifest.generation != self.manifest.generation:
                check_whole(self.folder, manifest)
            self._become(manifest, pin)
            yield

    def _advance(self, change: Change) -> None:
        """Write the next generation, if there is anything new in it, and become it; compact when that is due."""
        if not change.is_nothing(self.manifest):
            self._write(self.manifest, change)

    def _write(self, start: Manifest, change: Change) -> None:
        write_generation(self.folder, start, change)
        self._become(*read_pinned(self.folder))
        if needs_compaction(self.manifest):
            self._compact()
        # only after letting go of the generation before, so that its files can go, too
        delete_unneeded(self.folder, self.manifest)

    def _compact(self, memory: int | None = None) -> None:
        write_compacted(self.folder, self.manifest, memory)
        self._become(*read_pinned(self.folder))


def model_record(folder: Path, model: Any, model_path: str | Path) -> dict[str, str]:
    """Return what a collection in ``folder`` remembers of its model."""
    absolute = os.path.abspath(model_path)
    relative = Path(os.path.relpath(absolute, os.path.abspath(folder))).as_posix()
    return {"fingerprint": model.fingerprint(), "path": relative, "absolute": absolute}


def _precision_of(manifest: Manifest) -> str:
    return manifest.model.get("precision", "fp32")  # collections of earlier versions do not say

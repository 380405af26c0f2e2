"""``Snapshot``: one generation of a collection, for reading."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mmretrieval.collection.index import gather_index
from mmretrieval.collection.locks import Pin, read_pinned
from mmretrieval.collection.manifest import Manifest, damaged_file, missing_file
from mmretrieval.collection.places import Places
from mmretrieval.collection.row_index import RowIndex
from mmretrieval.collection.segments import Moment, live_embeddings, live_table, moments_of, segment_sizes
from mmretrieval.collection.upkeep import newer, read_index
from mmretrieval.collection.verify import Problem, check_files, verify_collection
from mmretrieval.errors import CollectionError

if TYPE_CHECKING:
    import pyarrow


class Snapshot:
    """One generation of a collection: what others write meanwhile changes nothing here, and its files stay.

    Args:
        folder: The collection's folder.
        manifest: The generation.
        pin: The hold on it.
    """

    def __init__(self, folder: str | Path, manifest: Manifest, pin: Pin | None = None):
        self.folder = Path(folder)
        self.manifest = manifest
        self._pin = pin or Pin()

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a collection; the checksum of every file is compared first.

        Raises:
            CollectionError: No collection, a newer format, or a file that is missing or damaged: the message names it.
        """
        folder = Path(path)
        manifest, pin = read_pinned(folder)
        check_whole(folder, manifest)
        return cls(folder, manifest, pin)

    def close(self) -> None:
        """Let go of the generation: its files may be deleted by whoever writes next."""
        self._pin.release()

    @cached_property
    def table(self) -> pyarrow.Table:
        """All moments as a table (id, path, start, end, hash, metadata), in the order of the rows."""
        return live_table(self.folder, self.manifest.segments, self.manifest.removed)

    @cached_property
    def moments(self) -> list[Moment]:
        """All moments, in the order of the rows."""
        return [self._present(moment) for moment in moments_of(self.table)]

    def moment(self, row: int) -> Moment:
        """Return the moment at a row."""
        return self._present(moments_of(self.table.slice(row, 1))[0])

    def _present(self, moment: Moment) -> Moment:
        return moment._replace(path=self.manifest.moved.get(moment.hash, moment.path))

    def embeddings(self) -> np.ndarray:
        """Return the embeddings of all moments, (n, D) float32, in the order of the rows."""
        manifest = self.manifest
        found = np.empty((len(self), manifest.dim), np.float32)
        start = 0
        for part in live_embeddings(self.folder, manifest.segments, manifest.removed, manifest.dim):
            found[start : start + len(part)] = part
            start += len(part)
        return found

    @cached_property
    def places(self) -> Places:
        """Where the rows lie in the segments and in the index."""
        return Places(self._sizes(), self.manifest.removed)

    @cached_property
    def index(self) -> Any:
        """The FAISS index; its bytes are checked before FAISS sees them. It may lack the newest moments."""
        if self.manifest.index["rows"]:
            return read_index(self.folder, self.manifest)
        return gather_index([], 0, self.manifest.dim)

    @cached_property
    def row_index(self) -> RowIndex:
        """What is searched: the index, the newest moments beside it, without what was removed."""
        sizes, held = self._sizes(), self.manifest.index["rows"]
        parts = live_embeddings(self.folder, newer(sizes, held), {}, self.manifest.dim)
        return RowIndex(self.index, gather_index(parts, sum(sizes.values()) - held, self.manifest.dim), self.places)

    def _sizes(self) -> dict[str, int]:
        return segment_sizes(self.folder, self.manifest.segments, self.manifest.files)

    def nearest(self, queries: np.ndarray, k: int, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and rows (n, k') of the moments nearest to query embeddings (n, D), best first.

        k' = min(k, moments); with ``rows``, (m,) int, only those moments may be answers, and k' = min(k, m).
        """
        return self.row_index.nearest(queries, k, rows)

    def __len__(self) -> int:
        return self.manifest.counts["moments"]

    def info(self) -> dict[str, Any]:
        """Return what there is to know in plain values: counts, generation, model, index, metric, size on disk.

        ``quarantined`` counts what could not be used, ``set_aside`` lists it with path, reason and time.
        ``index_details`` says how the index was chosen, how many moments are in it, beside it and removed.
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
            "index_details": {
                "parameters": manifest.index["parameters"],
                "indexed": manifest.index["rows"],
                "beside": len(self.places) - manifest.index["rows"],
                "removed": len(self.places) - len(self),
                "measured": manifest.index["measured"],
            },
            "metric": manifest.metric,
            "dim": manifest.dim,
            "bytes": self._bytes(),
            "set_aside": manifest.quarantined,
        }

    def _bytes(self) -> int:
        return sum(record["bytes"] for record in self.manifest.files.values())

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
        self._check_fingerprint(model.fingerprint())

    def _check_fingerprint(self, given: str) -> None:
        made_by = self.manifest.model["fingerprint"]
        if made_by != given:
            raise CollectionError(
                f"{self.folder} was made by model {made_by[:8]}, this is {given[:8]}: open it with "
                f"{self.model_path()}, or build another with 'mmretrieval index build FOLDER --model MODEL VIDEOS'"
            )

    def _become(self, manifest: Manifest, pin: Pin) -> None:
        """Be a generation from here on, the newest one."""
        before, self._pin = self._pin, pin
        before.release()
        if manifest.generation == self.manifest.generation:
            return
        self.manifest = manifest
        for name in ("table", "moments", "places", "index", "row_index"):
            self.__dict__.pop(name, None)


def check_whole(folder: Path, manifest: Manifest) -> None:
    """Compare every file with its checksum.

    Raises:
        CollectionError: One is missing or damaged: the message names it.
    """
    for file, problem in check_files(folder, manifest):
        raise missing_file(folder, file) if problem == "missing" else damaged_file(folder, file)

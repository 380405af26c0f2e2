"""Features of frozen encoders, computed once and read at every epoch: memory-mapped, checksummed rows.

On disk each pair of a modality and an encoder has a folder, named after the encoder's fingerprint::

    video-3f0a…/features.json        what these features are: modality, fingerprint, width, type of number
                rows-5b….bin         values (N, D) and mask (N,) of one clip after the other
                rows-5b….index       one record per clip: key, place, checksum; appended once its rows are on disk

A filled file is never touched again: every process, and every time that something is missing, writes a new pair. So
an interruption at any instant costs the rows of the last seconds, and what it left half-written is not in the index.
This module reads and writes; ``mmretrieval.training.feature_cache`` runs the encoder.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmretrieval.data.manifest import Sample
from mmretrieval.errors import ModelError
from mmretrieval.files import atomic_write, storage_error
from mmretrieval.types import Features

FORMAT = 1
NUMBERS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}

_GRID = 3
_RECORD = np.dtype(
    [("key", "S64"), ("start", "<u8"), ("length", "<u4"), ("grid", "<u4", (_GRID,)), ("check", "<u4"), ("seal", "<u4")]
)
_SYNC_EVERY = 256

Source = tuple[str, float | None, float | None]
"""A file and the span of it in seconds, or a caption: what features are of."""


Place = tuple[str, np.void]
"""Where a row lies: a file of a table, and its record."""


class Row(NamedTuple):
    """The features of one item: values (N, D), mask (N,) and how N unfolds."""

    values: Tensor
    mask: Tensor
    grid: tuple[int, ...]


def source_of(sample: Sample, modality: str) -> Source | None:
    """Return what a modality of a sample is read from; None if it has none."""
    value = getattr(sample, modality)
    if value is None:
        return None
    cut = modality == "video" or (modality == "speech" and sample.speech == sample.video)
    return (value, sample.start, sample.end) if cut else (value, None, None)


def row_key(content: str, source: Source, view: int | None = None, seed: int = 0) -> str:
    """Return the name of a row: what is in the file, which span of it, and which random view of that span."""
    what = [content, *source[1:]] + ([] if view is None else [view, seed])
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


class FeatureTable:
    """Rows of one modality under one encoder, by key.

    Args:
        folder: Where its files lie; made if need be.
        modality: Whose features.
        fingerprint: SHA-256 of everything that decides the features.
        dim: Width D.
        number: Type of number on disk: ``float16``, ``bfloat16`` or ``float32``.

    Raises:
        ModelError: The folder holds features of another encoder, or its description is damaged.
        StorageError: The place cannot be written.
    """

    def __init__(self, folder: str | Path, modality: str, fingerprint: str, dim: int, number: str):
        self.folder = Path(folder)
        self.dim, self.dtype = dim, NUMBERS[number]
        self.position_bytes = dim * self.dtype.itemsize + 1
        self._describe(
            {"format": FORMAT, "modality": modality, "fingerprint": fingerprint, "dim": dim, "number": number}
        )
        self._open: dict[str, np.ndarray] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look again at what lies on disk, after this or another process has added to it."""
        self.places: dict[str, list[Place]] = {}
        self._open.clear()
        for index in sorted(self.folder.glob("rows-*.index")):
            file = index.with_suffix(".bin").name
            for record in _records(index):
                self.places.setdefault(record["key"].decode(), []).append((file, record))

    def find(self, key: str) -> Place | None:
        """Return the place of a row that is whole; None if there is none."""
        whole = [place for place in self.places.get(key, ()) if self._is_whole(place)]
        return whole[0] if whole else None

    def read(self, place: Place) -> Row:
        """Return the row at a place that ``find`` gave."""
        _, record = place
        length = int(record["length"])
        content = torch.from_numpy(np.array(self._bytes(place)))
        values, mask = content[: length * (self.position_bytes - 1)], content[-length:]
        grid = tuple(int(size) for size in record["grid"] if size)
        return Row(values.view(self.dtype).view(length, self.dim), mask.view(torch.bool), grid)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_open": {}}

    def _bytes(self, place: Place) -> np.ndarray:
        name, record = place
        if name not in self._open:  # on first use, so that each loader worker has its own
            self._open[name] = np.memmap(self.folder / name, np.uint8, "r")
        start = int(record["start"])
        return self._open[name][start : start + int(record["length"]) * self.position_bytes]

    def _is_whole(self, place: Place) -> bool:
        try:
            content = self._bytes(place)
        except (OSError, ValueError):  # gone, or emptied: an empty file cannot be mapped
            return False
        return zlib.crc32(content) == place[1]["check"]

    def _describe(self, wanted: dict) -> None:
        file = self.folder / "features.json"
        if not file.exists():
            atomic_write(file, json.dumps(wanted, indent=2) + "\n")
            return
        try:
            found = json.loads(file.read_text("utf-8"))
        except ValueError:
            raise ModelError(f"{file} is damaged: delete {self.folder}, its features are then computed again") from None
        if found != wanted:
            raise ModelError(
                f"{self.folder} holds features of another model: delete it, or choose another folder with data.features"
            )


class FeatureWriter:
    """Adds rows to a table's folder, in files of its own; use it in a ``with`` block.

    Raises:
        StorageError: The disk is full or cannot be written; rows recorded so far are kept.
    """

    def __init__(self, table: FeatureTable):
        self.dtype, self.folder = table.dtype, table.folder
        self.number = next(name for name, dtype in NUMBERS.items() if dtype == table.dtype)
        self._path = table.folder / f"rows-{os.urandom(8).hex()}.bin"
        self._waiting: list[np.ndarray] = []
        self._end = 0

    def __enter__(self) -> FeatureWriter:
        try:
            self._rows = open(self._path, "xb")
        except OSError as error:
            raise storage_error(self._path, error) from error
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is None or not issubclass(kind, OSError):
                self.flush()
        finally:
            self._rows.close()
            if not self._end:
                self._path.unlink(missing_ok=True)

    def add(self, key: str, row: Row) -> None:
        """Write a row of values (N, D).

        Raises:
            ModelError: It holds something that is no number, or too large for the type of number on disk.
        """
        values = row.values.to(self.dtype)
        if not bool(values.isfinite().all()):
            raise ModelError(
                f"features of up to {float(row.values.abs().max()):.3g} do not fit {self.number}: "
                "use data.feature_type=float32"
            )
        content = values.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        content += row.mask.to(torch.uint8).numpy().tobytes()
        record = np.zeros((), _RECORD)
        record["key"], record["start"], record["length"] = key.encode(), self._end, len(row.mask)
        record["grid"][: len(row.grid)] = row.grid
        record["check"] = zlib.crc32(content)
        record["seal"] = zlib.crc32(record.tobytes())
        try:
            self._rows.write(content)
        except OSError as error:
            raise storage_error(self._path, error) from error
        self._end += len(content)
        self._waiting.append(record)
        if len(self._waiting) == _SYNC_EVERY:
            self.flush()

    def flush(self) -> None:
        """Bring the rows to disk, and only then the records that speak of them."""
        if not self._waiting:
            return
        try:
            self._rows.flush()
            os.fsync(self._rows.fileno())
            with open(self._path.with_suffix(".index"), "ab") as index:
                index.write(b"".join(record.tobytes() for record in self._waiting))
                index.flush()
                os.fsync(index.fileno())
        except OSError as error:
            raise storage_error(self._path, error) from error
        self._waiting.clear()


def _records(index: Path) -> Iterable[np.void]:
    """Yield the records of an index that are whole: the last of an interrupted run may not be."""
    content = index.read_bytes()
    records = np.frombuffer(content[: len(content) // _RECORD.itemsize * _RECORD.itemsize], _RECORD)
    for record in records:
        unsealed = record.copy()
        unsealed["seal"] = 0
        if zlib.crc32(unsealed.tobytes()) == record["seal"]:
            yield record


class FeatureStore:
    """Rows of the frozen modalities of a data set, found by sample.

    Args:
        tables: Table by modality.
        places: Modality → (source, view) → place in the table; view None is how evaluation sees the clip.
        views: Random views of each training clip; 0 trains on what evaluation sees.
    """

    def __init__(
        self,
        tables: Mapping[str, FeatureTable],
        places: Mapping[str, Mapping[tuple[Source, int | None], Place]],
        views: int = 0,
    ):
        self._tables, self._places, self._views = dict(tables), dict(places), views

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities whose features it holds."""
        return tuple(self._tables)

    def read(self, sample: Sample, modality: str, rng: np.random.Generator | None = None) -> Row | None:
        """Return the features of a sample, drawing a view in training; None if they could not be computed."""
        source = source_of(sample, modality)
        places = self._places[modality]
        view = None
        if rng is not None and self._views and (source, 0) in places:
            view = int(rng.integers(self._views))
        place = places.get((source, view))
        return None if place is None else self._tables[modality].read(place)


def stack_rows(rows: Sequence[Row]) -> Features:
    """Pad rows to one batch of features (B, N, D)."""
    length = max(len(row.mask) for row in rows)
    values = rows[0].values.new_zeros(len(rows), length, rows[0].values.shape[1])
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for number, row in enumerate(rows):
        values[number, : len(row.mask)] = row.values
        mask[number, : len(row.mask)] = row.mask
    return Features(values, mask, rows[0].grid if len(rows[0].grid) > 1 else (length,))

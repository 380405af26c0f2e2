"""Segments: immutable Parquet files that hold the moments of a collection and their embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmretrieval.files import atomic_write

if TYPE_CHECKING:
    import pyarrow

FOLDER = "segments"
COLUMNS = ["id", "path", "start", "end", "hash", "metadata"]
ROWS_PER_GROUP = 16_384


class Moment(NamedTuple):
    """An indexed span of a video.

    ``path`` is absolute, ``start`` and ``end`` are seconds, ``hash`` is the SHA-256 of the video file and ``metadata``
    whatever is known about it besides (width, height, fps, duration, and text, labels, video_id of a manifest row).
    """

    id: str
    path: str
    start: float
    end: float
    hash: str
    metadata: dict[str, Any]


def segment_name(number: int) -> str:
    """Return the name of a segment inside its collection: ``segments/segment-000001.parquet``."""
    return f"{FOLDER}/segment-{number:06d}.parquet"


def write_segment(path: Path, moments: Sequence[Moment], embeddings: np.ndarray) -> None:
    """Write moments and their embeddings (n, D) float32 as one Parquet file with page checksums, atomically.

    Raises:
        StorageError: The disk is full or refuses to be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    dim = embeddings.shape[1]
    flat = pa.array(np.ascontiguousarray(embeddings, np.float32).reshape(-1))
    table = pa.table(
        {
            "id": pa.array([moment.id for moment in moments], pa.string()),
            "path": pa.array([moment.path for moment in moments], pa.string()),
            "start": pa.array([moment.start for moment in moments], pa.float64()),
            "end": pa.array([moment.end for moment in moments], pa.float64()),
            "hash": pa.array([moment.hash for moment in moments], pa.string()),
            "metadata": pa.array([json.dumps(moment.metadata) for moment in moments], pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, dim),
        }
    )
    sink = pa.BufferOutputStream()
    # float embeddings neither compress nor repeat; the page checksums are what is wanted
    pq.write_table(
        table,
        sink,
        row_group_size=ROWS_PER_GROUP,
        compression="none",
        use_dictionary=["path", "hash"],
        write_page_checksum=True,
    )
    atomic_write(path, sink.getvalue().to_pybytes())


def read_moments(path: Path) -> pyarrow.Table:
    """Read all of a segment but its embeddings: a table of ``COLUMNS``. Checksums of its pages are verified."""
    return _read(path, COLUMNS)


def read_embeddings(path: Path, dim: int) -> np.ndarray:
    """Read the embeddings of a segment, (n, ``dim``) float32. Checksums of its pages are verified."""
    column = _read(path, ["embedding"]).column("embedding")
    parts = [chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim) for chunk in column.chunks]
    return np.concatenate(parts) if parts else np.zeros((0, dim), np.float32)


def _read(path: Path, columns: list[str]) -> pyarrow.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=columns, page_checksum_verification=True, partitioning=None)


def moments_of(table: pyarrow.Table) -> list[Moment]:
    """Return the rows of a table of ``COLUMNS`` as moments."""
    return [Moment(**{**row, "metadata": json.loads(row["metadata"])}) for row in table.to_pylist()]

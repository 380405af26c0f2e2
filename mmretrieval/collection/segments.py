"""Segments: immutable Parquet files that hold the moments of a collection and their embeddings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmretrieval.files import atomic_file

if TYPE_CHECKING:
    import pyarrow

FOLDER = "segments"
COLUMNS = ["id", "path", "start", "end", "hash", "metadata"]
ROWS_PER_GROUP = 16_384
SEGMENT_ROWS = 131_072
"""Moments of a segment at most: at D = 256 a file of 140 MB, which a compaction can hold in memory."""


UNREAD = "path-"
"""What the hash of a video begins with whose content nobody has read."""


class Moment(NamedTuple):
    """An indexed span of a video.

    ``path`` is absolute, ``start`` and ``end`` are seconds, ``hash`` is the SHA-256 of the video file or ``path_hash``,
    and ``metadata`` whatever is known about it besides (width, height, fps, duration, and text, labels, video_id of a
    manifest row).
    """

    id: str
    path: str
    start: float
    end: float
    hash: str
    metadata: dict[str, Any]


def path_hash(path: str) -> str:
    """Return what stands for the hash of a content that nobody has read: ``path-`` and the SHA-256 of its path."""
    return UNREAD + hashlib.sha256(path.encode()).hexdigest()


def segment_name(number: int) -> str:
    """Return the name of a segment inside its collection: ``segments/segment-000001.parquet``."""
    return f"{FOLDER}/segment-{number:06d}.parquet"


def segment_table(moments: Sequence[Moment], embeddings: np.ndarray) -> pyarrow.Table:
    """Return moments and their embeddings (n, D) float32 as the table that a segment holds."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(embeddings, np.float32).reshape(-1))
    return pa.table(
        {
            "id": pa.array([moment.id for moment in moments], pa.string()),
            "path": pa.array([moment.path for moment in moments], pa.string()),
            "start": pa.array([moment.start for moment in moments], pa.float64()),
            "end": pa.array([moment.end for moment in moments], pa.float64()),
            "hash": pa.array([moment.hash for moment in moments], pa.string()),
            "metadata": pa.array([json.dumps(moment.metadata) for moment in moments], pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1]),
        }
    )


def write_segment(path: Path, table: pyarrow.Table) -> None:
    """Write a table as one Parquet file with page checksums, atomically.

    Raises:
        StorageError: The disk is full or refuses to be written.
    """
    import pyarrow.parquet as pq

    with atomic_file(path) as unfinished:
        # float embeddings neither compress nor repeat; the page checksums are what is wanted
        pq.write_table(
            table,
            unfinished,
            row_group_size=ROWS_PER_GROUP,
            compression="none",
            use_dictionary=["path", "hash"],
            write_page_checksum=True,
        )


def read_segment(path: Path) -> pyarrow.Table:
    """Read all of a segment, columns of other programs too. Checksums of its pages are verified."""
    return _read(path, None)


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.Table]:
    """Yield columns of a segment a few rows at a time. Checksums of its pages are verified."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(ROWS_PER_GROUP, columns=list(columns)):
            yield pa.Table.from_batches([batch]).select(list(columns))


def in_parts(tables: Iterable[pyarrow.Table], rows: int) -> Iterator[pyarrow.Table]:
    """Yield the rows of many tables again as tables of so many ``rows``, the last one of fewer."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(map(len, waiting)) >= rows:
            # a column that only some tables have is empty in the others
            joined = pa.concat_tables(waiting, promote_options="default")
            yield joined.slice(0, rows)
            waiting = [joined.slice(rows)]
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting, promote_options="default")


def segment_sizes(folder: Path, segments: Sequence[str], files: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of moments by segment, in order, from the records of a manifest."""
    import pyarrow.parquet as pq

    # version 1 of the format did not write it down
    return {name: files[name].get("rows") or pq.read_metadata(folder / name).num_rows for name in segments}


def read_embeddings(path: Path, dim: int) -> np.ndarray:
    """Read the embeddings of a segment, (n, ``dim``) float32. Checksums of its pages are verified."""
    column = _read(path, ["embedding"]).column("embedding")
    parts = [chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim) for chunk in column.chunks]
    return np.concatenate(parts) if parts else np.zeros((0, dim), np.float32)


def _read(path: Path, columns: list[str] | None) -> pyarrow.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=columns, page_checksum_verification=True, partitioning=None)


def live_table(
    folder: Path, segments: Sequence[str], removed: Mapping[str, Sequence[int]], columns: Sequence[str] = COLUMNS
) -> pyarrow.Table:
    """Return the moments of all segments without those removed, as a table of ``columns``."""
    import pyarrow as pa

    tables = []
    for name in segments:
        table = _read(folder / name, list(columns))
        tables.append(table.filter(pa.array(alive(len(table), removed.get(name, [])))))
    if not tables:
        numbers = {"start": pa.float64(), "end": pa.float64()}
        return pa.table({name: pa.array([], numbers.get(name, pa.string())) for name in columns})
    return pa.concat_tables(tables)


def live_embeddings(
    folder: Path, segments: Sequence[str], removed: Mapping[str, Sequence[int]], dim: int
) -> Iterator[np.ndarray]:
    """Yield the embeddings (n, ``dim``) float32 of one segment after the other, without those removed."""
    for name in segments:
        embeddings = read_embeddings(folder / name, dim)
        gone = removed.get(name, [])
        yield embeddings[alive(len(embeddings), gone)] if gone else embeddings


def alive(rows: int, removed: Sequence[int]) -> np.ndarray:
    """Return which of ``rows`` moments are not removed, (rows,) bool."""
    mask = np.ones(rows, bool)
    mask[list(removed)] = False
    return mask


def moments_of(table: pyarrow.Table) -> list[Moment]:
    """Return the rows of a table of ``COLUMNS`` as moments."""
    return [Moment(**{**row, "metadata": json.loads(row["metadata"])}) for row in table.to_pylist()]

"""A collection to shards of ``.npy`` and Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmretrieval.collection.exchange.layout import EMBEDDINGS, METADATA, shard_files, write_about
from mmretrieval.collection.segments import COLUMNS, ROWS_PER_GROUP, alive, in_parts, read_batches, segment_sizes
from mmretrieval.collection.snapshot import Snapshot
from mmretrieval.errors import CollectionError
from mmretrieval.files import atomic_folder

if TYPE_CHECKING:
    import pyarrow

SHARD = 100_000


def export_collection(collection: Snapshot, out: str | Path, shard: int = SHARD) -> int:
    """Write the moments of a collection and their embeddings as other tools read them; return how many there are.

    ``out`` gets ``img_emb/img_emb_0.npy`` (rows, D) float32 and ``metadata/metadata_0.parquet`` with the same rows,
    then 1, 2 and so on, all with as many digits, and ``collection.json``, which says what model made them. It is there
    whole or not at all; memory holds one shard at a time.

    Args:
        collection: What is exported; removed moments are left out.
        out: A new or an empty folder.
        shard: Rows of a shard.

    Raises:
        CollectionError: ``out`` holds something, there is nothing to export, or a shard has no rows.
        StorageError: The disk is full or refuses to be written; nothing is left behind.
    """
    import pyarrow.parquet as pq

    out = Path(out)
    if shard < 1:
        raise CollectionError(f"a shard has at least 1 row, got {shard}")
    _refuse_taken(out)
    if not len(collection):
        raise CollectionError(f"{collection.folder} has no moments: there is nothing to export")
    with atomic_folder(out) as unfinished:
        for part in (EMBEDDINGS, METADATA):
            (unfinished / part).mkdir()
        shards = 0
        digits = len(str((len(collection) - 1) // shard))  # so that the order of names is that of numbers
        for table in in_parts(read_moments(collection, embeddings=True), shard):
            embeddings, metadata = shard_files(unfinished, shards, digits)
            _write_embeddings(embeddings, table, collection.manifest.dim)
            pq.write_table(_described(table), metadata, row_group_size=ROWS_PER_GROUP, write_page_checksum=True)
            shards += 1
        write_about(unfinished, {"count": len(collection), "shards": shards, **_origin(collection)})
    return len(collection)


def _refuse_taken(out: Path) -> None:
    if out.is_dir():
        if any(out.iterdir()):
            raise CollectionError(f"'{out}' is not empty: give a new folder")
    elif out.exists():
        raise there_already(out)


def there_already(out: Path) -> CollectionError:
    """Return the error for a file that would be overwritten."""
    return CollectionError(f"'{out}' is there already: give another name")


def read_moments(collection: Snapshot, embeddings: bool = False) -> Iterator[pyarrow.Table]:
    """Yield the moments of a collection, a few at a time, with their videos where they are now."""
    import pyarrow as pa

    manifest, folder = collection.manifest, collection.folder
    columns = [*COLUMNS, "embedding"] if embeddings else COLUMNS
    for name, size in segment_sizes(folder, manifest.segments, manifest.files).items():
        left, start = alive(size, manifest.removed.get(name, [])), 0
        for table in read_batches(folder / name, columns):
            mask = left[start : start + len(table)]
            start += len(table)
            if mask.any():
                yield _moved(table.filter(pa.array(mask)), manifest.moved)


def flat(texts: list[str]) -> dict[str, list[Any]]:
    """Return what people filter by, from metadata as JSON: ``duration``, ``modified`` and ``tags``."""
    facts = [json.loads(text) for text in texts]
    return {
        "duration": [float(fact["duration"]) if _is_number(fact.get("duration")) else None for fact in facts],
        "modified": [fact["modified"] if isinstance(fact.get("modified"), str) else None for fact in facts],
        "tags": [[str(label) for label in fact.get("labels") or ()] for fact in facts],
    }


def _write_embeddings(path: Path, table: pyarrow.Table, dim: int) -> None:
    # written, not mapped into memory: a full disk is then an error, and not the end of the process
    with open(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(table), dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in table.column("embedding").chunks:
            part = chunk.flatten().to_numpy(zero_copy_only=False)
            file.write(np.ascontiguousarray(part, "<f4").data)


def _described(table: pyarrow.Table) -> pyarrow.Table:
    """Return what the Parquet file of a shard says of some rows."""
    import pyarrow as pa

    types = {"duration": pa.float64(), "modified": pa.string(), "tags": pa.list_(pa.string())}
    described = table.drop_columns("embedding")
    for name, values in flat(table.column("metadata").to_pylist()).items():
        described = described.append_column(name, pa.array(values, types[name]))
    return described


def _moved(table: pyarrow.Table, moved: dict[str, str]) -> pyarrow.Table:
    import pyarrow as pa

    if not moved:
        return table
    homes, hashes = (table.column(name).to_pylist() for name in ("path", "hash"))
    paths = [moved.get(digest, home) for home, digest in zip(homes, hashes)]
    return table.set_column(table.schema.get_field_index("path"), "path", pa.array(paths, pa.string()))


def _origin(collection: Snapshot) -> dict[str, Any]:
    manifest = collection.manifest
    model = {"fingerprint": manifest.model["fingerprint"], "path": str(collection.model_path())}
    if "precision" in manifest.model:
        model["precision"] = manifest.model["precision"]
    return {"metric": manifest.metric, "dim": manifest.dim, "model": model}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""The folder that embeddings are exchanged in: ``.npy`` shards, each with a Parquet file of as many rows beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.collection.manifest import file_record
from mmretrieval.errors import CollectionError

EMBEDDINGS = "img_emb"
METADATA = "metadata"
ABOUT = "collection.json"
"""Says which model made the embeddings; only folders that this program has written have it."""
FORMAT = "mmretrieval embeddings"
VERSION = 1


class Shard(NamedTuple):
    """Embeddings and what they belong to, in two files with the same rows."""

    embeddings: Path
    metadata: Path
    rows: int


def shard_files(folder: Path, number: int, digits: int = 1) -> tuple[Path, Path]:
    """Return the two files of a shard: ``img_emb/img_emb_0.npy`` and ``metadata/metadata_0.parquet``."""
    name = f"{number:0{digits}d}"
    return folder / EMBEDDINGS / f"{EMBEDDINGS}_{name}.npy", folder / METADATA / f"{METADATA}_{name}.parquet"


def find_shards(folder: Path, dim: int) -> list[Shard]:
    """Return the shards of a folder by number, once both files of each fit together and the model.

    Args:
        folder: Holds ``img_emb`` and ``metadata``.
        dim: Width that the embeddings must have.

    Raises:
        CollectionError: There are none, one half of a shard is missing or cannot be read, or they do not fit.
    """
    embeddings = _numbered(folder / EMBEDDINGS, f"{EMBEDDINGS}_", ".npy")
    metadata = _numbered(folder / METADATA, f"{METADATA}_", ".parquet")
    if not embeddings and not metadata:
        raise CollectionError(
            f"no embeddings in '{folder}': give a folder with {EMBEDDINGS}/{EMBEDDINGS}_0.npy and "
            f"{METADATA}/{METADATA}_0.parquet"
        )
    for number in sorted(embeddings.keys() ^ metadata.keys()):
        here, there = (embeddings, shard_files(folder, number)[1])
        if number not in here:
            here, there = (metadata, shard_files(folder, number)[0])
        raise CollectionError(f"{there} is missing: {here[number]} needs it beside it")
    shards = []
    for number in sorted(embeddings):
        rows = len(open_embeddings(embeddings[number], dim))
        described = open_metadata(metadata[number]).metadata.num_rows
        if rows != described:
            raise CollectionError(
                f"{embeddings[number]} has {rows} rows, {metadata[number]} has {described}: they must be the same rows"
            )
        shards.append(Shard(embeddings[number], metadata[number], rows))
    return shards


def open_embeddings(file: Path, dim: int) -> np.ndarray:
    """Open the embeddings of a shard, (n, ``dim``) float16 or float32, without reading them.

    Raises:
        CollectionError: The file cannot be read, or holds something else.
    """
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError):
        found = None
    if not isinstance(found, np.ndarray):
        raise CollectionError(f"{file} cannot be read as .npy: it is damaged or something else, write it again")
    if found.dtype not in (np.float16, np.float32):
        raise CollectionError(f"{file} holds {found.dtype}: float16 and float32 are read, convert it with astype")
    if found.ndim != 2 or found.shape[1] != dim:
        raise CollectionError(
            f"{file} has shape {found.shape}, the model needs (rows, {dim}): give the model that made the embeddings"
        )
    return found


def open_metadata(file: Path) -> Any:
    """Open the Parquet file of a shard.

    Raises:
        CollectionError: It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError):
        raise unreadable(file) from None


def unreadable(file: Path) -> CollectionError:
    """Return the error for a Parquet file that is damaged."""
    return CollectionError(f"{file} cannot be read as Parquet: it is damaged or something else, write it again")


def at_row(file: Path, row: int, problem: str) -> CollectionError:
    """Return the error for a row of a file, counted from 0 as NumPy and pandas do."""
    return CollectionError(f"{file}, row {row} (the first is 0): {problem}")


def read_about(folder: Path) -> dict[str, Any] | None:
    """Return what a folder says of itself, or None where another program wrote it.

    Raises:
        CollectionError: It cannot be read, or belongs to a newer version.
    """
    file = folder / ABOUT
    try:
        about = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        raise _damaged(file) from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        return None
    version = about.get("version")
    if isinstance(version, int) and version > VERSION:
        raise CollectionError(f"{file} has version {version}, this version reads up to {VERSION}: upgrade mmretrieval")
    if not {"count", "files", "model"} <= about.keys():
        raise _damaged(file)
    return about


def write_about(folder: Path, content: dict[str, Any]) -> None:
    """Let a folder say what it holds, and what its files must hash to."""
    files = {file.relative_to(folder).as_posix(): file_record(file) for file in sorted(folder.glob("*/*"))}
    about = {"format": FORMAT, "version": VERSION, **content, "files": files}
    (folder / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")


def check_unchanged(folder: Path, about: dict[str, Any]) -> None:
    """Make sure that a folder holds what was exported, every byte.

    Raises:
        CollectionError: A file is missing or has changed: the message names it.
    """
    for name, record in about["files"].items():
        file = folder / name
        if not file.is_file():
            raise CollectionError(f"{file} is missing: export the collection again")
        if file_record(file) != record:
            raise CollectionError(
                f"{file} has changed since it was exported: export the collection again; if it was meant to change, "
                f"delete {ABOUT} and import with --any-model"
            )


def _damaged(file: Path) -> CollectionError:
    return CollectionError(f"{file} is damaged: export the collection again")


def _numbered(folder: Path, start: str, end: str) -> dict[int, Path]:
    """Return the files of a folder by the number in their name."""
    found: dict[int, Path] = {}
    for file in sorted(folder.glob(f"{start}*{end}")):
        if not re.fullmatch(r"[0-9]+", number := file.name[len(start) : -len(end)]):
            continue
        other = found.setdefault(int(number), file)
        if other != file:
            raise CollectionError(f"{file} and {other} have the same number: give one of them another")
    return found

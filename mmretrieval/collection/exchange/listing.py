"""The moments of a collection as a table for people, comma-separated."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TextIO

from mmretrieval.collection.exchange.export import flat, read_moments, there_already
from mmretrieval.collection.snapshot import Snapshot
from mmretrieval.data.sources.files import guarded
from mmretrieval.files import atomic_file

COLUMNS = {"id": "id", "video": "path", "start": "start", "end": "end", "labels": "tags"}
"""Columns that ``mmretrieval import csv`` and ``index build`` read again, and what moments call them."""
FURTHER = ("duration", "hash", "modified")


def list_moments(collection: Snapshot, out: str | Path | TextIO) -> int:
    """Write the moments of a collection as CSV (RFC 4180, UTF-8, a head line); return how many there are.

    Its columns are those of tables that become manifests, so that it can be built from again. A text that a spreadsheet
    would take for a formula is guarded, see ``data.sources.files.guarded``. Labels are joined by ``|``.

    Args:
        collection: What is listed; removed moments are left out.
        out: A new file, there whole or not at all; or a text stream that leaves line ends alone.

    Raises:
        CollectionError: There is something at ``out``.
        StorageError: The disk is full or refuses to be written; nothing is left behind.
    """
    if not isinstance(out, str | Path):
        _write(collection, out)
        return len(collection)
    if Path(out).exists():
        raise there_already(Path(out))
    with atomic_file(out) as unfinished, open(unfinished, "w", encoding="utf-8", newline="") as file:
        _write(collection, file)
    return len(collection)


def _write(collection: Snapshot, file: TextIO) -> None:
    writer = csv.writer(file)
    writer.writerow([*COLUMNS, *FURTHER])
    for table in read_moments(collection):
        columns = table.to_pydict()
        columns |= flat(columns["metadata"])
        columns["tags"] = ["|".join(tags) for tags in columns["tags"]]
        rows = zip(*(columns[name] for name in (*COLUMNS.values(), *FURTHER)))
        writer.writerows([guarded(value) if isinstance(value, str) else value for value in row] for row in rows)

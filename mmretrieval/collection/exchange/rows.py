"""Rows of another program's Parquet file to moments."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmretrieval.collection.exchange.layout import at_row, open_metadata, unreadable
from mmretrieval.collection.exchange.videos import NOTHING, Facts
from mmretrieval.collection.segments import ROWS_PER_GROUP, UNREAD, Moment, path_hash
from mmretrieval.errors import CollectionError

if TYPE_CHECKING:
    import pyarrow

PATHS = ("path", "video_path", "image_path")
"""Columns that say where a video lies; the first there is counts."""
SPAN = ("start", "end")
KNOWN = {"caption": "text", "tags": "labels"}
"""Names of metadata that other programs have other names for."""


class Rows:
    """Reads the moments of one Parquet file of a shard, a few at a time.

    Args:
        file: The Parquet file.
        root: The folder that relative paths start from.
        videos: What the files say of themselves, by path, where rows do not: see ``lacking``.

    Raises:
        CollectionError: It cannot be read, has no column with paths, or a column of the wrong kind.
    """

    def __init__(self, file: Path, root: Path, videos: Mapping[str, Facts] | None = None):
        self.file = file
        self._root = root
        self._videos = videos or {}
        self._parquet = open_metadata(file)
        schema = self._parquet.schema_arrow
        self._path = _path_column(file, schema)
        self._columns = [name for name in schema.names if name in self._kinds() or _is_plain(schema.field(name).type)]
        for name, (allowed, is_allowed) in self._kinds().items():
            if name in schema.names and not is_allowed(schema.field(name).type):
                raise CollectionError(
                    f"{file}: column '{name}' holds {schema.field(name).type}, it has to hold {allowed}"
                )

    def __iter__(self) -> Iterator[tuple[int, list[Moment]]]:
        """Yield the number of the first row and the moments from there on.

        Raises:
            CollectionError: A row makes no moment; the message names it.
        """
        for start, rows in self._batches():
            yield start, [self._moment(row, number) for number, row in enumerate(rows, start)]

    def lacking(self) -> Iterator[tuple[str, bool]]:
        """Yield the paths of videos whose content or length a row does not say, and whether it is the length.

        Raises:
            CollectionError: As iteration.
        """
        for start, rows in self._batches():
            for number, row in enumerate(rows, start):
                path = self._path_of(row, number)
                unknown = "end" not in row and "duration" not in self._metadata(row, number)
                if unknown or not row.get("hash"):
                    yield path, unknown

    def _batches(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Yield the number of the first row, and what rows say from there on."""
        start = 0
        try:
            for batch in self._parquet.iter_batches(ROWS_PER_GROUP, columns=self._columns):
                rows = batch.to_pylist()
                yield start, [{name: value for name, value in row.items() if _is_given(value)} for row in rows]
                start += len(rows)
        except OSError:
            raise unreadable(self.file) from None

    def _kinds(self) -> dict[str, tuple[str, Callable[[pyarrow.DataType], bool]]]:
        import pyarrow.types as types

        text = ("text", lambda kind: _is_text(kind) or types.is_null(kind))
        number = ("numbers", lambda kind: types.is_floating(kind) or types.is_integer(kind) or types.is_null(kind))
        name = ("text or whole numbers", lambda kind: text[1](kind) or types.is_integer(kind))
        time = ("times or text", lambda kind: text[1](kind) or types.is_timestamp(kind))
        tags = ("text or lists of text", lambda kind: text[1](kind) or _is_list(kind) and text[1](kind.value_type))
        kinds = {"id": name, "start": number, "end": number, "duration": number, "hash": text, "metadata": text}
        return {self._path: text, **kinds, "modified": time, "tags": tags}

    def _path_of(self, row: dict[str, Any], number: int) -> str:
        if not row.get(self._path):
            raise self._error(number, f"no '{self._path}': every row needs the path of its video")
        return os.path.abspath(self._root / row[self._path])

    def _moment(self, row: dict[str, Any], number: int) -> Moment:
        path = self._path_of(row, number)
        video = self._videos.get(path, NOTHING)
        del row[self._path]
        identity, digest = row.pop("id", None), row.pop("hash", None) or video.hash or path_hash(path)
        start, end = (row.pop(name, None) for name in SPAN)
        metadata = self._metadata(row, number)
        if video.duration is not None:
            metadata.setdefault("duration", video.duration)
        whole = start is None and end is None
        start = 0.0 if start is None else float(start)
        end = metadata.get("duration") if end is None else end
        if end is None:
            raise self._error(number, f"no 'end', no 'duration', and the video says neither ({video.reason}): give one")
        if not 0 <= start <= float(end) < math.inf:
            raise self._error(number, f"its span is {start:g}–{end:g} s: 0 ≤ start ≤ end is allowed")
        if identity in (None, ""):
            identity = f"{Path(path).stem}-{digest.removeprefix(UNREAD)[:12]}"
            identity += "" if whole else f"@{start:.3f}-{end:.3f}"
        return Moment(str(identity), path, start, float(end), digest, metadata)

    def _metadata(self, row: dict[str, Any], number: int) -> dict[str, Any]:
        """Return what a row says besides, under the names that collections use."""
        text = row.pop("metadata", "{}")
        try:
            facts = json.loads(text)
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            raise self._error(number, f"its metadata is no JSON object: {text[:40]!r}")
        facts = {name: value for name, value in facts.items() if _is_given(value)}
        for name, value in row.items():
            if name == "tags" and not value:
                continue  # an export has the column whether there are any or not
            facts.setdefault(KNOWN.get(name, name), value.isoformat() if isinstance(value, datetime) else value)
        duration, modified, labels = (facts.get(name) for name in ("duration", "modified", "labels"))
        if duration is not None and not (_is_number(duration) and 0 <= duration < math.inf):
            raise self._error(number, f"its duration is {duration!r}: seconds are allowed, 0 or more")
        if modified is not None and not _is_time(modified):
            raise self._error(number, f"its modified is {modified!r}: write times like 2026-01-31T18:00:00+00:00")
        if isinstance(labels, str):
            facts["labels"] = [labels]
        return facts

    def _error(self, number: int, problem: str) -> CollectionError:
        return at_row(self.file, number, problem)


def _path_column(file: Path, schema: pyarrow.Schema) -> str:
    for name in PATHS:
        if name in schema.names:
            return name
    if "url" in schema.names:
        raise CollectionError(
            f"{file} has a column 'url' and none with paths: videos are played from files, add a column 'path'"
        )
    names = ", ".join(schema.names) or "none"
    raise CollectionError(f"{file} has no column with paths: one of {', '.join(PATHS)} is needed, it has {names}")


def _is_given(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _is_plain(kind: pyarrow.DataType) -> bool:
    """Return whether the values of a column can stand in JSON."""
    import pyarrow.types as types

    return _is_text(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _is_text(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_list(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as types

    return types.is_list(kind) or types.is_large_list(kind)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True

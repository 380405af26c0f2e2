"""How sources read what a release is made of: lists, tables, JSON, and media found by their names."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmretrieval.errors import ManifestError
from mmretrieval.media.suffixes import VIDEO_SUFFIXES

CLIPS = (".mp4", *(suffix for suffix in VIDEO_SUFFIXES if suffix != ".mp4"))
"""What videos may be called, the usual first."""

DELIMITERS = ",;\t|"
_LONGEST_CELL = 20
"""Lines over which a quoted cell may run; a quote that is never closed would take the rest of the file with it."""


class Line(NamedTuple):
    """One row of a table: its line, its cells, or in their place what is wrong with it."""

    number: int
    cells: list[str]
    problem: str | None = None


class Shelf:
    """Finds media by name below some folders, in the order of the folders; each folder is listed once.

    Args:
        folders: Where to look; those that do not exist are passed over.
        suffixes: What the files may be called; where several have the same stem, the first of these wins.
    """

    def __init__(self, folders: Iterable[Path], suffixes: Sequence[str]):
        every = list(dict.fromkeys(folders))
        self.folders = [folder for folder in every if folder.is_dir()]
        self._home = (self.folders or every)[0]
        self._rank = {suffix: rank for rank, suffix in enumerate(suffixes)}
        self._suffix = suffixes[0]
        self._listings: dict[str, dict[str, str]] = {}

    def find(self, name: str) -> str | None:
        """Return the path of ``name``, which may have sub-folders; None if there is none.

        A name with a suffix finds a file with another one too: releases are often re-encoded.
        """
        stem, suffix = os.path.splitext(name)
        names = [name, stem] if suffix.lower() in self._rank else [name]
        for folder in self.folders:
            for wanted in names:
                parent, last = os.path.split(os.path.join(folder, wanted))
                file = self._list(parent).get(last)
                if file is not None:
                    return os.path.join(parent, file)
        return None

    def find_or_expect(self, name: str) -> str:
        """Return the path of ``name``; where there is none, the one at which it should be."""
        found = self.find(name)
        if found is not None:
            return found
        known = os.path.splitext(name)[1].lower() in self._rank
        return os.path.join(self._home, name if known else name + self._suffix)

    def _list(self, folder: str) -> dict[str, str]:
        """Return the files of a folder by name and by stem."""
        if folder not in self._listings:
            try:
                names = os.listdir(folder)
            except OSError:
                names = []
            media = [name for name in names if os.path.splitext(name)[1].lower() in self._rank]
            # the preferred suffix is written last, and whole names are more certain than stems
            media.sort(key=lambda name: (-self._rank[os.path.splitext(name)[1].lower()], name))
            listing = {os.path.splitext(name)[0]: name for name in media}
            self._listings[folder] = listing | {name: name for name in media}
        return self._listings[folder]


def places(root: Path, names: Sequence[str], media: Sequence[Path] = ()) -> list[Path]:
    """Return where media of a release may lie: the folders a person named, then those usual below ``root``."""
    return [*map(Path, media), *(root / name for name in names)]


def first_file(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """Return the first file of one of these names in the first of these folders that has one."""
    names = list(names)
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def read_lines(path: Path) -> list[str | None]:
    """Read a text file as lines without their ends; a line that is not UTF-8 is None.

    Raises:
        ManifestError: It cannot be read.
    """
    lines = _read(path).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    return [_decoded(line.removesuffix(b"\r")) for line in lines]


def read_json(path: Path, repeated: list[str] | None = None) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        repeated: Receives the keys that an object has more than once; the last value of each counts.

    Raises:
        ManifestError: It cannot be read or is not valid; with line and column.
    """

    def gather(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            repeated.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return values

    try:
        return json.loads(_read(path).decode("utf-8-sig"), object_pairs_hook=None if repeated is None else gather)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 (byte {error.start + 1}).") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ManifestError(f"{path}, {where}: not valid JSON ({error.msg.lower()}). Is the download whole?") from None
    except RecursionError:
        raise ManifestError(f"{path}: not valid JSON (nested too deeply).") from None


FORMULA = "=+-@\t\r\n＝＋－＠"
"""What a spreadsheet takes for the beginning of a formula."""


def guarded(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: an apostrophe goes before what looks like one.

    Before an apostrophe goes another one, so that ``unguarded`` gives back every text.
    """
    return f"'{cell}" if cell and cell[0] in FORMULA + "'" else cell


def unguarded(cell: str) -> str:
    """Return what ``guarded`` was given; other cells stay as they are."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] and cell[1] in FORMULA + "'" else cell


def read_table(path: Path) -> tuple[list[str], Iterator[Line]]:
    """Read a table whose first line names its columns; the delimiter is the one this line has most of.

    Returns:
        The names of the columns, and the rows with as many cells as there are columns or with what is wrong.

    Raises:
        ManifestError: It cannot be read or has no first line.
    """
    lines = read_lines(path)
    if not lines or not (lines[0] or "").strip():
        raise ManifestError(f"{path}: its first line must name the columns, and is empty or not UTF-8.")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(DELIMITERS, key=lines[0].count)
    header = [cell.strip() for cell in next(csv.reader([lines[0]], delimiter=delimiter))]
    return header, table_rows(lines, delimiter, len(header), first=1)


def table_rows(lines: Sequence[str | None], delimiter: str, width: int | None, first: int = 0) -> Iterator[Line]:
    """Cut lines into cells; empty lines are skipped, and a broken one costs no other.

    Args:
        lines: The lines.
        delimiter: What stands between cells.
        width: How many cells a row must have; None takes any number.
        first: Index of the first line to read.
    """
    place = first
    while place < len(lines):
        line = lines[place]
        number = place + 1
        place += 1
        if line is None:
            yield Line(number, [], "not UTF-8.")
        elif line.strip():
            row = _cells(lines[number - 1 : number - 1 + _LONGEST_CELL], delimiter, width)
            if row is None:
                yield Line(number, [], _table_fault(line, delimiter, width))
            else:
                cells, taken = row
                place += taken - 1
                yield Line(number, cells)


def _cells(lines: Sequence[str | None], delimiter: str, width: int | None) -> tuple[list[str], int] | None:
    """Return the cells of the row that begins with the first of ``lines``, and how many lines it takes."""
    for taken in range(1, len(lines) + 1):
        if lines[taken - 1] is None:
            return None
        try:
            (cells,) = csv.reader(["\n".join(lines[:taken])], delimiter=delimiter, strict=True)
        except csv.Error:  # a quote is open still
            continue
        except ValueError:
            return None
        return (cells, taken) if width in (None, len(cells)) else None
    return None


def _table_fault(line: str, delimiter: str, width: int | None) -> str:
    cells = next(csv.reader([line], delimiter=delimiter), [])
    if width is None or len(cells) == width:
        return f"its quotes do not pair up: {line:.60}"
    return f"has {len(cells)} cells, {width} are needed: {line:.60}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}).") from None


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None

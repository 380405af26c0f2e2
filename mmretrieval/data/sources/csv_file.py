"""Any table of files and captions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmretrieval.data.manifest import KEYS, Sample
from mmretrieval.data.sources.base import WHOLE, Finding, Note, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import read_table, unguarded
from mmretrieval.data.sources.splitting import split_rows
from mmretrieval.errors import ManifestError, did_you_mean

COLUMNS = (*KEYS, "split")


@sources.register("csv")
def csv_file(root: Path, val_share: float = 0.0, test_share: float = 0.0, seed: int = 0) -> Iterator[Finding]:
    """Any table with a line per sample, separated by commas, semicolons, tabs or bars; ROOT is the file.

    Its first line names the columns, any of: id, video, speech, text, video_id, start, end, labels, words, split

    Paths start at the table's folder. Without ids, the lines are numbered. Several labels are separated by "|", words
    are JSON: [["dog", 0.1, 0.4], …]. Without a column split, --val-share 0.1 --test-share 0.1 hold out a tenth of the
    videos each, drawn by --seed. 'mmretrieval index export --format csv' writes such a table.
    """
    path = _table(root)
    header, lines = read_table(path)
    columns = {name: place for place, name in enumerate(header) if name in COLUMNS}
    if len(columns) < sum(name in COLUMNS for name in header):
        raise ManifestError(f"{path}: two columns have the same name; its columns are {', '.join(header)}.")
    if not columns.keys() & {"video", "speech", "text"}:
        raise ManifestError(
            f"{path}: has none of the columns video, speech and text; its columns are {', '.join(header)}. "
            f"Known: {', '.join(COLUMNS)}."
        )
    for name in header:
        if name not in COLUMNS:
            yield Note(f"the column '{name}' is unknown and was not read.{did_you_mean(name, COLUMNS)}")
    if "split" in columns and (val_share or test_share):
        raise ManifestError(f"{path}: has a column 'split' already; leave out the shares.")
    findings = (_row(path, line.number, line.cells, line.problem, columns) for line in lines)
    yield from findings if "split" in columns else split_rows(findings, val_share, test_share, seed)


def _table(root: Path) -> Path:
    if root.is_file():
        return root
    entries = sorted(root.iterdir()) if root.is_dir() else []
    tables = [path for path in entries if path.suffix.lower() in (".csv", ".tsv")]
    if not tables:
        raise missing("csv", root, "table", ["a .csv or .tsv file"])
    if len(tables) > 1:
        raise ManifestError(f"{root}: holds several tables, name one: {', '.join(path.name for path in tables)}.")
    return tables[0]


def _row(path: Path, number: int, cells: list[str], problem: str | None, columns: dict[str, int]) -> Finding:
    where = f"{path.name}, line {number}"
    if problem:
        return SetAside(None, where, None, Reason.BROKEN_ROW, problem)
    values = {name: unguarded(cells[place].strip()) for name, place in columns.items()}
    split = values.pop("split", "") or WHOLE
    if not re.fullmatch(r"\w[\w.-]*", split) or split == "set_aside":
        return SetAside(None, where, values.get("id"), Reason.BROKEN_ROW, f"the split '{split}' cannot name a file.")
    filled: dict[str, Any] = {name: value for name, value in values.items() if value}
    if "text" in columns and "speech" not in filled:
        filled.setdefault("text", "")  # a clip that is described neither way is one whose caption got lost
    name = filled.setdefault("id", f"{path.stem}-{number}")
    try:
        for key in ("start", "end"):
            if key in filled:
                filled[key] = _number(key, filled[key])
        filled["labels"] = tuple(label.strip() for label in filled.get("labels", "").split("|") if label.strip())
        filled["words"] = _words(filled.get("words"))
    except ValueError as error:
        return SetAside(split, where, name, Reason.BROKEN_ROW, str(error))
    for key in ("video", "speech"):
        if key in filled:
            filled[key] = os.path.join(path.parent, filled[key])
    return Row(split, where, Sample(**filled))


def _number(key: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"'{key}' is '{cell}', it must be a number of seconds.") from None


def _words(cell: str | None) -> tuple[tuple[str, float, float], ...]:
    if not cell:
        return ()
    try:
        return tuple((str(word), float(start), float(end)) for word, start, end in json.loads(cell))
    except (ValueError, TypeError):
        raise ValueError(f"'words' is {cell:.60}; a list of [word, start, end] in JSON is needed.") from None

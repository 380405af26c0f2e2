"""Trained on one data set, tested on others: the table of arXiv 2105.04489 (Tables 4 and 11), and its picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.files import atomic_write

METRICS = ("recall@1", "recall@5", "recall@10", "map")
_SHOWN = ("recall@1", "recall@5", "recall@10")
_DPI = 120


class Cell(NamedTuple):
    """One model measured on one data set.

    ``retrieval`` is its report; None with a ``reason`` where it could not be measured. ``modalities`` are those that
    took part: where they differ within a column, so do the directions that the mean is over.
    """

    modalities: tuple[str, ...]
    retrieval: dict[str, Any] | None
    reason: str | None = None


Cells = Mapping[str, Mapping[str, Cell]]
"""Name of the model → name of the data set → cell."""


def cross_values(cells: Cells, direction: str = "mean", subsets: bool = False) -> dict[str, dict[str, dict | None]]:
    """Return the numbers of one table: model → data set, and ``mean`` over data sets → metric → value.

    Args:
        cells: What was measured.
        direction: A direction like ``text_to_video``, or ``mean`` over all of them.
        subsets: The means over the stored sets of 1,000 where a data set has them, instead of the full set.

    Returns:
        Values from 0 to 1; None where there is none. ``mean`` is None where a cell of the row is.
    """
    table: dict[str, dict[str, dict | None]] = {}
    for model, row in cells.items():
        values = {data: _values(cell, direction, subsets) for data, cell in row.items()}
        full = all(value is not None for value in values.values())
        mean = {key: float(np.mean([value[key] for value in values.values()])) for key in METRICS} if full else None
        table[model] = {**values, "mean": mean}
    return table


def cross_markdown(cells: Cells, per_direction: bool = False) -> str:
    """Return the tables as Markdown: train on (rows), test on (columns); R@1, R@5, R@10 and mAP in percent."""
    with_subsets = any("subsets" in (cell.retrieval or {}) for row in cells.values() for cell in row.values())
    blocks = []
    for direction in ["mean", *(_directions(cells) if per_direction else [])]:
        title = "mean of all directions" if direction == "mean" else direction.replace("_", " ")
        if with_subsets:
            blocks += [f"### Sets of 1,000, {title}", _markdown(cells, direction, subsets=True)]
        blocks += [f"### Full sets, {title}", _markdown(cells, direction, subsets=False)]
    blocks += _notes(cells)
    return "\n\n".join(["## Train on (rows), test on (columns): R@1 / R@5 / R@10 / mAP in %", *blocks]) + "\n"


def write_cross(folder: str | Path, cells: Cells, facts: Mapping[str, Any], per_direction: bool = False) -> list[Path]:
    """Write ``cross.md``, ``cross.json`` and the heat-map ``cross.png``.

    Args:
        folder: Where to.
        cells: What was measured.
        facts: What else belongs into the JSON: models, data sets, rules.
        per_direction: Also tables of every direction.

    Raises:
        StorageError: The files cannot be written.
    """
    folder = Path(folder)
    files = [folder / "cross.md", folder / "cross.json", folder / "cross.png"]
    tables = {"full": cross_values(cells), "subsets": cross_values(cells, subsets=True)}
    everything = {model: {data: cell._asdict() for data, cell in row.items()} for model, row in cells.items()}
    atomic_write(files[0], cross_markdown(cells, per_direction))
    content = {**facts, "table": tables, "cells": everything}
    atomic_write(files[1], json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    atomic_write(files[2], draw_cross(cells))
    return files


def draw_cross(cells: Cells) -> bytes:
    """Draw recall at 1, 5 and 10, mean of all directions, as heat-maps side by side; return the PNG."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models, sets = list(cells), list(dict.fromkeys(data for row in cells.values() for data in row))
    width = 1.6 + len(_SHOWN) * max(1.6, 0.8 * len(sets))
    figure = Figure(figsize=(width, 1.1 + 0.55 * len(models)), layout="constrained")
    FigureCanvasAgg(figure)
    values = cross_values(cells, subsets=True)
    for number, (axes, key) in enumerate(zip(figure.subplots(1, len(_SHOWN), squeeze=False)[0], _SHOWN, strict=True)):
        grid = np.array([[100 * (values[m].get(d) or {}).get(key, np.nan) for d in sets] for m in models], float)
        axes.imshow(np.ma.masked_invalid(grid), cmap="YlGnBu", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(grid):
            text, colour = ("–", "#777777") if np.isnan(value) else (f"{value:.1f}", "w" if value > 60 else "#222222")
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(sets)), sets, rotation=30, ha="right", fontsize=8)
        axes.set_yticks(range(len(models)), models if number == 0 else [""] * len(models), fontsize=8)
        axes.set_title(key.replace("recall@", "R@"), fontsize=9)
        axes.set_xlabel("tested on", fontsize=8)
        if number == 0:
            axes.set_ylabel("trained on", fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=_DPI, format="png")
    return picture.getvalue()


def _values(cell: Cell, direction: str, subsets: bool) -> dict[str, float] | None:
    if cell.retrieval is None or direction not in cell.retrieval:
        return None
    if subsets and "subsets" in cell.retrieval:
        return {key: cell.retrieval["subsets"][direction][key]["mean"] for key in METRICS}
    return {key: cell.retrieval[direction][key] for key in METRICS}


def _spreads(cell: Cell, direction: str) -> dict[str, float]:
    report = (cell.retrieval or {}).get("subsets", {}).get(direction, {})
    return {key: spread["std"] for key, spread in report.items()}


def _directions(cells: Cells) -> list[str]:
    found = [name for row in cells.values() for cell in row.values() for name in cell.retrieval or {} if "_to_" in name]
    return list(dict.fromkeys(found))


def _markdown(cells: Cells, direction: str, subsets: bool) -> str:
    sets = list(dict.fromkeys(data for row in cells.values() for data in row))
    lines = [f"| train \\ test | {' | '.join(_escaped(sets))} | mean |", "|---" * (len(sets) + 2) + "|"]
    for model, values in cross_values(cells, direction, subsets).items():
        shown = [
            _cell(values[data], _spreads(cells[model][data], direction) if subsets else {}) + _mark(cells, model, data)
            for data in sets
        ]
        lines.append(f"| {' | '.join(_escaped([model]) + shown + [_cell(values['mean'], {})])} |")
    return "\n".join(lines)


def _cell(values: Mapping[str, float] | None, spreads: Mapping[str, float]) -> str:
    if values is None:
        return "–"
    parts = [f"{100 * values[key]:.1f}" + (f" ± {100 * spreads[key]:.1f}" if spreads else "") for key in METRICS]
    return " / ".join(parts)


def _mark(cells: Cells, model: str, data: str) -> str:
    """Mark a cell that was measured with fewer modalities than another one of its column."""
    most = max(len(row[data].modalities) for row in cells.values())
    cell = cells[model][data]
    return "" if cell.retrieval is None or len(cell.modalities) == most else f" ({', '.join(cell.modalities)})"


def _notes(cells: Cells) -> list[str]:
    every = [(model, data, cell) for model, row in cells.items() for data, cell in row.items()]
    notes = [f"- {model} on {data}: {cell.reason}" for model, data, cell in every if cell.reason]
    if any(_mark(cells, model, data) for model, data, _ in every):
        notes.append(
            "- A cell that names modalities was measured with these only: its mean is over fewer directions than those "
            "of others in its column. --modalities makes them alike."
        )
    return ["\n".join(notes)] if notes else []


def _escaped(names: Sequence[str]) -> list[str]:
    return [name.replace("|", "\\|") for name in names]

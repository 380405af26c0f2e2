"""The picture of a study: a point per seed, and mean ± standard deviation per run."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from mmretrieval.study.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = 3
PANEL_WIDTH, LABEL_WIDTH, ROW_HEIGHT, FRAME_HEIGHT = 2.6, 1.8, 0.32, 1.1
"""Inches."""
DPI = 120
MARKERS = "osD^v"


def panels(results: Results) -> list[str]:
    """Return the metrics that are drawn: those the study names, else its first three; only those that have a value."""
    named = results.study.plot.metrics or list(results.study.metrics)[:PANELS]
    return [name for name in named if any(row.values[name] for row in results.rows)]


def draw(results: Results) -> bytes | None:
    """Return the picture as PNG, one panel per metric; None while there is nothing to show.

    A panel has one line per run, or, if the study plots ``against`` a metric, one point per run over that metric.
    """
    shown = panels(results)
    if not shown:
        return None
    figure = rows(results, shown) if results.study.plot.against is None else points(results, shown)
    figure.suptitle(results.study.plot.title or results.study.name, fontsize=10)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format="png")
    return picture.getvalue()


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def rows(results: Results, shown: list[str]) -> Figure:
    """One panel per metric, one line per run."""
    figure = _figure(LABEL_WIDTH + PANEL_WIDTH * len(shown), FRAME_HEIGHT + ROW_HEIGHT * len(results.rows))
    for number, (axes, name) in enumerate(zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True)):
        _panel(axes, results, name)
        places = range(len(results.rows))
        axes.set_yticks(places, [row.label for row in results.rows] if number == 0 else [""] * len(results.rows))
    return figure


def points(results: Results, shown: list[str]) -> Figure:
    """One panel per metric, one point per run over the metric they are plotted against; costs span decades."""
    against = results.study.plot.against
    figure = _figure(LABEL_WIDTH + 1.7 * PANEL_WIDTH * len(shown), 3.6 + 0.14 * len(results.rows))
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        scale = 100 if results.study.metrics[name].percent else 1
        for place, row in enumerate(results.rows):
            x, y = row.spread(against), row.spread(name)
            if x is None or y is None:
                continue
            colour, marker = f"C{place % 10}", MARKERS[place // 10 % len(MARKERS)]
            bars = scale * (y.std or 0)
            axes.errorbar(x.mean, scale * y.mean, bars, fmt=marker, color=colour, capsize=2, label=row.label)
        axes.set_xscale("log")
        _label(axes.set_xlabel, results, against)
        _label(axes.set_ylabel, results, name)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=7, frameon=False)
    return figure


def _label(write: Callable, results: Results, name: str) -> None:
    write(f"{name}{' [%]' if results.study.metrics[name].percent else ''}", fontsize=9)


def _panel(axes, results: Results, name: str) -> None:
    metric = results.study.metrics[name]
    scale = 100 if metric.percent else 1
    best = results.best(name)
    for place, row in enumerate(results.rows):
        spread = row.spread(name)
        if spread is None:
            continue
        colour = "#c2571a" if row is best else "#1f4e8c"
        values = [scale * value for value in row.values[name].values()]
        axes.plot(values, [place] * len(values), "o", color="#9aa3b2", markersize=4, zorder=2)
        axes.errorbar(
            scale * spread.mean, place, xerr=scale * (spread.std or 0), fmt="D", color=colour, markersize=5, capsize=3
        )
        if row.label == results.study.baseline:
            axes.axvline(scale * spread.mean, color="#777777", linewidth=0.8, linestyle="--", zorder=1)
    axes.set_ylim(len(results.rows) - 0.5, -0.5)
    _label(axes.set_xlabel, results, name)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)

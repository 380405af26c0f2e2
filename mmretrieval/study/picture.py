"""The picture of a study: a point per seed, and mean ± standard deviation per run."""

from __future__ import annotations

import io

from mmretrieval.study.results import Results

PANELS = 3
PANEL_WIDTH, LABEL_WIDTH, ROW_HEIGHT, FRAME_HEIGHT = 2.6, 1.8, 0.32, 1.1
"""Inches."""
DPI = 120


def panels(results: Results) -> list[str]:
    """Return the metrics that are drawn: those the study names, else its first three; only those that have a value."""
    named = results.study.plot.metrics or list(results.study.metrics)[:PANELS]
    return [name for name in named if any(row.values[name] for row in results.rows)]


def draw(results: Results) -> bytes | None:
    """Return the picture as PNG, one panel per metric and one line per run; None while there is nothing to show."""
    shown = panels(results)
    if not shown:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (LABEL_WIDTH + PANEL_WIDTH * len(shown), FRAME_HEIGHT + ROW_HEIGHT * len(results.rows))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    for number, (axes, name) in enumerate(zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True)):
        _panel(axes, results, name)
        places = range(len(results.rows))
        axes.set_yticks(places, [row.label for row in results.rows] if number == 0 else [""] * len(results.rows))
    figure.suptitle(results.study.plot.title or results.study.name, fontsize=10)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format="png")
    return picture.getvalue()


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
    axes.set_xlabel(f"{name}{' [%]' if metric.percent else ''}", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)

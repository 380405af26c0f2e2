"""The picture of a run: loss and validation scores over its steps."""

from __future__ import annotations

from pathlib import Path

from mmretrieval.training.resume import Progress

SCORES = ("recall@1", "recall@10", "top1", "top5", "map")
"""Validation scores that are drawn, of those a task has."""


def draw_curves(progress: Progress, file: Path) -> None:
    """Draw the training loss and the validation scores side by side into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, scores = figure.subplots(1, 2)
    loss.plot(range(1, len(progress.losses) + 1), progress.losses, color="#b0b7c3", linewidth=0.8)
    loss.plot(*_running_mean(progress.losses, 20), color="#1f4e8c", linewidth=1.8, label="mean of 20 steps")
    loss.set(title="training loss", xlabel="step")
    loss.legend(frameon=False)
    steps = [row["step"] for row in progress.history]
    known = [name for name in SCORES if progress.history and name in progress.history[0]]
    for name, color in zip(known, ("#c2571a", "#2b7a4b", "#6b4fa0"), strict=False):
        scores.plot(steps, [row[name] for row in progress.history], marker="o", markersize=3, color=color, label=name)
    scores.set(title="validation", xlabel="step", ylim=(0, 1))
    scores.legend(frameon=False, loc="lower right")
    for axes in (loss, scores):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(file, dpi=120)


def _running_mean(values: list[float], width: int) -> tuple[list[int], list[float]]:
    steps = range(width, len(values) + 1)
    return list(steps), [sum(values[step - width : step]) / width for step in steps]

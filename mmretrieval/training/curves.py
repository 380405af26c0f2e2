"""The picture of a run: loss and validation recall over its steps."""

from __future__ import annotations

from pathlib import Path

from mmretrieval.training.resume import Progress


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
    for name, color in (("recall@1", "#c2571a"), ("recall@10", "#2b7a4b"), ("map", "#6b4fa0")):
        scores.plot(steps, [row[name] for row in progress.history], marker="o", markersize=3, color=color, label=name)
    scores.set(title="validation, mean of all directions", xlabel="step", ylim=(0, 1))
    scores.legend(frameon=False, loc="lower right")
    for axes in (loss, scores):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(file, dpi=120)


def _running_mean(values: list[float], width: int) -> tuple[list[int], list[float]]:
    steps = range(width, len(values) + 1)
    return list(steps), [sum(values[step - width : step]) / width for step in steps]

"""Pictures of what codes stand for: conditional probabilities, usage by modality, and frames and words per code."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmretrieval.errors import MMRetrievalError
from mmretrieval.evaluation.code_study import Coded, Study
from mmretrieval.evaluation.code_words import Detectors
from mmretrieval.evaluation.codes import code_counts
from mmretrieval.files import atomic_write
from mmretrieval.media.sampling import span_indices
from mmretrieval.media.video import open_video
from mmretrieval.search.heat import seen_box
from mmretrieval.types import MODALITIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmretrieval.model import RetrievalModel

NAMES = 40
"""Names on a matrix at most, the best detected ones."""
CODES = 12
"""Codes on the sheet of frames."""
FRAMES = 6
"""Frames per code."""
COLOURS = {"video": "#c2571a", "speech": "#1f4e8c", "text": "#2b7a4b"}


def draw_study(study: Study, model: RetrievalModel, folder: str | Path) -> list[Path]:
    """Draw every picture of a study into a folder; return the files written.

    ``usage.png``; ``codes.png``, the words and frames of the best codes; and for the spoken words and each group of
    what is seen in whole clips, the matrix of P(name | code).
    """
    folder = Path(folder)
    size = model.codebook.size
    codes = {name: [row.codes[name] for row in study.coded] for name in MODALITIES if name in study.coded[0].codes}
    drawn = {"usage.png": usage_figure({name: code_counts(ids, size) for name, ids in codes.items()})}
    for name, table in study.tables.items():
        if "by position" not in name:
            drawn[f"matrix-{name.replace(' ', '-')}.png"] = matrix_figure(table, name)
    if study.report["seen"] and len(study.coded[0].grid) == 3:
        drawn["codes.png"] = sheet_figure(study, model)
    for name, figure in drawn.items():
        _save(figure, folder / name)
    return [folder / name for name in drawn]


def diagonal(table: Detectors, most: int = NAMES) -> tuple[np.ndarray, np.ndarray]:
    """Choose the ``most`` best detected names and a code for each, so that together their F1 is largest.

    Returns:
        Indices of names and of codes, in the order in which the matrix has its diagonal: best first.
    """
    from scipy.optimize import linear_sum_assignment

    f1 = table.f1
    names = np.argsort(-f1.max(axis=0), kind="stable")[: min(most, len(f1))]
    chosen, codes = linear_sum_assignment(-f1[:, names].T)
    order = np.argsort(-f1[codes, names[chosen]], kind="stable")
    return names[chosen][order], codes[order]


def matrix_figure(table: Detectors, title: str) -> Figure:
    """Draw P(name | code): rows are names, columns the codes that stand for them, in one order."""
    names, codes = diagonal(table)
    values = table.precision[np.ix_(codes, names)].T
    side = 2.4 + 0.21 * len(names)
    figure = _figure(max(5.2, side + 1.2), max(4.0, side))
    axes = figure.subplots()
    highest = max(0.1, np.ceil(10 * values.max()) / 10)
    shown = axes.imshow(values, cmap="magma_r", vmin=0, vmax=highest, aspect="equal")
    axes.set_xticks(range(len(codes)), [str(code) for code in codes], rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), [table.names[name] for name in names], fontsize=8.5)
    axes.set_xlabel("code")
    axes.set_title(f"P(name | code): {title}", fontsize=11, loc="left")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shown, ax=axes, fraction=0.035, pad=0.02)
    bar.outline.set_visible(False)
    return figure


def usage_figure(counts: Mapping[str, np.ndarray]) -> Figure:
    """Draw how often each modality takes each code; codes in the order of their use by all of them together."""
    shares = {name: count / max(count.sum(), 1) for name, count in counts.items()}
    order = np.argsort(-sum(shares.values()), kind="stable")
    figure = _figure(10, 1.3 + 1.35 * len(shares))
    rows = np.atleast_1d(figure.subplots(len(shares), 1, sharex=True, sharey=True))
    for axes, (name, share) in zip(rows, shares.items(), strict=True):
        axes.bar(np.arange(len(order)), 100 * share[order], width=1.0, color=COLOURS.get(name, "#555"))
        used = int((share > 0).sum())
        axes.set_title(f"{name}: {used} of {len(order)} codes", fontsize=10, loc="left")
        axes.set_ylabel("% of positions", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.005)
    rows[-1].set_xlabel("codes, by their use in all modalities together")
    return figure


def sheet_figure(study: Study, model: RetrievalModel) -> Figure:
    """Draw the best codes: what they are said and seen to be, and the frames that use them most, outlined."""
    spoken = _names_of(study.report["groups"].get("spoken words"))
    typed = _names_of(study.report["groups"].get("typed words"))
    rows = _worth_showing(study, spoken)
    figure = _figure(2.9 + 1.55 * FRAMES, 1.72 * len(rows) + 0.2)
    grid = figure.subplots(len(rows), FRAMES + 1, gridspec_kw={"width_ratios": [1.75, *[1] * FRAMES]}, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        code = row["code"]
        for axes in line:
            axes.set_axis_off()
        text = [f"seen: {row['name']}  {row['f1']:.2f}"]
        text += [f"{how}: {names[code]}" for how, names in (("said", spoken), ("typed", typed)) if code in names]
        line[0].text(0, 0.92, f"code {code}", fontsize=13, weight="bold", va="top", transform=line[0].transAxes)
        line[0].text(0, 0.68, "\n".join(text), fontsize=9.5, va="top", linespacing=1.6, transform=line[0].transAxes)
        for axes, (coded, frame) in zip(line[1:], _heaviest(study.coded, code), strict=False):
            _draw_frame(axes, coded, frame, code, model, study.offset)
    return figure


def _worth_showing(study: Study, spoken: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the best codes by what is seen, each name once, those that are said as well first."""
    seen: dict[str, dict[str, Any]] = {}
    for row in sorted(study.report["seen"], key=lambda row: (row["code"] not in spoken, -row["f1"])):
        seen.setdefault(row["name"], row)
    return list(seen.values())[:CODES]


def _names_of(group: dict[str, Any] | None) -> dict[int, str]:
    """Return of each code the name it stands for best in a group, with its F1."""
    return {row["code"]: f"{row['name']}  {row['f1']:.2f}" for row in (group or {}).get("ranking", [])}


def _heaviest(coded: Sequence[Coded], code: int) -> list[tuple[Coded, int]]:
    """Return the frames with most positions of a code, one of each clip: (sample, number of the frame)."""
    found = []
    for row in coded:
        if "video" in row.codes and (row.codes["video"] == code).any():
            counts = (row.codes["video"].reshape(row.grid) == code).reshape(row.grid[0], -1).sum(axis=1)
            found.append((int(counts.max()), row, int(counts.argmax())))
    found.sort(key=lambda entry: -entry[0])
    return [(row, frame) for _, row, frame in found[:FRAMES]]


def _draw_frame(axes: Any, row: Coded, frame: int, code: int, model: RetrievalModel, offset: float) -> None:
    """Draw one frame as the model sees it; a box of a cell's size stands around the centre of each place of a code."""
    from matplotlib.patches import Rectangle

    picture = _frame(row, frame, model)
    if picture is None:
        axes.text(0.5, 0.5, "file cannot\nbe read", ha="center", va="center", fontsize=8, transform=axes.transAxes)
        return
    height, width = picture.shape[:2]
    axes.imshow(picture, extent=(0, width, height, 0))
    down, across = height / row.grid[1], width / row.grid[2]
    for y, x in zip(*np.nonzero(row.codes["video"].reshape(row.grid)[frame] == code), strict=True):
        corner = ((x + offset - 0.5) * across, (y + offset - 0.5) * down)
        axes.add_patch(Rectangle(corner, across, down, fill=False, edgecolor="black", linewidth=2.6))
        axes.add_patch(Rectangle(corner, across, down, fill=False, edgecolor="#ffe45c", linewidth=1.4))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _frame(row: Coded, frame: int, model: RetrievalModel) -> np.ndarray | None:
    """Return one frame that the model looked at, cut to what it sees, (H, W, 3) uint8; None if it cannot be read."""
    try:
        with open_video(row.sample.video) as reader:
            span = span_indices(reader.times, row.sample.start, row.sample.end)
            chosen = span[model.processor.choose_frames(len(span), reader.fps)[frame]]
            picture = reader.read([chosen], at_most=256)[0]
    except (MMRetrievalError, OSError, IndexError):
        return None
    left, top, right, bottom = seen_box(picture.shape[:2], model.processor.clip_spec)
    return picture[top:bottom, left:right]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, format="png", bbox_inches="tight", pad_inches=0.15)
    atomic_write(path, picture.getvalue())

"""How well classes are recognised: top-1, top-5, mean average precision, and opposites told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmretrieval import metrics


def recognition_report(
    scores: np.ndarray,
    truth: Sequence[Sequence[str]],
    labels: Sequence[str],
    opposites: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Describe how well classes are recognised.

    Args:
        scores: (N, classes), higher is more probable.
        truth: The labels of each clip; a clip with several counts as recognised by any of them.
        labels: Names of the classes, in the order of the scores.
        opposites: Pairs of classes that only the order of frames tells apart.

    Returns:
        ``clips`` N; ``top1`` and ``top5``, shares from 0 to 1; ``map``, the mean over classes that occur of the average
        precision of ranking all clips by their score for the class; ``per_class``, top-1 by class; ``pairs``, by
        "a / b" the share of clips of either class whose score for it is above that for the other; ``opposites``, their
        mean, None without pairs; ``unknown``, clips with no label that the model knows, which count as wrong.

    Raises:
        ValueError: There is no clip, or the scores do not fit the labels.
    """
    if len(scores) != len(truth) or not len(truth) or scores.shape[1] != len(labels):
        raise ValueError(f"scores {scores.shape} do not fit {len(truth)} clips and {len(labels)} classes")
    right = np.array([[label in given for label in labels] for given in truth])
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = np.take_along_axis(right, order, axis=1)
    occur = right.any(axis=0)
    pairs = {f"{a} / {b}": _apart(scores, right, labels.index(a), labels.index(b)) for a, b in opposites}
    known = [share for share in pairs.values() if share is not None]
    return {
        "clips": len(truth),
        "top1": float(hits[:, 0].mean()),
        "top5": float(hits[:, :5].any(axis=1).mean()),
        "map": metrics.mean_average_precision(scores.T[occur], right.T[occur]) if occur.any() else 0.0,
        "per_class": {label: float(hits[right[:, i], 0].mean()) for i, label in enumerate(labels) if occur[i]},
        "pairs": pairs,
        "opposites": float(np.mean(known)) if known else None,
        "unknown": int((~right.any(axis=1)).sum()),
    }


def _apart(scores: np.ndarray, right: np.ndarray, a: int, b: int) -> float | None:
    """Return the share of clips of exactly one of two classes that are given to it rather than to the other."""
    mine = right[:, a] != right[:, b]
    if not mine.any():
        return None
    leaning = np.where(right[mine, a], scores[mine, a] - scores[mine, b], scores[mine, b] - scores[mine, a])
    return float((leaning > 0).mean())


def format_recognition(report: dict[str, Any]) -> str:
    """Return a report as a few lines for people."""
    lines = [
        f"clips: {report['clips']}" + (f" of {report['expected']}" if report.get("failed") else ""),
        f"top-1: {report['top1']:.1%}   top-5: {report['top5']:.1%}   mean average precision: {report['map']:.1%}",
    ]
    if report["opposites"] is not None:
        lines.append(f"opposites told apart: {report['opposites']:.1%} (chance 50 %)")
        lines += [f"  {pair}: {share:.1%}" for pair, share in report["pairs"].items() if share is not None]
    if report["unknown"]:
        lines.append(f"{report['unknown']} clips have only labels that the model does not know; they count as wrong")
    if views := report.get("views"):
        count = views["clips"] * views["crops"]
        several = f"{views['clips']} clips × {views['crops']} crops = {count} of each video, logits averaged"
        lines.append(f"views: {'1 of each video' if count == 1 else several}")
        lines.append(f"sampling, of a video of 300 frames at 30 per second: {views['sampling']}")
    return "\n".join(lines)

"""The retrieval report: every direction between the modalities, as papers and people read it.

Names put the query first: ``text_to_video/recall@1`` is how often a typed caption finds its video at the first place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from mmretrieval import metrics
from mmretrieval.errors import ModelError, UnknownNameError, did_you_mean
from mmretrieval.types import MODALITIES

KS = (1, 5, 10)
RELEVANCE = ("both", "video", "pair")
SUBSET_SIZE, SUBSET_COUNT, SUBSET_SEED = 1000, 5, 0
BLOCK = 512
"""Queries scored at once: 512 against a gallery of 100,000 are 0.4 GB."""


def retrieval_report(
    embeddings: Mapping[str, Any],
    video_ids: Sequence[str] | None = None,
    ks: Sequence[int] = KS,
    subsets: str | Sequence[Sequence[int]] | None = "auto",
    metric: str = "inner_product",
    relevance: str = "both",
    ties: str = "position",
) -> dict[str, Any]:
    """Measure retrieval in every direction between the modalities given: six when all three are there.

    Row n of every modality belongs to sample n. With ``video_ids``, samples of one video are treated as such: a video
    is one item of the gallery, and one query, however many captions it has (its first row stands for it), and any
    caption of the right video is relevant.

    Args:
        embeddings: Modality → (N, D), NumPy or torch.
        video_ids: Video of each sample; None takes every sample for a video of its own.
        ks: Values of k of recall@k.
        subsets: "auto" adds five random sets of 1,000 samples when N is larger (arXiv 2105.04489, §5.1), None adds
            none; or the rows of each set, so that models are compared on the same ones.
        metric: "inner_product", or "cosine" to compare directions only.
        relevance: What is right when videos repeat. "pair": only a sample's own row, nothing merged; "video": as said
            above; "both": that, and ``strict`` beside it. arXiv 2105.04489 does not say which of the two it counts.
        ties: Where the right item stands among items of its score: "position", "expected" or "pessimistic"; see
            ``mmretrieval.metrics``.

    Returns:
        ``{"text_to_video": {"recall@1": …, "recall@5": …, "recall@10": …, "map": …, "median_rank": …}, …,
        "mean": {…}}`` with shares from 0 to 1; ``mean`` is that over directions. If videos repeat, ``strict`` holds
        the same with only a sample's own row relevant, nothing merged. If there are subsets, ``subsets`` holds
        ``rows``, the sample numbers of each set, and per direction and metric ``{"mean": …, "std": …}`` over the
        sets (the standard deviation of a sample, divisor n − 1), and again ``strict``.

    Raises:
        UnknownNameError: A key is no modality, or the metric, the relevance or the rule for ties is unknown.
        ValueError: Fewer than two modalities, or rows, widths or ids that do not fit together.
        ModelError: An embedding is not finite.
    """
    vectors = checked_embeddings(embeddings, video_ids, metric)
    _check_name("ties", ties, metrics.TIES)
    groups = groups_of(video_ids, relevance)
    rules = [("", groups)] if groups is None or relevance == "video" else [("", groups), ("strict", None)]
    report: dict[str, Any] = {}
    for name, these in rules:
        _put(report, name, _directions(vectors, these, ks, ties))
    count = len(next(iter(vectors.values())))
    if subsets == "auto":
        subsets = subset_rows(count) if count > SUBSET_SIZE else None
    if subsets is not None:
        rows = [np.asarray(subset) for subset in subsets]
        report["subsets"] = {"rows": [row.tolist() for row in rows]}
        for name, these in rules:
            _put(report["subsets"], name, _over_subsets(vectors, these, ks, ties, rows))
    return report


def groups_of(video_ids: Sequence[str] | None, relevance: str = "both") -> np.ndarray | None:
    """Return the number of each sample's video, (N,); None where every sample stands for itself.

    Raises:
        UnknownNameError: The relevance is unknown.
    """
    _check_name("relevance", relevance, RELEVANCE)
    if video_ids is None or relevance == "pair":
        return None
    groups = np.unique(np.asarray(video_ids), return_inverse=True)[1]
    return None if groups.max() + 1 == len(groups) else groups


def subset_rows(
    count: int, size: int = SUBSET_SIZE, sets: int = SUBSET_COUNT, seed: int = SUBSET_SEED
) -> list[list[int]]:
    """Draw the rows of the random sets: without replacement within a set, independently across sets, sorted.

    Set i are the rows with the smallest of ``count`` raw 64-bit numbers of PCG64 seeded with (seed, i). NumPy keeps
    that stream the same over platforms and releases, which it does not promise of ``Generator.choice``; and set i
    does not depend on how many sets there are.
    """
    draws = (np.random.PCG64([seed, i]).random_raw(count) for i in range(sets))
    return [np.sort(np.argsort(draw, kind="stable")[:size]).tolist() for draw in draws]


def format_report(report: Mapping[str, Any]) -> str:
    """Return the report as a table for people: recalls and mAP in percent, the median rank as it is."""
    lines = _table({name: row for name, row in report.items() if name not in ("strict", "subsets")}, "direction")
    if "strict" in report:
        lines += ["", *_table(report["strict"], "own row only")]
    if "subsets" in report:
        sets = report["subsets"]["rows"]
        rows = {name: row for name, row in report["subsets"].items() if name not in ("rows", "strict", "files")}
        lines += ["", *_table(rows, f"{len(sets)} sets of {len(sets[0])}")]
        if "strict" in report["subsets"]:
            lines += ["", *_table(report["subsets"]["strict"], f"{len(sets)} sets of {len(sets[0])}, own row only")]
    return "\n".join(lines)


def checked_embeddings(
    embeddings: Mapping[str, Any], video_ids: Sequence[str] | None, metric: str
) -> dict[str, np.ndarray]:
    """Return the embeddings (N, D) of each modality in float64, of unit length where the metric is cosine.

    Raises:
        UnknownNameError, ValueError, ModelError: As in ``retrieval_report``.
    """
    for name in embeddings:
        if name not in MODALITIES:
            raise UnknownNameError(
                f"unknown modality '{name}'.{did_you_mean(name, MODALITIES)} Known: {', '.join(MODALITIES)}."
            )
    _check_name("metric", metric, ("inner_product", "cosine"))
    if len(embeddings) < 2:
        raise ValueError(f"retrieval needs at least two modalities, got {', '.join(embeddings) or 'none'}")
    vectors = {name: metrics.as_numpy(embeddings[name]).astype(np.float64) for name in MODALITIES if name in embeddings}
    shapes = {name: array.shape for name, array in vectors.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 or 0 in shape for shape in shapes.values()):
        raise ValueError(f"all modalities need embeddings (N, D) of the same N and D, got {shapes}")
    count = next(iter(shapes.values()))[0]
    if video_ids is not None and len(video_ids) != count:
        raise ValueError(f"{count} samples need {count} video ids, got {len(video_ids)}")
    for name, array in vectors.items():
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
            raise ModelError(f"the {name} embedding of sample {row} is not finite: the model has diverged")
    if metric == "cosine":
        lengths = {name: np.linalg.norm(array, axis=1, keepdims=True) for name, array in vectors.items()}
        vectors = {name: array / np.maximum(lengths[name], 1e-12) for name, array in vectors.items()}
    return vectors


def _check_name(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UnknownNameError(f"unknown {kind} '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}.")


def _put(report: dict[str, Any], name: str, part: dict[str, Any]) -> None:
    """Add a part of a report under its name, or at the top where it has none."""
    if name:
        report[name] = part
    else:
        report |= part


def _directions(
    vectors: Mapping[str, np.ndarray], groups: np.ndarray | None, ks: Sequence[int], ties: str
) -> dict[str, dict[str, float]]:
    """Measure every direction, and their mean."""
    report = {}
    for query, gallery in directions(vectors):
        blocks = score_blocks(vectors, groups, query, gallery)
        tables = [metrics.standings(scores, relevant, ties) for _, scores, relevant in blocks]
        report[f"{query}_to_{gallery}"] = metrics.summary(metrics.concatenate(tables), ks, ties)
    report["mean"] = {key: float(np.mean([row[key] for row in report.values()])) for key in next(iter(report.values()))}
    return report


def directions(modalities: Iterable[str]) -> list[tuple[str, str]]:
    """Return (query, gallery) of every direction between modalities given in canonical order."""
    return list(permutations(reversed(list(modalities)), 2))


def score_blocks(
    vectors: Mapping[str, np.ndarray], groups: np.ndarray | None, query: str, gallery: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Score the queries of one direction, a block at a time.

    Yields:
        The rows of the queries (q,), their scores (q, G) float32 against ``item_rows`` of the gallery, and which items
        are right: one number per query (q,), or a bool mask (q, G).
    """
    query_rows, gallery_rows = item_rows(vectors, groups, query), item_rows(vectors, groups, gallery)
    # Products of float32 embeddings are exact in float64 but for the order of summation, which differs within one
    # matrix product; rounding the scores back to float32 keeps equal items equal.
    items = vectors[gallery][gallery_rows].T
    for start in range(0, len(query_rows), BLOCK):
        rows = query_rows[start : start + BLOCK]
        scores = (vectors[query][rows] @ items).astype(np.float32)
        relevant = rows if groups is None else groups[rows][:, None] == groups[gallery_rows][None, :]
        yield rows, scores, relevant


def item_rows(vectors: Mapping[str, np.ndarray], groups: np.ndarray | None, modality: str) -> np.ndarray:
    """Return the rows that take part: all; of each video only the first if the modality is video and they repeat."""
    if groups is None or modality != "video":
        return np.arange(len(vectors[modality]))
    return np.sort(np.unique(groups, return_index=True)[1])


def _over_subsets(
    vectors: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
    ks: Sequence[int],
    ties: str,
    subsets: Sequence[np.ndarray],
) -> dict[str, dict[str, dict[str, float]]]:
    """Measure every direction on each set; mean and standard deviation over the sets."""
    reports = []
    for rows in subsets:
        part = {name: array[rows] for name, array in vectors.items()}
        reports.append(_directions(part, None if groups is None else groups[rows], ks, ties))
    result = {}
    for direction, first in reports[0].items():
        values = {key: [report[direction][key] for report in reports] for key in first}
        result[direction] = {key: {"mean": float(np.mean(v)), "std": _spread(v)} for key, v in values.items()}
    return result


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _table(rows: Mapping[str, Mapping[str, Any]], title: str) -> list[str]:
    keys = list(next(iter(rows.values())))
    cells = [[title, *(_heading(key) for key in keys)]]
    cells += [[name.replace("_", " "), *(_cell(key, row[key]) for key in keys)] for name, row in rows.items()]
    widths = [max(len(line[i]) for line in cells) for i in range(len(keys) + 1)]
    sides = ["<", *[">"] * len(keys)]
    columns = list(zip(sides, widths, strict=True))
    return ["  ".join(f"{cell:{s}{w}}" for cell, (s, w) in zip(line, columns, strict=True)) for line in cells]


def _heading(key: str) -> str:
    return {"map": "mAP", "median_rank": "median"}.get(key, key.replace("recall@", "R@"))


def _cell(key: str, value: float | Mapping[str, float]) -> str:
    scale = 1 if key == "median_rank" else 100
    if isinstance(value, Mapping):
        return f"{scale * value['mean']:.1f} ± {scale * value['std']:.1f}"
    return f"{scale * value:.1f}"

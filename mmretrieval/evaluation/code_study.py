"""What the codes of a trained model stand for: the words they hear and read, the actions and things they see.

Cross-modal discrete representation learning (arXiv 2106.05438) asks whether one code means one thing in every
modality; ``study_codes`` measures it on a manifest with word timings and labels, and better with the truth of a toy
world.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mmretrieval.data.dataset import Failure
from mmretrieval.data.manifest import Sample
from mmretrieval.errors import ManifestError, ModelError
from mmretrieval.evaluation.code_words import (
    DETECTS_FROM,
    HALF_WIDTH,
    STOP_WORDS,
    Detectors,
    Mention,
    agreement,
    detected,
    detectors,
    label_mentions,
    ranking,
    spoken_mentions,
    typed_mentions,
)
from mmretrieval.evaluation.codes import code_counts, usage_report
from mmretrieval.media.sampling import span_indices
from mmretrieval.media.video import open_video
from mmretrieval.model import RetrievalModel
from mmretrieval.search.heat import cell_centres, seen_box
from mmretrieval.search.query import speech_step, word_tokens
from mmretrieval.search.receptive import cell_offset
from mmretrieval.types import MODALITIES, Padded

LEAST = 5
"""Times a name must occur to be counted: what occurs once is found by some code by accident."""

Truth = dict[str, dict[str, Any]]


class Coded(NamedTuple):
    """One sample as codes.

    Of each modality its ``codes`` (N,), −1 where a position is not real; those of video unfold to ``grid`` (T, h, w).
    ``step`` is the seconds of a speech position.
    """

    sample: Sample
    codes: dict[str, np.ndarray]
    grid: tuple[int, ...]
    step: float


class Study(NamedTuple):
    """What ``study_codes`` found.

    ``report`` holds plain values for JSON; ``tables`` the counts behind it, by name: ``spoken words``, ``typed words``
    and every group of what is seen; ``coded`` the samples; ``failures`` those that could not be read; ``offset`` where
    in its cell a place of the video looks.
    """

    report: dict[str, Any]
    tables: dict[str, Detectors]
    coded: list[Coded]
    failures: list[Failure]
    offset: float


def read_truth(path: str | Path) -> Truth:
    """Read what is true about clips: JSON lines, by ``id``.

    A row may have ``setting`` and ``action`` (texts), and ``things``: a list of objects with ``kind``, ``colour`` and
    ``boxes``, of each frame of the clip [left, top, right, bottom] in pixels, or null where the thing is not to be
    seen. ``truth.jsonl`` of a toy world is such a file.

    Raises:
        ManifestError: The file is missing, or a line is no JSON object with an ``id``.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file of truth. It is a file of JSON lines, one clip each.") from None
    truth = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            truth[row["id"]] = row
        except (ValueError, KeyError, TypeError):
            raise ManifestError(f'{path}, line {number}: is no JSON object with an "id"') from None
    return truth


def study_codes(
    model: RetrievalModel,
    samples: Sequence[Sample],
    loaded: Iterable,
    truth: Truth | None = None,
    stop_words: Collection[str] = STOP_WORDS,
    half_width: float = HALF_WIDTH,
    least: int = LEAST,
    top: int = 20,
) -> Study:
    """Find out what each code stands for.

    Args:
        model: A trained model with a codebook.
        samples: The samples of a manifest.
        loaded: Loaded batches of them.
        truth: More that is known about them, by id; see ``read_truth``.
        stop_words: Words that are not looked at.
        half_width: Seconds on either side of a speech position's centre that count as spoken there.
        least: How often a name must occur.
        top: How many codes the agreement between seeing and hearing is measured on.

    Raises:
        ModelError: The model has no codebook, or it was never started.
        ManifestError: No clip could be read, or the truth does not belong to them.
    """
    if not model.discrete:
        why = "has no codebook" if model.codebook is None else "was saved before its codebook was started"
        raise ModelError(f"this model {why}: there are no codes to study. Train it with model.codebook")
    by_id = {sample.id: sample for sample in samples}
    coded, failures = encode_all(model, by_id, loaded)
    if not coded:
        first = f" The first: {failures[0].id}: {failures[0].reason}" if failures else ""
        raise ManifestError(f"none of the {len(samples)} clips could be read.{first}")
    if truth is not None and not any(row.sample.id in truth for row in coded):
        raise ManifestError(
            f"the truth says nothing about these clips: it has '{next(iter(truth), 'no clip')}', "
            f"they are '{coded[0].sample.id}' and {len(coded) - 1} more"
        )
    size = model.codebook.size
    offset = cell_offset(model, "video") if len(coded[0].grid) == 3 else 0.5
    tables = {}
    for name, said in (("spoken words", _spoken), ("typed words", _typed)):
        counts = detectors(said(model, coded, stop_words, half_width), size)
        tables[name] = counts.at_least(least)
    for name, seen in _seen(model, coded, truth or {}, offset).items():
        tables[name] = detectors(seen, size).at_least(least)
    tables = {name: table for name, table in tables.items() if table.names}
    usage = usage_report(
        {name: code_counts([row.codes[name] for row in coded], size) for name in MODALITIES if name in coded[0].codes}
    )
    return Study(_report(tables, usage, len(coded), top, least), tables, coded, failures, offset)


@torch.inference_mode()
def encode_all(model: RetrievalModel, by_id: dict[str, Sample], loaded: Iterable) -> tuple[list[Coded], list[Failure]]:
    """Return the codes of every sample that could be read, and the failures of the others."""
    was_training = model.training
    model.eval()
    coded, failures = [], []
    for part in loaded:
        failures += part.failures
        if part.batch is None:
            continue
        inputs = {
            name: Padded(*(tensor.to(model.device) for tensor in padded)) for name, padded in part.batch.inputs.items()
        }
        encodings = {name: model.encode(name, padded) for name, padded in inputs.items()}
        grid = tuple(encodings["video"].features.grid) if "video" in encodings else ()
        step = 0.0
        if "speech" in encodings:
            step = speech_step(model, inputs["speech"].mask.shape[1], encodings["speech"].features.mask.shape[1])
        for row, name in enumerate(part.batch.ids):
            codes = {m: e.quantized.codes[row].cpu().numpy() for m, e in encodings.items()}
            # the grid of a video must stay whole, and so must the place of every token: only the end is padding
            codes = {m: c if m == "video" else _without_end(c) for m, c in codes.items()}
            coded.append(Coded(by_id[name], codes, grid, step))
    model.train(was_training)
    return coded, failures


def _without_end(codes: np.ndarray) -> np.ndarray:
    """Return codes (N,) without the padding behind the last real one."""
    return codes[: int(np.flatnonzero(codes >= 0)[-1]) + 1]


def _spoken(model: RetrievalModel, coded: list[Coded], stop_words: Collection[str], half_width: float):
    """Yield codes and spoken words of every sample whose words have times."""
    offset = None
    for row in coded:
        if "speech" not in row.codes or not row.sample.words:
            continue
        if offset is None:
            offset = cell_offset(model, "speech")
        codes = row.codes["speech"]
        yield codes, spoken_mentions(row.sample.words, len(codes), row.step, offset, half_width, stop_words)


def _typed(model: RetrievalModel, coded: list[Coded], stop_words: Collection[str], half_width: float):
    """Yield codes and typed words of every sample."""
    for row in coded:
        if "text" in row.codes:
            words = word_tokens(model.processor.tokenizer, row.sample.text)
            yield row.codes["text"], typed_mentions(words, len(row.codes["text"]), stop_words)


def _seen(model: RetrievalModel, coded: list[Coded], truth: Truth, offset: float) -> dict[str, list]:
    """Return by group what is seen: (codes, mentions) of each sample.

    Groups of whole clips count a code once a clip: precision is P(label | code), recall P(code | label). Those that
    end in "position" count every position of the clip. With boxes, "… in place" asks for the thing under a position.
    """
    groups: dict[str, list] = {}
    for row in coded:
        if "video" not in row.codes:
            continue
        codes, facts = row.codes["video"], truth.get(row.sample.id, {})
        used = np.unique(codes[codes >= 0])
        for group, names in _names(row.sample, facts).items():
            groups.setdefault(group, []).append((used, label_mentions(names, len(used))))
            groups.setdefault(f"{group}, by position", []).append((codes, label_mentions(names, len(codes))))
        boxed = [thing for thing in facts.get("things", []) if thing.get("boxes")]
        if boxed and len(row.grid) == 3:
            centres = [_places(model, row, thing, offset) for thing in boxed]
            for group in ("thing", "colour"):
                key = "kind" if group == "thing" else group
                mentions = [
                    Mention(t[key], at, at) for t, at in zip(boxed, centres, strict=True) if key in t and at.any()
                ]
                groups.setdefault(f"{group} in place", []).append((codes, mentions))
    return groups


def _names(sample: Sample, facts: dict[str, Any]) -> dict[str, list[str]]:
    """Return what holds of a whole clip, by group."""
    things = facts.get("things", [])
    names = {
        "label": list(sample.labels),
        "setting": [facts["setting"]] if facts.get("setting") else [],
        "thing": [thing["kind"] for thing in things if thing.get("kind")],
        "colour": [thing["colour"] for thing in things if thing.get("colour")],
    }
    if facts.get("action") and facts["action"] not in sample.labels:
        names["action"] = [facts["action"]]
    return {group: found for group, found in names.items() if found}


def _places(model: RetrievalModel, row: Coded, thing: dict[str, Any], offset: float) -> np.ndarray:
    """Return (N,) bool: the positions of a video whose centre lies on a thing."""
    boxes = thing["boxes"]
    frame, frames, fps = _shape(row.sample.video, row.sample.start, row.sample.end)
    if len(boxes) != frames:
        raise ManifestError(
            f"the truth about '{row.sample.id}' has boxes for {len(boxes)} frames, its clip has {frames}: "
            "one box, or null, is needed for each"
        )
    rows, columns = cell_centres(seen_box(frame, model.processor.clip_spec), row.grid[1:], offset)
    inside = np.zeros(row.grid, bool)
    for number, chosen in enumerate(model.processor.choose_frames(frames, fps)[: row.grid[0]]):
        if (box := boxes[chosen]) is not None:
            across = (columns >= box[0]) & (columns < box[2])
            inside[number] = ((rows >= box[1]) & (rows < box[3]))[:, None] & across
    return inside.ravel()


@lru_cache(maxsize=64)
def _shape(video: str, start: float | None, end: float | None) -> tuple[tuple[int, int], int, float]:
    """Return height and width of a video, the frames of a span of it, and its frames per second."""
    with open_video(video) as reader:
        return (reader.info.height, reader.info.width), len(span_indices(reader.times, start, end)), reader.fps


def _report(tables: dict[str, Detectors], usage: dict, clips: int, top: int, least: int) -> dict[str, Any]:
    """Return plain values, ready for JSON."""
    rankings = {name: ranking(table) for name, table in tables.items()}
    seen = best_seen(rankings)
    spoken = rankings.get("spoken words", [])
    words = {
        name: {"names": len(tables[name].names), "detected": detected(tables[name]), "ranking": rankings[name]}
        for name in tables
    }
    return {
        "clips": clips,
        "least": least,
        "detected_from": DETECTS_FROM,
        "usage": usage,
        "groups": words,
        "seen": seen,
        "agreement": agreement(seen, spoken, top) if spoken and seen else None,
    }


def best_seen(rankings: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return each code with what it shows best in any group of what is seen, the best first.

    Boxes, where there are any, decide about things and colours; whole clips about everything else.
    """
    best: dict[int, dict[str, Any]] = {}
    for group, rows in rankings.items():
        if "words" in group or "by position" in group or f"{group} in place" in rankings:
            continue
        for row in rows:
            if row["code"] not in best or row["f1"] > best[row["code"]]["f1"]:
                best[row["code"]] = {**row, "group": group}
    return sorted(best.values(), key=lambda row: (-row["f1"], -row["precision"], row["name"], row["code"]))

"""How well heat-maps find the things of a toy world that a caption mentions.

    python benchmarks/localize.py MODEL WORLD [--clips N] [--sizes 64 128] [--out localize.json]

Pointing game: is the hottest place of a frame inside the thing's box? Every mentioned thing counts in every frame that
was looked at and in which it is to be seen. IoU: the heat of a frame, scaled to 0–1, cut at one threshold for all. The
same things in the same frames are pointed at by the middle of the picture, and by the best fixed point. Whatever is
chosen (fixed point, threshold, size and method of the headline) is chosen on the validation split; the figures are
those of the test split.

A thing is asked for by its noun phrase as the caption has it ("a red dog"), by its noun and by its colour alone, and
to see what the model goes by, with another thing's colour and with another noun. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from mmretrieval.data.manifest import Sample, read_manifest
from mmretrieval.model import RetrievalModel
from mmretrieval.search.localize import METHODS, Localizer
from mmretrieval.search.query import Query, speech_query, text_query
from mmretrieval.toyworld.scene import FPS, SIZE
from mmretrieval.toyworld.vocabulary import COLOUR_WORDS, KINDS

THRESHOLDS = np.linspace(0.05, 0.95, 19)
RASTER = 64
"""Pixels along which IoU is measured."""
EVERY_METHOD = ("phrase", "noun")
"""Ways of asking that every method is tried on; the others are tried with the codes alone."""


@dataclass
class Thing:
    """One mentioned thing: its words in the caption, and its box in every frame of the clip."""

    kind: str
    colour: str
    phrase: str
    noun: str
    hue: str
    boxes: list


@dataclass
class Tally:
    """What one way of asking has reached."""

    hits: list[bool] = field(default_factory=list)
    overlaps: list[np.ndarray] = field(default_factory=list)

    @property
    def pointing(self) -> float:
        return float(np.mean(self.hits))

    @property
    def overlap(self) -> np.ndarray:
        """Mean IoU at each threshold."""
        return np.mean(self.overlaps, axis=0)


def find(words: list[str], options: tuple[str, ...]) -> tuple[int, int] | None:
    """Return first and last word of whichever option a caption has."""
    for option in sorted(options, key=len, reverse=True):
        parts = option.split()
        for start in range(len(words) - len(parts) + 1):
            if words[start : start + len(parts)] == parts:
                return start, start + len(parts)
    return None


def mentioned(row: dict) -> Iterator[Thing]:
    words = row["text"].split()
    for thing in row["things"]:
        if thing["role"] == "distractor":
            continue
        noun, hue = find(words, KINDS[thing["kind"]].words), find(words, COLOUR_WORDS[thing["colour"]])
        if noun is None or hue is None:
            continue
        first, last = min(noun[0], hue[0]), max(noun[1], hue[1])
        said = [" ".join(words[slice(*span)]) for span in ((first, last), noun, hue)]
        yield Thing(thing["kind"], thing["colour"], *said, thing["boxes"])


def span_of(sample: Sample, phrase: str) -> tuple[float, float]:
    words, parts = [word for word, _, _ in sample.words], phrase.split()
    start = next(i for i in range(len(words)) if words[i : i + len(parts)] == parts)
    return sample.words[start][1], sample.words[start + len(parts) - 1][2]


def questions(model: RetrievalModel, sample: Sample, thing: Thing, row: dict, rng) -> dict[str, Query]:
    """Every way of asking for a thing."""
    hues = [c for c in COLOUR_WORDS if c not in {other["colour"] for other in row["things"]}]
    kinds = [k for k in KINDS if k not in {other["kind"] for other in row["things"]}]
    other_hue, other_noun = COLOUR_WORDS[rng.choice(hues)][0], KINDS[rng.choice(kinds)].words[0]
    asked = {
        "phrase": text_query(model, sample.text, thing.phrase),
        "noun": text_query(model, sample.text, thing.noun),
        "colour": text_query(model, sample.text, thing.hue),
        "whole caption": text_query(model, sample.text),
        "another colour": text_query(model, f"{other_hue} {thing.noun}"),
        "another noun": text_query(model, f"{thing.hue} {other_noun}"),
    }
    if "speech" in model.modalities and sample.words:
        asked["spoken phrase"] = speech_query(model, sample.speech, *span_of(sample, thing.phrase))
        asked["spoken noun"] = speech_query(model, sample.speech, *span_of(sample, thing.noun))
    return asked


def inside(box: list, point: np.ndarray) -> bool:
    return bool(box[0] <= point[0] < box[2] and box[1] <= point[1] < box[3])


def raster(box: list) -> np.ndarray:
    """A box as pixels whose centres it covers, (RASTER, RASTER) bool."""
    centres = (np.arange(RASTER) + 0.5) * SIZE / RASTER
    return ((centres >= box[1]) & (centres < box[3]))[:, None] & ((centres >= box[0]) & (centres < box[2]))


def overlaps(heat: np.ndarray, target: np.ndarray) -> np.ndarray:
    """IoU of the part of a frame at or above each threshold."""
    scaled = (heat - heat.min()) / max(heat.max() - heat.min(), 1e-12)
    passed = np.searchsorted(THRESHOLDS, scaled, side="right")  # how many thresholds each pixel reaches
    reached, hit = (
        np.bincount(which, minlength=len(THRESHOLDS) + 1)[::-1].cumsum()[::-1][1:]
        for which in (passed.ravel(), passed[target])
    )
    return hit / (reached + target.sum() - hit)


def measure(model, samples, truth, sizes: list[int]) -> tuple[dict[tuple, Tally], list[list]]:
    """Return a tally for each (size, way of asking, method), and all boxes that were to be found."""
    tallies: dict[tuple, Tally] = {}
    found_boxes = []
    methods = [name for name in METHODS if model.discrete or name in ("features", "left_out")]
    localizers, rng = [Localizer(model, size) for size in sizes], np.random.default_rng(0)
    for sample in tqdm(samples, unit=" clips", disable=None):
        clips, row = [localizer.clip(sample.video) for localizer in localizers], truth[sample.id]
        for thing in mentioned(row):
            boxes = [thing.boxes[round(float(time) * FPS)] for time in clips[0].times]
            found_boxes += [box for box in boxes if box is not None]
            asked = questions(model, sample, thing, row, rng)
            for localizer, clip in zip(localizers, clips, strict=True):
                for way, query in asked.items():
                    for method in methods if way in EVERY_METHOD else methods[:1]:
                        heat = localizer.heat(clip, query, method)
                        tally = tallies.setdefault((localizer.size, way, method), Tally())
                        whole = heat.upsample(size=(RASTER, RASTER))
                        for box, peak, frame in zip(boxes, heat.peaks(), whole, strict=True):
                            if box is not None:
                                tally.hits.append(inside(box, peak))
                                tally.overlaps.append(overlaps(frame, raster(box)))
    return tallies, found_boxes


def priors(val: list, test: list) -> dict[str, dict[str, float]]:
    """What needs no model: the middle, the best fixed point, the best centred square and the mean box of val."""
    covered = np.mean([raster(box) for box in val], axis=0)
    row, column = np.unravel_index(covered.argmax(), covered.shape)
    points = {"centre": (SIZE / 2, SIZE / 2), "best fixed point": ((column + 0.5) * 2, (row + 0.5) * 2)}
    squares = [[SIZE / 2 - half, SIZE / 2 - half, SIZE / 2 + half, SIZE / 2 + half] for half in range(8, 65, 2)]
    areas = {"centre": max(squares, key=lambda square: iou(square, val)), "best fixed point": np.mean(val, axis=0)}
    return {
        name: {"pointing": float(np.mean([inside(box, point) for box in test])), "iou": iou(areas[name], test)}
        for name, point in points.items()
    }


def iou(area: list, boxes: list) -> float:
    """Mean IoU of one fixed area with boxes."""
    mine = raster(area)
    return float(np.mean([(mine & other).sum() / (mine | other).sum() for other in map(raster, boxes)]))


def knows(model: RetrievalModel, samples, truth) -> dict[str, float]:
    """How often a video prefers its caption to the same one with another noun, or another colour (chance: 50 %)."""
    rng, wins = np.random.default_rng(1), {"noun": [], "colour": []}
    videos = model.embed_video(sample.video for sample in samples)
    for sample, video in zip(samples, videos, strict=True):
        for thing in mentioned(truth[sample.id]):
            hues = [c for c in COLOUR_WORDS if c != thing.colour]
            nouns = [k for k in KINDS if k != thing.kind]
            swaps = {
                "noun": (thing.noun, KINDS[rng.choice(nouns)].words[0]),
                "colour": (thing.hue, COLOUR_WORDS[rng.choice(hues)][0]),
            }
            changed = [f" {sample.text} ".replace(f" {old} ", f" {new} ", 1) for old, new in swaps.values()]
            scores = model.embed_text([sample.text, *changed]) @ video
            for name, score in zip(swaps, scores[1:], strict=True):
                wins[name].append(scores[0] > score)
    return {name: float(np.mean(won)) for name, won in wins.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("world", type=Path)
    parser.add_argument("--clips", type=int, default=None, help="of each split; all when not given")
    parser.add_argument("--sizes", type=int, nargs="+", default=None)
    parser.add_argument("--out", type=Path, default=Path("localize.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = RetrievalModel.from_pretrained(arguments.model)
    trained = model.processor.clip_spec.size
    rows = (json.loads(line) for line in (arguments.world / "truth.jsonl").read_text("utf-8").splitlines())
    truth = {row["id"]: row for row in rows}
    splits = {name: read_manifest(arguments.world / f"{name}.jsonl").samples for name in ("val", "test")}
    splits = {name: samples[: arguments.clips] for name, samples in splits.items()}
    sizes = arguments.sizes or [trained, 2 * trained]
    (val, val_boxes), (test, test_boxes) = (measure(model, splits[name], truth, sizes) for name in ("val", "test"))
    baseline = priors(val_boxes, test_boxes)
    centre = baseline["centre"]["pointing"]
    results = []
    for (size, way, method), tally in sorted(test.items(), key=lambda entry: entry[0][0]):
        chosen = int(val[size, way, method].overlap.argmax())
        results.append(
            {
                "size": size, "asked by": way, "method": method, "pointing": tally.pointing,
                "against centre": tally.pointing / centre, "iou": float(tally.overlap[chosen]),
                "threshold": float(THRESHOLDS[chosen]), "val pointing": val[size, way, method].pointing,
            }
        )  # fmt: skip
    report = {
        "things in frames": {"val": len(val_boxes), "test": len(test_boxes)},
        "priors": baseline,
        "caption preferred to a swapped": knows(model, splits["test"], truth),
        "results": results,
    }
    show(report)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def show(report: dict) -> None:
    print(f"{report['things in frames']['test']} things in frames of the test split")
    print(
        f"{'size':>5} {'asked by':16} {'method':14} {'pointing':>9} {'× centre':>9} {'IoU':>6} {'(val pointing)':>15}"
    )
    for name, row in report["priors"].items():
        print(f"{'':5} {name:31} {row['pointing']:9.1%} {'':9} {row['iou']:6.3f}")
    for row in report["results"]:
        print(
            f"{row['size']:5d} {row['asked by']:16} {row['method']:14} {row['pointing']:9.1%} "
            f"{row['against centre']:9.2f} {row['iou']:6.3f} {row['val pointing']:15.1%}"
        )
    for name, share in report["caption preferred to a swapped"].items():
        print(f"a video prefers its caption to one with another {name}: {share:.1%} (chance 50 %)")
    for way in EVERY_METHOD:
        best = max((row for row in report["results"] if row["asked by"] == way), key=lambda row: row["val pointing"])
        print(
            f"chosen on val for the {way}: {best['method']} at {best['size']} px: {best['pointing']:.1%} on test, "
            f"{best['against centre']:.2f} × the centre prior"
        )


if __name__ == "__main__":
    main()

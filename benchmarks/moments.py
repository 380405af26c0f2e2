"""Does a search find the moment, and does it know when there is none? Measured on the toy world's long videos.

``mmretrieval toyworld WORLD --clips N --long M`` writes videos of several scenes with gaps in which nothing happens.
They are cut into overlapping windows; every caption of a scene is asked, typed and spoken, and an answer is right when
the span that is shown overlaps the scene's own by at least half of their union.

Then every caption is asked a second time, with all moments that show any of its scene left out: how well do scores
tell the two apart, and is the confidence that is shown true?

    python benchmarks/moments.py runs/demo/model world [--collection FOLDER] [--out moments.json]
"""

from __future__ import annotations

import argparse
import inspect
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mmretrieval.collection import Collection
from mmretrieval.data.manifest import Sample, read_manifest
from mmretrieval.media.audio import read_audio, trim_silence
from mmretrieval.media.video import open_video
from mmretrieval.model import RetrievalModel
from mmretrieval.search.ranking import best_moments, rank
from mmretrieval.search.searcher import Searcher

WINDOW, STRIDE = 3.0, 1.5
TOP = 5
BARS = {"text": 0.85, "speech": 0.75}
RIGHT = 0.5
"""Intersection over union from which on a span is right."""
TESTS = 8
"""Independent draws of noise that are asked, as a query nobody meant."""


def spans(duration: float) -> list[tuple[float, float]]:
    """Cut a video into overlapping windows; the last one ends where it ends."""
    count = int(max(0.0, duration - WINDOW) // STRIDE) + 1
    found = [(number * STRIDE, min(number * STRIDE + WINDOW, duration)) for number in range(count)]
    rest = duration - found[-1][1]
    return found + [(duration - WINDOW, duration)] * (rest > 1e-3)


def build(folder: Path, world: Path, model: RetrievalModel, model_folder: Path) -> Collection:
    """Make the long videos searchable."""
    if (folder / "manifest.json").exists():
        return Collection.open(folder)
    if "stride" in inspect.signature(Collection.build).parameters:
        return Collection.build(folder, [world / "long"], model, model_folder, window=WINDOW, stride=STRIDE)
    rows = []
    for path in sorted((world / "long").glob("*.mp4")):
        with open_video(path, "pyav") as video:
            duration = int(video.duration * 1000) / 1000
        rows += [
            {"id": f"{path.stem}@{start:.2f}", "video": str(path.absolute()), "start": start, "end": end}
            for start, end in spans(duration)
        ]
    with tempfile.TemporaryDirectory() as place:
        manifest = Path(place, "windows.jsonl")
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return Collection.build(folder, [manifest], model, model_folder)


def overlap(hit: Any, scene: Sample) -> float:
    """Return the intersection over union of a span and a scene's, in the same video."""
    if Path(hit.path).name != Path(scene.video).name:
        return 0.0
    shared = min(hit.end, scene.end) - max(hit.start, scene.start)
    return max(0.0, shared) / (max(hit.end, scene.end) - min(hit.start, scene.start))


def found(searcher: Searcher, scenes: list[Sample], modality: str, **options: Any) -> dict[str, float]:
    """Ask for every scene; return the shares with the right span at the top and among the first five."""
    best = []
    for scene in scenes:
        answer = searcher.search(**{modality: getattr(scene, modality)}, k=TOP, **options)
        best.append([overlap(hit, scene) for hit in answer] + [0.0] * (TOP - len(answer)))
    overlaps = np.array(best)
    seen = overlaps.max(axis=1)
    return {
        "top 5": float((seen >= RIGHT).mean()),
        "top 1": float((overlaps[:, 0] >= RIGHT).mean()),
        "top 5, any overlap": float((seen > 0).mean()),
        "mean overlap of these": float(seen[seen > 0].mean()) if (seen > 0).any() else 0.0,
    }


def embed(model: RetrievalModel, scenes: list[Sample], modality: str) -> np.ndarray:
    """Return the embeddings (n, D) of all captions of one modality, as a search makes them."""
    if modality == "text":
        return model.embed_text(scene.text for scene in scenes)
    return model.embed_speech(trim_silence(read_audio(scene.speech)) for scene in scenes)


def rows_of(searcher: Searcher, scene: Sample) -> np.ndarray:
    """Return which moments show any of a scene, (n,) bool."""
    codes, paths = searcher.gallery.paths
    names = np.array([Path(path).name for path in paths])[codes]
    return (
        (names == Path(scene.video).name)
        & (searcher.gallery.starts < scene.end)
        & (searcher.gallery.ends > scene.start)
    )


def calibrate(searcher: Searcher, scenes: list[Sample], modality: str) -> dict[str, Any]:
    """Compare best scores of captions with those of the same captions without their scene.

    ``statistics`` are areas under the ROC curve of things that could be looked at; ``fitted`` is the curve that suits
    this world best; "kept" is the share of answers that stay "a match" at the threshold, of the captions that have one
    and of those that have none; "error" is the mean gap between confidence and truth over ten bins.
    """
    queries = embed(searcher.model, scenes, modality)
    there, gone = [], []
    for query, scene in zip(queries, scenes, strict=True):
        shows = rows_of(searcher, scene)
        there.append(statistics(searcher, query, None))
        gone.append(statistics(searcher, query, np.flatnonzero(~shows)))
    truth = np.r_[np.ones(len(there)), np.zeros(len(gone))]
    table = {name: [row[name] for row in (*there, *gone)] for name in there[0]}
    deviations = searcher.calibration.deviations(modality, np.array(table["score"]))
    confidence = searcher.calibration.confidence(modality, np.array(table["score"]))
    curve = LogisticRegression(C=1e6).fit(deviations[:, None], truth)
    slope = float(curve.coef_[0, 0])
    match = confidence >= searcher.calibration.threshold
    return {
        "statistics": {name: float(roc_auc_score(truth, values)) for name, values in table.items()},
        "fitted": {"slope": slope, "centre": float(-curve.intercept_[0] / slope)},
        "kept, with an answer": float(match[truth == 1].mean()),
        "kept, without": float(match[truth == 0].mean()),
        "precision": float(truth[match].mean()) if match.any() else 0.0,
        "error": calibration_error(confidence, truth),
    }


def statistics(searcher: Searcher, query: np.ndarray, rows: np.ndarray | None) -> dict[str, float]:
    """Return what might tell a right answer from the best of many wrong ones."""
    scores = searcher.gallery.embeddings @ query
    scores = scores if rows is None else scores[rows]
    best = rank(searcher.gallery, query, 6, rows)
    tail = np.sort(best_moments(searcher.gallery, query, len(scores), rows)[0])[-len(scores) // 10 :]
    median = np.median(scores)
    return {
        "score": best[0].score,
        "z-score": (best[0].score - scores.mean()) / scores.std(),
        "robust z-score": (best[0].score - median) / np.median(np.abs(scores - median)),
        "above the median": best[0].score - median,
        "above the next hit": best[0].score - best[1].score,
        "above the next five": best[0].score - np.mean([group.score for group in best[1:]]),
        "extreme value": (best[0].score - tail[0]) / (tail[:-1] - tail[0]).mean(),
    }


def calibration_error(confidence: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean distance between what is claimed and what is true, over ten bins of claims."""
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [abs(confidence[bins == one].mean() - truth[bins == one].mean()) * (bins == one).sum() for one in set(bins)]
    return float(sum(gaps) / len(truth))


def calibrate_examples(searcher: Searcher, count: int = 200) -> dict[str, Any]:
    """The same for example clips: moments asked for with their neighbours there, and with their video taken out."""
    gallery = searcher.gallery
    chosen = np.random.default_rng(0).permutation(len(gallery))[:count]
    scores, truth = [], []
    for row in chosen:
        same = gallery.videos == gallery.videos[row]
        beside = same & (gallery.starts < gallery.ends[row]) & (gallery.ends > gallery.starts[row])
        beside[row] = False
        if not beside.any():
            continue
        similar = gallery.embeddings @ gallery.embeddings[row]
        scores += [similar[beside | ~same].max(), similar[~same].max()]
        truth += [1, 0]
    truth_of, best = np.array(truth), np.array(scores)
    deviations = searcher.calibration.deviations("video", best)
    confidence = searcher.calibration.confidence("video", best)
    curve = LogisticRegression(C=1e6).fit(deviations[:, None], truth_of)
    slope, match = float(curve.coef_[0, 0]), confidence >= searcher.calibration.threshold
    return {
        "statistics": {"score": float(roc_auc_score(truth_of, best))},
        "fitted": {"slope": slope, "centre": float(-curve.intercept_[0] / slope)},
        "kept, with an answer": float(match[truth_of == 1].mean()),
        "kept, without": float(match[truth_of == 0].mean()),
        "precision": float(truth_of[match].mean()) if match.any() else 0.0,
        "error": calibration_error(confidence, truth_of),
    }


def noise(searcher: Searcher) -> list[float]:
    """Return the confidence of the best answers to noise."""
    random = np.random.default_rng(1)
    sounds = [(0.1 * random.standard_normal(16_000 * seconds)).astype(np.float32) for seconds in range(1, TESTS + 1)]
    return [searcher.search(speech=sound, k=1)[0].confidence for sound in sounds]


def show(report: dict[str, Any]) -> None:
    print(f"{report['moments']} moments of {report['videos']} videos, {report['scenes']} scenes asked for")
    names = list(next(iter(report["found"].values())))
    print(f"{'asked, shown':32}" + "".join(f"{name:>24}" for name in names))
    for way, row in report["found"].items():
        print(f"{way:32}" + "".join(f"{row[name]:24.3f}" for name in names))
    for modality, row in report["calibration"].items():
        print(f"{modality}: with its answer there, or taken out")
        print("   ROC area: " + ", ".join(f"{name} {value:.3f}" for name, value in row["statistics"].items()))
        print(
            f"   called a match: {row['kept, with an answer']:.1%} with an answer, {row['kept, without']:.1%} without; "
            f"precision {row['precision']:.1%}; error of the confidence {row['error']:.3f}; "
            f"best curve here: slope {row['fitted']['slope']:.2f}, centre {row['fitted']['centre']:.2f}"
        )
    print("confidence of noise: " + ", ".join(f"{value:.2f}" for value in report["noise"]))
    for modality, bar in BARS.items():
        reached = report["found"][f"{modality}, merged"]["top 5"]
        print(f"{modality}: {reached:.1%} in the top {TOP}, bar {bar:.0%}: {'reached' if reached >= bar else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("world", type=Path)
    parser.add_argument("--collection", type=Path, help="where to keep the collection; a temporary one if not given")
    parser.add_argument("--out", type=Path, default=Path("moments.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = RetrievalModel.from_pretrained(arguments.model)
    scenes = read_manifest(arguments.world / "long.jsonl").samples
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.collection or Path(place, "collection")
        searcher = Searcher(model, build(folder, arguments.world, model, arguments.model))
        ways = {"merged": {}, "not folded": {"fold": False}, "not merged": {"merge": False, "fold": False}}
        report = {
            "moments": len(searcher.collection),
            "videos": int(searcher.gallery.videos.max()) + 1,
            "scenes": len(scenes),
            "found": {
                f"{modality}, {way}": found(searcher, scenes, modality, **options)
                for modality in BARS
                for way, options in ways.items()
            },
            "calibration": {
                **{modality: calibrate(searcher, scenes, modality) for modality in BARS},
                "video": calibrate_examples(searcher),
            },
            "noise": noise(searcher),
        }
    show(report)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

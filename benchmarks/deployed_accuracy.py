"""What lower precision costs a trained recognition model: its accuracy with the backbone deployed in fp32, bf16, int8.

    python benchmarks/deployed_accuracy.py MODEL TEST.jsonl --calibration TRAIN.jsonl [--clips 64] [--out accuracy.json]

int8 takes the ranges of activations from a few training clips, never from those it is measured on. Prints top-1, the
opposites told apart (see ``mmretrieval evaluate``), how far features are from the original's, and writes JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmretrieval.backbones.deploy import deploy
from mmretrieval.data.dataset import ClipDataset, create_loader
from mmretrieval.data.manifest import Sample, read_manifest
from mmretrieval.environment import environment
from mmretrieval.media.transforms import normalize
from mmretrieval.recognizer import Recognizer
from mmretrieval.run import consecutive
from mmretrieval.training.recognition import evaluate_recognizer
from mmretrieval.types import Padded

PRECISIONS = ("fp32", "bf16", "int8")


def labelled(manifest: Path) -> list[Sample]:
    return [sample for sample in read_manifest(manifest).samples if sample.labels]


def batches(model: Recognizer, samples: list[Sample], workers: int, size: int = 32):
    dataset = ClipDataset(samples, model.processor, ["video"], train=False)
    return create_loader(dataset, consecutive(len(samples), size), workers)


def normalized(model: Recognizer, samples: list[Sample], workers: int) -> list[Padded]:
    """The clips as a backbone sees them."""
    spec = model.encoder.spec
    inputs = [part.batch.inputs["video"] for part in batches(model, samples, workers)]
    return [Padded(normalize(frames.values, spec.mean, spec.std), frames.mask) for frames in inputs]


def measure(model: Recognizer, test: list[Sample], calibration: list[Sample], pairs: list, workers: int) -> list[dict]:
    clips, original = normalized(model, calibration, workers), model.encoder.backbone
    rows = []
    for precision in ("undeployed", *PRECISIONS):
        deployed = None if precision == "undeployed" else deploy(original, precision, clips)
        model.encoder.backbone = original if deployed is None else deployed
        report = evaluate_recognizer(model, batches(model, test, workers), test, pairs)["recognition"]
        error = 0.0 if deployed is None else deployed.report.error
        rows.append({"precision": precision, "error": error} | {key: report[key] for key in ("top1", "opposites")})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=64, help="training clips for the ranges of activations")
    parser.add_argument("--pairs", nargs="*", default=[], metavar="A/B", help="classes that only order tells apart")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("accuracy.json"))
    options = parser.parse_args()
    model = Recognizer.from_pretrained(options.model)
    pairs = [tuple(pair.split("/")) for pair in options.pairs]
    calibration = labelled(options.calibration)[: options.clips]
    test = labelled(options.test)
    rows = measure(model, test, calibration, pairs, options.workers)
    print(f"{'precision':12} {'top-1':>7} {'change':>7} {'opposites':>10} {'features differ':>16}")
    for row in rows:
        apart = "–" if row["opposites"] is None else f"{row['opposites']:.1%}"
        change = 100 * (row["top1"] - rows[0]["top1"])
        print(f"{row['precision']:12} {row['top1']:7.1%} {change:+7.1f} {apart:>10} {row['error']:16.2%}")
    content = {"model": str(options.model), "clips": len(test), "rows": rows, "environment": environment()}
    options.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

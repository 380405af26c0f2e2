"""What round 1 gains from the feature cache: frozen encoders look at a clip once, instead of at every epoch.

    python benchmarks/features.py [--clips 128] [--backbone tsm_resnet18] [--size 112] [--out features.json]

Renders a little toy world, freezes the video and the text encoder and trains the rest for one epoch each way: reading,
decoding and encoding every clip, and from the cache. Both run the same loop, loader, loss and optimiser, in this
process, one after the other, and the best of each way's epochs counts. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from accelerate import Accelerator

from mmretrieval.data.dataset import ClipDataset, create_loader
from mmretrieval.data.features import FeatureStore
from mmretrieval.data.manifest import Sample, read_manifest
from mmretrieval.data.sampler import EpochSampler
from mmretrieval.environment import environment
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.model import RetrievalModel
from mmretrieval.objectives import build_objective
from mmretrieval.toyworld.corpus import build
from mmretrieval.training.feature_cache import CacheSettings, build_features
from mmretrieval.training.freeze import freeze
from mmretrieval.training.loop import to_device
from mmretrieval.training.optim import create_optimizer
from mmretrieval.training.retrieval import RetrievalTask

RATES = {"branches.video.encoder": 0.0, "branches.text.encoder": 0.0}


def create_model(arguments: argparse.Namespace, samples: list[Sample]) -> RetrievalModel:
    pooling = {"pool": "mean", "norm": "batch", "pool_number": 10}
    video = {"backbone": {"name": arguments.backbone}, "frames": 8, "size": arguments.size, "fps": None, **pooling}
    text = {"encoder": {"name": "text_transformer"}, "vocab_size": 400, "max_tokens": 48, **pooling}
    codebook = {"size": 128, "dim": 128, "decay": 0.99, "distance": "l2", "tau": 1.0, "revive_after": 100}
    config = {"dim": 512, "similarity": "cosine", "scale": 20.0, "head": "glu", "dropout": 0.0}
    config |= {"video": video, "text": text, "codebook": codebook if arguments.codebook else None}
    torch.manual_seed(0)
    model = RetrievalModel.from_config(config, Tokenizer.train([sample.text for sample in samples], 400))
    freeze(model, RATES)
    return model.train()


def epoch(model: RetrievalModel, samples: list[Sample], store: FeatureStore | None, batch_size: int) -> float:
    """Train one epoch and return clips per second, reading included."""
    task = RetrievalTask(model, model, build_objective({"amm": {}, "cmcm": {}}), samples, None, [], 0.0)
    optimizer = create_optimizer(model, 1e-3, 0.0, RATES)
    dataset = ClipDataset(samples, model.processor, ("video", "text"), train=True, features=store)
    sampler = EpochSampler(len(samples), batch_size, seed=0)
    begin = time.perf_counter()
    for step, loaded in enumerate(create_loader(dataset, sampler)):
        task.before_step(step, len(sampler))
        total, _ = task.losses(to_device(loaded.batch, model.device))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        task.after_step()
    return len(sampler) * batch_size / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--backbone", default="tsm_resnet18")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--codebook", action="store_true", help="with codes: all positions are kept, not their mean")
    parser.add_argument("--world", type=Path, help="a toy world that is there already")
    parser.add_argument("--out", type=Path, default=Path("features.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = arguments.world or Path(folder) / "world"
        if arguments.world is None:
            build(world, arguments.clips, seed=0)
        samples = read_manifest(world / "train.jsonl").samples[: arguments.clips]
        model = create_model(arguments, samples)
        begin = time.perf_counter()
        store = build_features(
            Path(folder) / "cache", model, samples, [], ("video", "text"), CacheSettings(), Accelerator(cpu=True)
        )
        filling = time.perf_counter() - begin
        kept = sum(path.stat().st_size for path in Path(folder).glob("cache/*/rows-*.bin"))
        each, cached = [], []
        for _ in range(arguments.rounds):
            each.append(epoch(model, samples, None, arguments.batch))
            cached.append(epoch(model, samples, store, arguments.batch))
    report = {
        "backbone": arguments.backbone,
        "size": arguments.size,
        "clips": len(samples),
        "codebook": arguments.codebook,
        "decoding_and_encoding": max(each),
        "from_the_cache": max(cached),
        "ratio": max(cached) / max(each),
        "filling_seconds": filling,
        "bytes_per_clip": kept / len(samples),
        "environment": environment(),
    }
    print(f"{'decoding and encoding each time':34} {report['decoding_and_encoding']:9.1f} clips/s   × 1.0")
    print(f"{'from the cache':34} {report['from_the_cache']:9.1f} clips/s   × {report['ratio']:.1f}")
    print(f"filled once in {filling:.1f} s, {report['bytes_per_clip'] / 1024:.1f} KiB per clip and caption")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

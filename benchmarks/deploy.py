"""How fast deployed backbones are, against PyTorch as one would first write it, in one run.

    python benchmarks/deploy.py [--networks resnet50 tam_resnet50 tsm_resnet_tiny] [--batches 1 8] [--rounds 5]
        [--frames 8] [--size 224] [--precisions fp32 bf16 int8] [--threads 2] [--out deploy.json]

For each network and number of clips: contiguous memory in fp32 (plain), the zoo's channels-last memory in fp32, and
what ``deploy`` makes of it in fp32, int8 and, where the CPU computes it itself, bf16; ``--precisions`` names others.
All are timed in turn, after a warm-up, and medians are taken. Weights and clips are random: the features' difference
from fp32 says that the same is computed, not how accurate a trained network would be.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import MethodType

import torch
from torch import nn

from mmretrieval.backbones import create_backbone
from mmretrieval.backbones.deploy import BOUNDS, deploy, fast_precisions
from mmretrieval.environment import environment
from mmretrieval.layers.volume import PlaneConv3d
from mmretrieval.types import Features, Padded

PLAIN = "plain: contiguous, fp32"


def build(name: str, options: dict, plain: bool) -> nn.Module:
    """Return a network in evaluation mode whose normalisations do something; ``plain`` without any care for layout."""
    torch.manual_seed(0)
    network = create_backbone(name, **options).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        if plain and isinstance(module, PlaneConv3d):
            module.forward = MethodType(nn.Conv3d.forward, module)
        if plain and isinstance(module, nn.Conv2d | nn.Conv3d):
            module.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
    return network.to(memory_format=torch.contiguous_format) if plain else network


def random_clips(network: nn.Module, count: int) -> Padded:
    spec = network.spec
    values = torch.randn(count, spec.frames, 3, spec.size, spec.size)
    return Padded(values, torch.ones(count, spec.frames, dtype=torch.bool))


def contenders(name: str, options: dict, precisions: list[str]) -> dict[str, Callable[[Padded], Features]]:
    network = build(name, options, plain=False)
    ways = {PLAIN: build(name, options, plain=True), "channels-last, fp32": network}
    for precision in precisions:
        calibration = [random_clips(network, 2)] if precision == "int8" else None
        # how close it is stands in the table
        ways[f"deployed, {precision}"] = deploy(network, precision, calibration, bound=math.inf)
    return ways


def measure(networks: dict[str, dict[str, Callable]], clips: dict[str, Padded], rounds: int) -> dict[str, list[dict]]:
    """Return for each way of each network its median seconds, clips per second, and ratios.

    All of them take turns. ``ratio`` is the speed against the plain way, ``against_first`` the time against the same
    way of the first network.
    """
    seconds: dict[tuple[str, str], list[float]] = {}
    features = {}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name, ways in networks.items():
                for way, network in ways.items():
                    begin = time.perf_counter()
                    made = network(clips[name])
                    seconds.setdefault((name, way), []).append(time.perf_counter() - begin)
                    if not turn:
                        features[name, way] = made.values
                        seconds[name, way].clear()
    medians = {key: statistics.median(times) for key, times in seconds.items()}
    first = next(iter(networks))

    def row(name: str, way: str) -> dict:
        median, count, exact = medians[name, way], len(clips[name].values), features[name, PLAIN]
        return {
            "way": way,
            "clips": count,
            "seconds": median,
            "fastest": min(seconds[name, way]),
            "clips_per_second": count / median,
            "ratio": medians[name, PLAIN] / median,
            "against_first": median / medians[first, way],
            "difference": float((features[name, way] - exact).norm() / exact.norm()),
        }

    return {name: [row(name, way) for way in ways] for name, ways in networks.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["resnet50", "tam_resnet50", "tsm_resnet_tiny"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=None, help="of a clip; the network's own number by default")
    parser.add_argument("--size", type=int, default=None, help="pixels; the network's own number by default")
    parser.add_argument("--precisions", nargs="+", choices=list(BOUNDS), default=None)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    fast = fast_precisions()
    precisions = arguments.precisions or ["fp32", *(["bf16"] if "bf16" in fast else []), "int8"]
    options = {key: getattr(arguments, key) for key in ("frames", "size") if getattr(arguments, key)}
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, fast: {', '.join(fast)}")
    networks = {name: contenders(name, options, precisions) for name in arguments.networks}
    results: dict[str, list[dict]] = {}
    for count in arguments.batches:
        clips = {name: random_clips(ways[PLAIN], count) for name, ways in networks.items()}
        for name, rows in measure(networks, clips, arguments.rounds).items():
            spec = networks[name][PLAIN].spec
            print(f"\n{name}, {count} clips of {spec.frames} frames, {spec.size} pixels")
            for row in rows:
                print(f"  {row['way']:26} {row['clips_per_second']:9.2f} clips/s   × {row['ratio']:5.2f}   "
                      f"{row['against_first']:5.2f} × the time of {arguments.networks[0]}   "
                      f"features differ by {row['difference']:.2%}")  # fmt: skip
            results.setdefault(name, []).extend(rows)
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        report = {"networks": results, "threads": torch.get_num_threads(), "fast": fast, "environment": environment()}
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

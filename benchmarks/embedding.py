"""How fast a folder of videos becomes a collection, and in how much memory.

    python benchmarks/embedding.py [--backbone tsm_resnet18] [--frames 8] [--size 112] [--videos 16] [--seconds 24]
        [--height 360] [--workers 1] [--precision auto] [--rounds 3] [--no-memory] [--out embedding.json]

Moments per second of four ways, measured in turn in one run, medians of all rounds: the whole build (hashing, decoding,
embedding, writing); its decoding processes alone; its deployed model alone, on the cores that these leave; and the loop
one would first write, which reads and embeds one moment after the other in fp32. What the cores allow is both works
spread over all of them without a gap. Weights are random, videos are noise that pans. Memory is the proportional set
size of the process and all its children, over a video of 60 s in 720p: its peak, less that of a process which does
nothing but embed some batches.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mmretrieval.collection import Collection
from mmretrieval.collection.cutting import WINDOW, Cutting
from mmretrieval.collection.decoding import MOMENTS_AT_ONCE, WHOLE, Clip, Job
from mmretrieval.collection.embed import Embedder
from mmretrieval.collection.work import decoder_of
from mmretrieval.collection.workers import Workers
from mmretrieval.environment import cores, environment
from mmretrieval.files import sha256_file
from mmretrieval.model import RetrievalModel

LIMITS = {"time_limit": 3600.0, "memory_limit": 4 << 30}


def build_model(backbone: str, frames: int, size: int) -> RetrievalModel:
    torch.manual_seed(0)
    section = {"backbone": {"name": backbone}, "frames": frames, "size": size, "fps": None, "pool": "mean"}
    config = {"dim": 256, "similarity": "cosine", "scale": 20.0, "head": "glu", "dropout": 0.0, "video": section}
    return RetrievalModel.from_config(config).eval()


def write_video(path: Path, seconds: int, height: int, seed: int, fps: int = 24) -> Path:
    """Write a scene that a camera pans over."""
    import av

    width = height * 16 // 9 // 2 * 2
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 4, 3)).astype(np.uint8)
    wide = np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for number in range(fps * seconds):
            left = 2 * number % (wide.shape[1] - width)
            picture = np.ascontiguousarray(wide[:height, left : left + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def whole_build(folder: Path, model: RetrievalModel, workers: int, precision: str) -> int:
    with tempfile.TemporaryDirectory() as made:
        options = {"workers": workers, "precision": precision, "progress": False, **LIMITS}
        return len(Collection.build(Path(made) / "collection", [folder], model, "model", **options))


def decoding_alone(folder: Path, model: RetrievalModel, workers: int) -> int:
    jobs = [Job(str(path), sha256_file(path), (WHOLE,), frozenset()) for path in sorted(folder.iterdir())]
    pool = Workers(decoder_of(model, "pyav", Cutting()), workers, ahead=32 + MOMENTS_AT_ONCE, **LIMITS)
    return sum(isinstance(piece, Clip) for _, piece in pool.run(jobs))


def embedding_alone(embedder: Embedder, clips: list[np.ndarray], threads: int) -> int:
    for first in range(0, len(clips), embedder.batch_size):
        embedder(clips[first : first + embedder.batch_size], threads)
    return len(clips)


def plain_loop(folder: Path, model: RetrievalModel, moments: int) -> int:
    """Read and embed one moment after the other; so many of them, spread over the files."""
    done = 0
    for path in sorted(folder.iterdir()):
        for start in np.arange(0, 1e9, WINDOW)[: max(1, moments // len(list(folder.iterdir())))]:
            model.embed("video", [model.processor.video(path, float(start), float(start) + WINDOW)])
            done += 1
    return done


def measure(ways: dict[str, Callable[[], int]], rounds: int) -> dict[str, dict]:
    """Return median, best and all moments per second of each way."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            done = way()
            rates[name].append(done / (time.perf_counter() - begin))
    return {name: {"median": statistics.median(all_), "best": max(all_), "all": all_} for name, all_ in rates.items()}


def throughput(arguments: argparse.Namespace, model: RetrievalModel, folder: Path) -> dict:
    embedder = Embedder(model, arguments.precision)
    spec = model.processor.clip_spec
    random = np.random.default_rng(0)
    shape = (spec.frames, 3, spec.size, spec.size)
    clips = [random.integers(0, 256, shape).astype(np.uint8) for _ in range(4 * embedder.batch_size)]
    embedder(clips[: embedder.batch_size])
    left = max(1, cores() - arguments.workers)
    ways = {
        "whole build": lambda: whole_build(folder, model, arguments.workers, arguments.precision),
        "decoding alone": lambda: decoding_alone(folder, model, arguments.workers),
        "embedding alone": lambda: embedding_alone(embedder, clips, left),
        "embedding alone, all cores": lambda: embedding_alone(embedder, clips, cores()),
        "plain loop": lambda: plain_loop(folder, model, 4 * arguments.videos),
    }
    rates = measure(ways, arguments.rounds)
    slower = min(rates["decoding alone"]["median"], rates["embedding alone"]["median"])
    decoding = rates["decoding alone"]["median"] * cores() / min(arguments.workers, cores())
    allowed = 1 / (1 / decoding + 1 / rates["embedding alone, all cores"]["median"])
    return {
        "precision": embedder.precision,
        "workers": arguments.workers,
        "threads left": left,
        "moments per second": rates,
        "of the slower of both": rates["whole build"]["median"] / slower,
        "of what the cores allow": rates["whole build"]["median"] / allowed,
        "over the plain loop": rates["whole build"]["median"] / rates["plain loop"]["median"],
    }


class Watch:
    """Samples the memory of this process and all its children in a thread; a context manager."""

    def __init__(self):
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(0.05):
            self.peak = max(self.peak, memory())


def memory() -> int:
    """Return the proportional set size of this process and everything it started, in bytes."""
    parents, sizes = {}, {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(Path(entry.path, "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    for pid in family:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            sizes[pid] = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) << 10
        except (OSError, StopIteration):
            continue
    return sum(sizes.values())


def memory_of_a_long_video(arguments: argparse.Namespace, model: RetrievalModel, place: Path) -> dict:
    film = write_video(place / "film.mp4", 60, 720, seed=99)
    embedder = Embedder(model, arguments.precision)
    spec = model.processor.clip_spec
    clip = np.zeros((spec.frames, 3, spec.size, spec.size), np.uint8)
    embedder([clip] * embedder.batch_size)
    with Watch() as model_alone:
        for _ in range(5):  # the peak of one is easily missed
            embedder([clip] * embedder.batch_size)
    del embedder
    options = {"workers": arguments.workers, "precision": arguments.precision, "progress": False, **LIMITS}
    with Watch() as watch:
        Collection.build(place / "film", [film], model, "model", **options)
    return {"model": model_alone.peak, "peak": watch.peak, "above": watch.peak - model_alone.peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="tsm_resnet18")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=24)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--workers", type=int, default=max(1, cores() // 2))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    model = build_model(arguments.backbone, arguments.frames, arguments.size)
    report: dict = {"options": {key: str(value) for key, value in vars(arguments).items()}}
    with tempfile.TemporaryDirectory() as place:
        if arguments.memory:
            report["memory"] = memory_of_a_long_video(arguments, model, Path(place))
            sizes = {name: f"{size / 2**20:.0f} MB" for name, size in report["memory"].items()}
            print(f"60 s of 720p: model {sizes['model']}, peak {sizes['peak']}, above the model {sizes['above']}")
        folder = Path(place) / "clips"
        folder.mkdir()
        for number in range(arguments.videos):
            write_video(folder / f"{number:03}.mp4", arguments.seconds, arguments.height, number)
        if arguments.rounds:
            report["throughput"] = throughput(arguments, model, folder)
            for name, rate in report["throughput"]["moments per second"].items():
                print(f"{name:28} {rate['median']:8.2f} moments/s, best {rate['best']:.2f}")
            ratios = report["throughput"]
            print(f"{ratios['of the slower of both']:.0%} of the slower of decoding and embedding alone, "
                  f"{ratios['of what the cores allow']:.0%} of what the cores allow, "
                  f"{ratios['over the plain loop']:.2f} times the plain loop")  # fmt: skip
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({**report, "environment": environment()}, indent=2) + "\n")


if __name__ == "__main__":
    main()

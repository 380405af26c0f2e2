"""What damaged media cost a build: one line in a report each, and nothing else.

    python benchmarks/damaged.py [--files 300] [--good 30] [--workers 2] [--time-limit 5] [--seed 0]
        [--out damaged.json]

Writes a folder of sound videos and of damaged files of every kind, among them some on which a reader stub sleeps, kills
itself or asks for all memory, and builds a collection of it. Every sound video has to be embedded, every damaged file
listed with its reason. Prints a table of kinds and reasons and exits with 1 if anything is amiss.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from mmretrieval.collection import Collection
from mmretrieval.data.processor import Processor
from mmretrieval.environment import environment
from mmretrieval.types import ClipSpec

FPS, SIDE, SECONDS = 12, 64, 2
TRAPS = {"sleeps": (255, 0, 255), "killed": (255, 255, 0), "segfault": (0, 255, 255), "memory": (255, 255, 255)}
"""Colours of videos on which the stub below misbehaves."""


class Saboteur(Processor):
    """A reader that hangs, dies or eats memory when it sees certain colours."""

    def fit(self, frames, rng=None):
        colour = frames[0, SIDE // 2, SIDE // 2].astype(int)
        for trap, trigger in TRAPS.items():
            if np.abs(colour - trigger).max() < 40:
                _spring(trap)
        return super().fit(frames, rng)


def _spring(trap: str) -> None:
    if trap == "sleeps":
        while True:
            time.sleep(3600)
    if trap == "memory":
        hoard = []
        while True:
            hoard.append(np.zeros(1 << 24))
    os.kill(os.getpid(), signal.SIGKILL if trap == "killed" else signal.SIGSEGV)


class MeanColour:
    """Does what a collection asks of a model; an embedding is the mean colour."""

    metric, dim, modalities = "cosine", 3, ("video",)

    def __init__(self):
        self.processor = Saboteur(clip=ClipSpec(frames=4, size=32))
        self.embedded = 0

    def fingerprint(self) -> str:
        return hashlib.sha256(b"mean colour").hexdigest()

    def embed(self, modality: str, items: list) -> np.ndarray:
        self.embedded += len(items)
        rows = np.stack([item.float().mean(dim=(0, 2, 3)).numpy() for item in items]) + 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_video(path: Path, seed: int, colour: tuple | None = None, seconds: int = SECONDS, **options: str) -> Path:
    """Write moving noise, or a colour with a little of it, so that every file has a content of its own."""
    random_ = np.random.default_rng(seed)
    tile = random_.integers(40, 180, (SIDE, SIDE, 3)).astype(np.uint8)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "28", "threads": "1"}
        for number in range(FPS * seconds):
            picture = np.roll(tile, number, axis=1)
            if colour is not None:
                picture = np.full_like(tile, colour)
                picture[:8, :8] = tile[:8, :8] // 4 + number
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def _cut_off(path: Path, seed: int) -> None:
    data = write_video(path, seed).read_bytes()
    path.write_bytes(data[: len(data) * (20 + seed % 70) // 100])


def _breaks_off(path: Path, seed: int) -> None:
    """Header first, then half of the content: the beginning can be saved."""
    data = write_video(path, seed, seconds=6, movflags="faststart").read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])


def _flipped(path: Path, seed: int) -> None:
    data = bytearray(write_video(path, seed, movflags="faststart").read_bytes())
    begin = data.index(b"mdat") + 900
    for place in random.Random(seed).sample(range(begin, len(data)), (len(data) - begin) // 30):
        data[place] ^= 1 << place % 8
    path.write_bytes(data)


def _headless(path: Path, seed: int) -> None:
    path.write_bytes(write_video(path, seed).read_bytes()[800:])


def _no_header_left(path: Path, seed: int) -> None:
    data = write_video(path, seed, movflags="faststart").read_bytes()
    path.write_bytes(bytes(2048) + data[2048:])


def _text(path: Path, seed: int) -> None:
    path.write_text(f"{seed}: not a video\n" * 200)


def _sound(path: Path, seed: int) -> None:
    samples = (np.sin(np.arange(16_000) * (0.05 + seed / 1000)) * 0.4).astype(np.float32)[None]
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        resampler = av.AudioResampler(format=stream.codec_context.format, rate=16_000, frame_size=1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode())


def _no_frames(path: Path, seed: int) -> None:
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=FPS + seed % 7)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        container.start_encoding()


def _archive(path: Path, seed: int) -> None:
    path.write_bytes(b"PK\x03\x04" + random.Random(seed).randbytes(3000))


def _trap(name: str) -> Callable[[Path, int], None]:
    return lambda path, seed: write_video(path, seed, TRAPS[name]) and None


KINDS: dict[str, Callable[[Path, int], None]] = {
    "truncated": _cut_off,
    "breaks off": _breaks_off,
    "bytes flipped": _flipped,
    "header cut off": _headless,
    "header zeroed": _no_header_left,
    "empty": lambda path, seed: path.write_bytes(b"") and None,
    "text": _text,
    "audio only": _sound,
    "zero frames": _no_frames,
    "wrong extension": _archive,
    **{name: _trap(name) for name in TRAPS},
}
RARE = 20
"""One in so many files is a trap of each kind: each that sleeps costs the time limit."""


def write_folder(folder: Path, damaged: int, good: int, seed: int = 0) -> dict[str, str]:
    """Write a folder of both; return the kind of each damaged file by its path."""
    folder.mkdir(parents=True)
    for number in range(good):
        write_video(folder / f"good-{number:03}.mp4", 10_000 * (seed + 1) + number)
    usual = [kind for kind in KINDS if kind not in TRAPS]
    kinds = [kind for kind in TRAPS for _ in range(max(1, damaged // RARE // len(TRAPS)))]
    kinds += [usual[number % len(usual)] for number in range(damaged - len(kinds))]
    random.Random(seed).shuffle(kinds)
    written = {}
    for number, kind in enumerate(kinds):
        path = folder / f"{number:03}-{kind.replace(' ', '-')}.mp4"
        KINDS[kind](path, seed + number)
        written[str(path)] = kind
    return written


def judge(collection: Collection, folder: Path, damaged: dict[str, str]) -> dict:
    """Compare a collection with what it was built of."""
    good = {str(path) for path in folder.glob("good-*")}
    embedded = {moment.path for moment in collection.moments}
    listed = {record["path"]: record["reason"] for record in collection.manifest.quarantined}
    # copies are no damage: empty files all have the same content
    copies = {record["path"] for record in collection.manifest.duplicates}
    reasons = {kind: Counter() for kind in KINDS}
    for path, kind in damaged.items():
        reasons[kind][listed.get(path, "NOT LISTED").translate(str.maketrans("0123456789", "##########"))] += 1
    return {
        "good": len(good),
        "good embedded": len(good & embedded),
        "damaged": len(damaged),
        "damaged listed": sum(path in listed for path in damaged),
        "saved in part": len(embedded & set(damaged)),
        "good but listed": len(good & set(listed)),
        "copies": len(copies),
        "reasons": {kind: dict(counts) for kind, counts in reasons.items() if counts},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--good", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--time-limit", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "clips"
        damaged = write_folder(folder, arguments.files, arguments.good, arguments.seed)
        limits = {"workers": arguments.workers, "time_limit": arguments.time_limit, "memory_limit": 1 << 30}
        begin = time.perf_counter()
        collection = Collection.build(Path(place) / "made", [folder], MeanColour(), "model", **limits)
        report = judge(collection, folder, damaged) | {"seconds": time.perf_counter() - begin}
        report["problems"] = len(collection.verify())
    for kind, counts in report["reasons"].items():
        print(f"{kind} ({sum(counts.values())})")
        for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
            print(f"  {count:4} × {reason}")
    print({name: value for name, value in report.items() if name != "reasons"})
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({**report, "environment": environment()}, indent=2) + "\n")
    whole = report["good embedded"] == report["good"] and report["damaged listed"] == report["damaged"]
    return 0 if whole and not report["good but listed"] and not report["problems"] else 1


if __name__ == "__main__":
    sys.exit(main())

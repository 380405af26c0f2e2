"""How fast files become tensors, on one core.

    python benchmarks/media.py [--clips 40] [--out media.json]

Makes its own files: 3 s clips of 128×128 at 16 fps, a 20 s video of 1280×720, 3 s recordings. Prints a table and writes
JSON. Rates are per core; every row of a group has its ratio to the first one, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
import torch

from mmretrieval.data.cache import ClipCache
from mmretrieval.data.dataset import ClipDataset
from mmretrieval.data.manifest import Sample
from mmretrieval.data.processor import Processor
from mmretrieval.media.audio import log_mel, read_audio
from mmretrieval.media.video import BACKENDS
from mmretrieval.types import ClipSpec, SpeechSpec


def write_clip(path: Path, seed: int, seconds: int = 3, fps: int = 16, height: int = 128, width: int = 128) -> None:
    """A textured background that pans and a box that moves: about as hard to decode as a rendered scene."""
    rng = np.random.default_rng(seed)
    texture = rng.integers(60, 160, (height // 8 + 1, width // 4 + 1, 3), dtype=np.uint8)
    texture = texture.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(seconds * fps):
            left = number * width // (seconds * fps)
            picture = texture[:height, left : left + width].copy()
            place = (number * 3) % (width - width // 4)
            picture[height // 3 : height // 2, place : place + width // 4] = rng.integers(0, 256, 3)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def by_librosa(samples: np.ndarray, spec: SpeechSpec) -> np.ndarray:
    import librosa

    samples = samples - samples.mean()
    samples = np.append(samples[0], samples[1:] - spec.preemphasis * samples[:-1])
    mel = librosa.feature.melspectrogram(
        y=samples, sr=16_000, n_fft=400, hop_length=160, window="hamming", n_mels=40, fmin=20, pad_mode="constant"
    )
    return librosa.power_to_db(mel, ref=np.max)


def rate(work: Callable[[int], object], count: int) -> float:
    """Calls per second: the best of three rounds, since other programs only ever slow one down."""
    work(0)
    rounds = []
    for _ in range(3):
        begin = time.perf_counter()
        for number in range(count):
            work(number)
        rounds.append(count / (time.perf_counter() - begin))
    return max(rounds)


def measure(folder: Path, clips: int) -> list[dict]:
    samples = []
    for number in range(clips):
        write_clip(folder / f"{number}.mp4", number)
        noise = np.random.default_rng(number).standard_normal(48_000) * 0.1
        soundfile.write(folder / f"{number}.wav", noise, 16_000)
        samples.append(Sample(str(number), str(folder / f"{number}.mp4"), str(folder / f"{number}.wav")))
    write_clip(folder / "large.mp4", 0, seconds=20, fps=25, height=720, width=1280)
    processor = Processor(ClipSpec(frames=8, size=64), SpeechSpec())
    large = Processor(ClipSpec(frames=8, size=224))
    waveforms = [read_audio(sample.speech) for sample in samples]
    spec = processor.speech_spec
    rows = []

    def add(group: str, name: str, unit: str, work: Callable[[int], object], count: int = clips) -> None:
        rows.append({"group": group, "name": name, "per_second": round(rate(work, count), 2), "unit": unit})

    for backend in BACKENDS:
        add("3 s clip → 8×64×64", backend, "clips/s", lambda i, b=backend: processor.video(samples[i].video, backend=b))
    for backend in BACKENDS:
        work = lambda i, b=backend: large.video(folder / "large.mp4", backend=b)  # noqa: E731
        add("20 s of 720p → 8×224×224", backend, "videos/s", work, 2)
    add("3 s log-mel", "librosa", "recordings/s", lambda i: by_librosa(waveforms[i], spec))
    add("3 s log-mel", "mmretrieval", "recordings/s", lambda i: log_mel(waveforms[i], spec))
    add("3 s log-mel", "mmretrieval, with reading", "recordings/s", lambda i: processor.speech(samples[i].speech))
    cache = ClipCache.build(folder / "cache", samples, processor, workers=0, progress=False)
    for name, held in (("files", None), ("cache", cache)):
        dataset = ClipDataset(samples, processor, ("video", "speech"), train=True, cache=held)
        add("training item", f"from {name}", "items/s", dataset.__getitem__)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("media.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), arguments.clips)
    first: dict[str, float] = {}
    for row in rows:
        row["ratio"] = round(row["per_second"] / first.setdefault(row["group"], row["per_second"]), 2)
        print(f"{row['group']:26} {row['name']:26} {row['per_second']:10.2f} {row['unit']:14} ×{row['ratio']:.2f}")
    arguments.out.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

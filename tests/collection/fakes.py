"""Small real videos and recordings, and a model that sees nothing but colour."""

from __future__ import annotations

import hashlib
import wave
from pathlib import Path

import numpy as np
import pytest

from mmretrieval.collection import Collection
from mmretrieval.data.processor import Processor
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.types import ClipSpec, SpeechSpec, TextSpec

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}
GREY = (120, 120, 120)
PITCH = {"red": 200, "green": 1000, "blue": 4000}
FPS = 8
FOLDER = str(Path(__file__).parent)


def video(path: Path, *colours: str, size: int = 48) -> Path:
    """Write one second of every colour, with a bright square that wanders."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for number, colour in enumerate(name for name in colours for _ in range(FPS)):
            picture = np.full((size, size, 3), COLOURS[colour], np.uint8)
            picture[4:8, (4 * number) % (size - 4) :][:, :4] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def recording(path: Path, colour: str | None, seconds: float = 1.0, silence: float = 0.0) -> Path:
    """Write a tone that means a colour, or nothing but silence, with silence before and after it."""
    times = np.arange(int(16_000 * seconds)) / 16_000
    tone = np.zeros_like(times) if colour is None else 0.5 * np.sin(2 * np.pi * PITCH[colour] * times)
    quiet = np.zeros(int(16_000 * silence))
    samples = (np.concatenate([quiet, tone, quiet]) * 32_767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return path


class ColourModel:
    """Obeys what a collection and a searcher ask of a model; its embedding is the mean colour."""

    metric = "cosine"
    dim = 4

    def __init__(self, name: str = "one", modalities: tuple[str, ...] = ("video", "speech", "text")):
        tokenizer = Tokenizer.train([f"a {colour} thing" for colour in COLOURS] * 20, 64)
        self.processor = Processor(
            clip=ClipSpec(frames=4, size=32), speech=SpeechSpec(), text=TextSpec(), tokenizer=tokenizer
        )
        self.modalities = modalities
        self.name = name
        self.embedded = 0

    def fingerprint(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    def embed(self, modality: str, items: list) -> np.ndarray:
        self.embedded += len(items)
        rows = np.stack([getattr(self, modality)(item) for item in items])
        rows = np.pad(rows, ((0, 0), (0, self.dim - 3))).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def video(self, clip) -> np.ndarray:
        return clip.float().mean(dim=(0, 2, 3)).numpy()

    def text(self, tokens) -> np.ndarray:
        words = self.processor.tokenizer.decode(tokens.tolist()).split()
        return np.sum([COLOURS[word] for word in words if word in COLOURS] or [GREY], axis=0)

    def speech(self, mels) -> np.ndarray:
        band = int(mels.mean(dim=0).argmax())
        return np.array(COLOURS["red" if band < 10 else "green" if band < 22 else "blue"], float)


@pytest.fixture(scope="session")
def model():
    return ColourModel()


@pytest.fixture
def clips(tmp_path):
    """Three one-colour videos of two seconds in a folder."""
    folder = tmp_path / "clips"
    for colour in COLOURS:
        video(folder / f"{colour}.mp4", colour, colour)
    return folder


@pytest.fixture
def collection(tmp_path, clips, model):
    """A collection of them."""
    return Collection.build(tmp_path / "made", [clips], model, tmp_path / "model")

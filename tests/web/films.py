"""Videos of any container and codec, with sound; written frame by frame."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from fakes import COLOURS

FPS = 8


def film(path: Path, *colours: str, codec: str = "libx264", sound: str | None = None, size: int = 64) -> Path:
    """Write two seconds of every colour, with a square that wanders, and a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(codec, rate=FPS)
        pictures.width = pictures.height = size
        pictures.pix_fmt = "yuv420p"
        tone = None if sound is None else container.add_stream(sound, rate=16_000, layout="mono")
        frames = [colour for colour in colours for _ in range(2 * FPS)]
        for number, colour in enumerate(frames):
            picture = np.full((size, size, 3), COLOURS[colour], np.uint8)
            picture[4:8, (4 * number) % (size - 4) :][:, :4] = 255
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(pictures.encode())
        if tone is not None:
            container.mux(_tone(tone, len(frames) / FPS))
            container.mux(tone.encode())
    return path


def _tone(stream, seconds: float):
    samples = 0.4 * np.sin(2 * np.pi * 440 * np.arange(int(16_000 * seconds)) / 16_000)
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
    frame.rate, frame.pts = 16_000, 0
    return stream.encode(frame)

"""Media files of every kind for tests, made by PyAV and soundfile."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def pictures(count: int, height: int, width: int) -> list[np.ndarray]:
    """Frames that differ in every corner and from each other: gradients, a moving box, a red top left."""
    y, x = np.mgrid[:height, :width]
    frames = []
    for number in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[..., 0], frame[..., 1], frame[..., 2] = x * 255 // width, y * 255 // height, number * 255 // count
        left = (number * 3) % (width - 15)
        frame[height // 2 : height // 2 + 12, left : left + 15] = (255, 255, 0)
        frame[: height // 4, : width // 4] = (255, 0, 0)
        frames.append(frame)
    return frames


def write_video(
    path: Path,
    frames: list[np.ndarray],
    fps: int = 16,
    times: np.ndarray | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotation: int | None = None,
    first: int = 0,
    options: dict | None = None,
    container: dict | None = None,
    sound: np.ndarray | None = None,
) -> Path:
    """Write frames as a video; ``times`` in seconds make its frame rate variable, ``first`` shifts its start."""
    base = Fraction(1, 1000) if times is not None else Fraction(1, fps)
    stamps = [first + n for n in range(len(frames))] if times is None else [round(t * 1000) for t in times]
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = base
        stream.options = options or {}
        if rotation is not None:
            stream.set_display_rotation(rotation)
        track = file.add_stream("aac", rate=16_000, layout="mono") if sound is not None else None
        for stamp, picture in zip(stamps, frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = stamp, base
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if track is not None:
            _encode_sound(file, track, sound, 16_000)
    return path


def write_sound(path: Path, samples: np.ndarray, rate: int, codec: str) -> Path:
    """Write mono (n,) or stereo (2, n) samples by FFmpeg, for what soundfile cannot write."""
    layout = "stereo" if samples.ndim == 2 else "mono"
    with av.open(str(path), "w") as file:
        _encode_sound(file, file.add_stream(codec, rate=rate, layout=layout), samples, rate)
    return path


def _encode_sound(file, stream, samples: np.ndarray, rate: int) -> None:
    samples = np.atleast_2d(samples).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo" if len(samples) == 2 else "mono")
    frame.sample_rate, frame.pts = rate, 0
    resampler = av.AudioResampler(format=stream.codec_context.format, rate=rate, frame_size=960)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        file.mux(stream.encode(part))
    file.mux(stream.encode())


def tone(seconds: float, rate: int = 16_000, pitch: float = 440.0) -> np.ndarray:
    """A tone that swells, (n,) float32."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * pitch * time) * (0.2 + 0.8 * time / seconds)).astype(np.float32)

"""Frames to the size and range a backbone expects. Plain torch and NumPy: no torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmretrieval.types import ClipSpec

SMALLEST_CROP = 0.8
"""Share of the largest square that a training crop covers at least."""

CROP_SCALES = (1.0, 0.875, 0.75, 0.66)
"""Sides of a multi-scale crop, as shares of the frame's shorter side."""

_NEARLY = 3
"""A crop less than so many pixels from the size that is needed is taken to be of that size, which spares a resize."""

_ANCHORS = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)
"""Where a crop may lie, (down, right) in quarters of the room there is: corners, centre, edges, between centre and
corners."""


def fit(
    frames: np.ndarray,
    size: int,
    rng: np.random.Generator | None = None,
    flip: bool = False,
    share: float = 1.0,
    squash: bool = False,
    resample: str = "bilinear",
) -> Tensor:
    """Cut a square out of frames and bring it to ``size``: the middle, or in training any square nearly as large.

    Frames that already are ``size`` × ``size`` come back as they are when ``rng`` is None.

    Args:
        frames: (T, H, W, 3) uint8.
        size: Height and width of the result.
        rng: Draws the square, of 80–100 % of the area of the largest one and anywhere in the frame, the same for
            all frames. None takes the largest square in the middle.
        flip: Also mirror half of the training clips. Off, because left and right carry meaning in captions.
        share: Side of the square in the middle, as a share of the largest one's.
        squash: Take the whole frame, or a part of its shape, and bring it to a square.
        resample: ``bilinear`` or ``bicubic``.

    Returns:
        (T, 3, size, size) uint8.
    """
    height, width = frames.shape[1:3]
    short = min(height, width)
    if rng is not None:
        share = float(np.sqrt(rng.uniform(SMALLEST_CROP, 1.0)))
    tall, wide = (max(1, round(side * share)) for side in ((height, width) if squash else (short, short)))
    if rng is None:
        top, left = (height - tall) // 2, (width - wide) // 2
    else:
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    square = frames[:, top : top + tall, left : left + wide]
    if flip and rng is not None and rng.random() < 0.5:
        square = square[:, :, ::-1]
    return resize(square, size, size, resample)


def multi_scale_crop(
    frames: np.ndarray,
    size: int,
    rng: np.random.Generator,
    flip: bool = False,
    scales: Sequence[float] = CROP_SCALES,
) -> Tensor:
    """Cut a training crop of one of several sizes, nearly square, from one of 13 places, and bring it to ``size``.

    The augmentation of TSN (arXiv 1608.00859) and of the framework of arXiv 2010.11757. Height and width are shares of
    the shorter side whose places in ``scales`` differ by at most one. A side less than three pixels from ``size``
    becomes ``size``; where a frame is smaller, the published code takes black from beyond its edge, and here the crop
    stays inside.

    Args:
        frames: (T, H, W, 3) uint8; all frames are cut alike.
        size: Height and width of the result.
        rng: Draws size, place and mirroring.
        flip: Mirror half of the clips. Off, because "left" and "right" are classes in many data sets, among them
            Something-Something, which the published code mirrors.
        scales: Shares of the shorter side.

    Returns:
        (T, 3, size, size) uint8.
    """
    height, width = frames.shape[1:3]
    short = min(height, width)
    sides = [max(1, int(short * scale)) for scale in scales]
    sides = [size if abs(side - size) < _NEARLY and size <= short else side for side in sides]
    pairs = [(tall, wide) for i, tall in enumerate(sides) for j, wide in enumerate(sides) if abs(i - j) <= 1]
    tall, wide = pairs[int(rng.integers(len(pairs)))]
    down, right = _ANCHORS[int(rng.integers(len(_ANCHORS)))]
    top, left = (height - tall) // 4 * down, (width - wide) // 4 * right
    crop = frames[:, top : top + tall, left : left + wide]
    if flip and rng.random() < 0.5:
        crop = crop[:, :, ::-1]
    return resize(crop, size, size)


def jittered_crop(
    frames: np.ndarray,
    size: int,
    rng: np.random.Generator,
    flip: bool = False,
    shorter_side: tuple[int, int] = (256, 320),
) -> Tensor:
    """Bring the shorter side to a random length and cut a square of ``size`` anywhere: the published version 2.

    Args:
        frames: (T, H, W, 3) uint8; all frames are cut alike.
        size: Height and width of the result.
        rng: Draws length, place and mirroring.
        flip: Mirror half of the clips; see ``multi_scale_crop``.
        shorter_side: Shortest and longest length in pixels, both included.

    Returns:
        (T, 3, size, size) uint8.

    Raises:
        ValueError: The square does not fit.
    """
    shortest, longest = shorter_side
    if not size <= shortest <= longest:
        raise ValueError(f"a crop of {size} pixels does not fit in shorter sides of {shortest}–{longest}")
    scaled = resize_shorter_side(frames, int(rng.integers(shortest, longest + 1)))
    height, width = scaled.shape[2:]
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    square = scaled[:, :, top : top + size, left : left + size]
    return (square.flip(-1) if flip and rng.random() < 0.5 else square).contiguous()


@dataclass(frozen=True)
class Augmentation:
    """How the frames of a training clip become squares, all of them alike. Evaluation knows nothing of it.

    Attributes:
        crop: ``"crop"``, a square nearly as large as can be, see ``fit``; ``"multi_scale"`` and ``"jitter"`` as
            published, see ``multi_scale_crop`` and ``jittered_crop``; ``"none"``, what evaluation sees.
        flip: Mirror half of the clips. Off, because left and right carry meaning in captions and in many labels.
    """

    crop: str = "crop"
    flip: bool = False

    def __post_init__(self):
        if self.crop not in _CROPS:
            raise ValueError(f"the augmentation is '{self.crop}'; {', '.join(_CROPS)} are allowed")

    def __call__(self, frames: np.ndarray, spec: ClipSpec, rng: np.random.Generator) -> Tensor:
        """Turn frames (T, H, W, 3) uint8 into (T, 3, size, size) uint8."""
        if self.crop == "multi_scale":
            return multi_scale_crop(frames, spec.size, rng, self.flip)
        if self.crop == "jitter":
            shorter_side = (round(spec.size * 256 / 224), round(spec.size * 320 / 224))
            return jittered_crop(frames, spec.size, rng, self.flip, shorter_side)
        squash, resample = spec.resize == "squash", spec.resample
        if self.crop == "crop":
            return fit(frames, spec.size, rng, self.flip, squash=squash, resample=resample)
        square = fit(frames, spec.size, share=spec.crop, squash=squash, resample=resample)
        return square.flip(-1) if self.flip and rng.random() < 0.5 else square


_CROPS = ("crop", "multi_scale", "jitter", "none")


def resize_shorter_side(frames: np.ndarray, side: int, resample: str = "bilinear") -> Tensor:
    """Resize (T, H, W, 3) uint8 frames to (T, 3, h, w) uint8 with min(h, w) = ``side``, in their shape."""
    height, width = frames.shape[1:3]
    short = min(height, width)
    return resize(frames, height * side // short, width * side // short, resample)


def resize(frames: np.ndarray, height: int, width: int, resample: str = "bilinear") -> Tensor:
    """Resize (T, H, W, 3) uint8 frames to (T, 3, height, width) uint8, bilinear or bicubic, with antialiasing."""
    values = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    if values.shape[2:] != (height, width):
        values = torch.nn.functional.interpolate(values, (height, width), mode=resample, antialias=True)
    return values.contiguous()


def normalize(frames: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Turn pixels into the range a backbone expects: scaled to 0–1, minus ``mean``, over ``std``, per channel.

    Args:
        frames: (…, C, H, W), uint8 in 0–255 or float in 0–1.
        mean: One per channel.
        std: One per channel.

    Returns:
        (…, C, H, W) float.
    """
    values = frames if frames.is_floating_point() else frames.float() / 255
    shape = (len(mean), 1, 1)
    offset = torch.tensor(mean, dtype=values.dtype, device=values.device).view(shape)
    scale = torch.tensor(std, dtype=values.dtype, device=values.device).view(shape)
    return (values - offset) / scale

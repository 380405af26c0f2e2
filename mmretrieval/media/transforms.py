"""Frames to the size and range a backbone expects. Plain torch and NumPy: no torchvision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SMALLEST_CROP = 0.8
"""Share of the largest square that a training crop covers at least."""


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

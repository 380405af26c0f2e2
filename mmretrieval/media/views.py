"""What a recognition network looks at in evaluation: crops × clips of one video, whose logits are averaged.

As published (arXiv 2010.11757): the shorter side is brought to the size over 0.875 and one square is cut out of the
middle, or several that cover the frame. ``sampling.py`` says which frames the clips are made of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmretrieval.errors import MediaError
from mmretrieval.media.transforms import resize_shorter_side

CROPS = (1, 3, 5, 10)
"""Crops per clip: the middle; start, end and middle of the longer side; corners and middle; these and their mirror
images."""


@dataclass(frozen=True)
class Views:
    """How often a video is looked at in evaluation: ``clips`` excerpts of it, ``crops`` squares of each.

    Raises:
        MediaError: No clip, or another number of crops than 1, 3, 5 or 10.
    """

    clips: int = 1
    crops: int = 1

    def __post_init__(self):
        if self.clips < 1:
            raise MediaError(f"{self.clips} clips were asked for; at least 1 is needed")
        if self.crops not in CROPS:
            raise MediaError(f"{self.crops} crops were asked for; 1, 3, 5 and 10 are allowed")

    @property
    def count(self) -> int:
        """Views of a video."""
        return self.clips * self.crops


def shorter_side(size: int, share: float = 0.875) -> int:
    """Return to what the shorter side of a frame is brought before squares of ``size`` are cut out of it.

    Args:
        size: Height and width that the network takes.
        share: Of the shorter side that a square has; the rest is margin: 256 for 224. 1 leaves none, so that 3 crops
            see all.
    """
    return int(size / share + 0.5)


def cut_views(clips: np.ndarray, size: int, crops: int = 1, share: float = 0.875, resample: str = "bilinear") -> Tensor:
    """Cut the views of a video out of its clips.

    Args:
        clips: (C, T, H, W, 3) uint8.
        size: Height and width of a view.
        crops: 1, 3, 5 or 10; 10 has mirror images and is not for data in which left and right are different classes.
        share: See ``shorter_side``.
        resample: ``bilinear`` or ``bicubic``.

    Returns:
        (V, T, 3, size, size) uint8 with V = ``crops`` · C, all clips of the first crop first. A mirrored crop follows
        the one it mirrors.

    Raises:
        MediaError: Another number of crops.
        ValueError: Clips of another shape.
    """
    Views(crops=crops)
    if clips.ndim != 5:
        raise ValueError(f"clips have shape {tuple(clips.shape)}; (C, T, H, W, 3) is needed")
    count, frames = clips.shape[:2]
    scaled = resize_shorter_side(clips.reshape(-1, *clips.shape[2:]), shorter_side(size, share), resample)
    scaled = scaled.view(count, frames, *scaled.shape[1:])
    views = []
    for top, left in _places(*scaled.shape[3:], size, crops):
        crop = scaled[..., top : top + size, left : left + size]
        views += [crop, crop.flip(-1)] if crops == 10 else [crop]
    return torch.cat(views)


def _places(height: int, width: int, size: int, crops: int) -> list[tuple[int, int]]:
    """Return (top, left) of the crops in their published order."""
    if crops == 1:
        return [(round((height - size) / 2), round((width - size) / 2))]
    down, right = (height - size) // 4, (width - size) // 4
    middle = (2 * down, 2 * right)
    if crops == 3:
        ends = [(0, 2 * right), (4 * down, 2 * right)] if width < height else [(2 * down, 0), (2 * down, 4 * right)]
        return [*ends, middle]
    return [(0, 0), (0, 4 * right), (4 * down, 0), (4 * down, 4 * right), middle]

"""Clips as frames on one axis (B·T, C, H, W), for 2-D networks. They stay in channels-last memory.

Their mask is folded alike, (B·T,), and None where no frame is padding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmretrieval.layers.masking import downsample_mask, expand, zero_padding
from mmretrieval.layers.temporal import TemporalPool
from mmretrieval.types import Features, Padded


def fold_clips(clips: Padded) -> tuple[Tensor, Tensor | None]:
    """Return clips (B, T, C, H, W) as frames (B·T, C, H, W), zero at padding, and their mask."""
    mask = None if bool(clips.mask.all()) else clips.mask.flatten()
    frames = clips.values.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return zero_frames(frames, mask), mask


def zero_frames(frames: Tensor, mask: Tensor | None) -> Tensor:
    """Return frames (B·T, C, H, W) with zeros at padding: what comes before a layer that mixes in time."""
    # not masked_fill, which returns plain memory whatever it is given; nor a bare 0.0, which makes integers floats
    return frames if mask is None else torch.where(expand(mask, frames), frames, frames.new_zeros(()))


def pool_frames(
    pool: TemporalPool, frames: Tensor, mask: Tensor | None, length: int
) -> tuple[Tensor, Tensor | None, int]:
    """Return frames, their mask and the length T of their clips after pooling over time."""
    frames = pool(zero_frames(frames, mask), length)
    if mask is not None:
        mask = downsample_mask(mask.unflatten(0, (-1, length)), 2).flatten()
    return frames, mask, (length + 1) // 2


def frame_features(frames: Tensor, mask: Tensor) -> Features:
    """Return frames (B·T, D, h, w) as features (B, T·h·w, D) with grid (T, h, w), zero at padding (B, T)."""
    batch, length = mask.shape
    channels, height, width = frames.shape[1:]
    values = frames.permute(0, 2, 3, 1).reshape(batch, length, height * width, channels)
    if not bool(mask.all()):
        values = zero_padding(values, mask)
    places = expand(mask, values[..., 0]).expand(-1, -1, height * width)
    return Features(values.flatten(1, 2), places.reshape(batch, -1), (length, height, width))

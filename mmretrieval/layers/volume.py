"""Clips as volumes (B, C, T, H, W), for 3-D networks. They stay in channels-last memory, so that folds are views."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmretrieval.layers.masking import expand, zero_padding
from mmretrieval.types import Features


class PlaneConv3d(nn.Conv3d):
    """A 3-D convolution that is computed as a 2-D one where its kernel is flat in time or in space.

    A kernel (1, k, k) sees frames one by one, a kernel (k, 1, 1) sees an image whose axes are time and place. In
    channels-last memory both are views, and 2-D kernels are faster. Parameters and results are those of ``Conv3d``.

    A clip shorter than the kernel is padded before it: oneDNN's bf16 weight gradient writes past its memory where the
    padding is left to it, and training sees infinite gradients or crashes. A kernel (1, 1, 1) first drops the places
    its strides pass over, as ``PointConv2d``.
    """

    def forward(self, clip: Tensor) -> Tensor:
        """(B, C, T, H, W) to (B, C', T', H', W')."""
        (time, *space), (step, *steps) = self.kernel_size, self.stride
        if time == 1 and self.padding[0] == 0:
            if space == [1, 1]:
                (down, right), steps = steps, [1, 1]
                clip = clip[..., ::down, ::right]
            frames = clip[:, :, ::step].transpose(1, 2)
            images = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            maps = F.conv2d(images, self.weight.squeeze(2), self.bias, steps, self.padding[1:], 1, self.groups)
            return maps.unflatten(0, frames.shape[:2]).transpose(1, 2)
        if space == [1, 1] and steps == [1, 1] and self.padding[1:] == (0, 0):
            plane = F.conv2d(
                clip.flatten(3), self.weight.squeeze(4), self.bias, (step, 1), (self.padding[0], 0), 1, self.groups
            )
            return plane.unflatten(3, clip.shape[3:])
        if clip.shape[2] < time:
            around = self.padding[0]
            clip = F.pad(clip, (0, 0, 0, 0, around, around)).contiguous(memory_format=torch.channels_last_3d)
            padding = (0, *self.padding[1:])
            return F.conv3d(clip, self.weight, self.bias, self.stride, padding, 1, self.groups)
        return super().forward(clip)


class PlanePool(nn.Module):
    """Pooling of volumes over space, then over time, each in two dimensions.

    The result is that of a 3-D pooling, with 9 + 3 instead of 27 looks for a window of 3x3x3, and for every T:
    ``AvgPool3d`` refuses clips shorter than its window, however they are padded. An average counts padding, as zeros.

    Args:
        method: "max" or "avg".
        kernel: In time, height and width, as what follows.
        stride: Of the windows.
        padding: On either side.
    """

    def __init__(self, method: str, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]):
        super().__init__()
        self.method = method
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, clip: Tensor) -> Tensor:
        """(B, C, T, H, W) to (B, C, T', H', W')."""
        pool = F.max_pool2d if self.method == "max" else F.avg_pool2d
        (time, *space), (step, *steps), (pad, *pads) = self.kernel, self.stride, self.padding
        frames = clip.transpose(1, 2)
        clip = pool(frames.flatten(0, 1), space, steps, pads).unflatten(0, frames.shape[:2]).transpose(1, 2)
        if time == 1:
            return clip[:, :, ::step]
        return pool(clip.flatten(3), (time, 1), (step, 1), (pad, 0)).unflatten(3, clip.shape[3:])

    def extra_repr(self) -> str:
        return f"{self.method!r}, kernel={self.kernel}, stride={self.stride}, padding={self.padding}"


def initialize(network: nn.Module) -> None:
    """Initialise 3-D convolutions, Kaiming-normal over outputs (He et al. 2015), and lay all out channels-last."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    network.to(memory_format=torch.channels_last_3d)


def as_volume(frames: Tensor, mask: Tensor | None) -> Tensor:
    """Return clips (B, T, C, H, W) as volumes (B, C, T, H, W) in channels-last memory, zero at padding (B, T)."""
    if mask is not None:
        frames = zero_padding(frames, mask)
    return frames.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)


def zero_frames(clip: Tensor, mask: Tensor | None) -> Tensor:
    """Return volumes (B, C, T, H, W) with zeros at padding (B, T): what comes before a layer that mixes in time."""
    return clip if mask is None else clip.masked_fill(~mask[:, None, :, None, None], 0.0)


def volume_features(clip: Tensor, mask: Tensor) -> Features:
    """Return volumes (B, D, T, h, w) as features (B, T·h·w, D) with grid (T, h, w), zero at padding (B, T)."""
    values = clip.permute(0, 2, 3, 4, 1)
    places = expand(mask, values[..., 0]).expand(values.shape[:-1]).flatten(1)
    values = values.flatten(1, 3)
    if not bool(mask.all()):
        values = zero_padding(values, places)
    return Features(values, places, tuple(clip.shape[2:]))

"""Convolutions in 8-bit integers with the kernels of oneDNN, on CPUs.

A tensor is uint8 with one scale and one zero point, weights are int8 with a scale per output channel and no zero point,
sums are 32-bit integers. PyTorch's quantised tensor types, which are on their way out, are not used.

oneDNN multiplies exactly on CPUs with VNNI or AMX. On others it adds pairs of products in 16 bits, where they saturate:
2 · 255 · 127 does not fit, 2 · 127 · 127 does. There activations take 7 bits, and results are exact again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmretrieval.layers.fused import FloatKernel

WEIGHT_TOP = 127


class Grid(NamedTuple):
    """What the integers 0 to ``top`` of a tensor stand for: scale · (integer − zero)."""

    scale: float
    zero: int
    top: int

    @classmethod
    def spanning(cls, low: float, high: float, top: int) -> Grid:
        """Return the finest grid from ``low`` to ``high``, and to 0, which every grid meets exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / top or 1.0
        return cls(scale, round(-low / scale), top)


def quantize(values: Tensor, grid: Grid) -> Tensor:
    """Return the nearest integers of a grid, uint8 in the memory order of ``values``; halves go up."""
    shifted = torch.add(values.new_tensor(grid.zero + 0.5), values, alpha=1 / grid.scale)
    return shifted.clamp_(0, grid.top).to(torch.uint8)


class Int8Kernel(nn.Module):
    """The convolution of a ``FloatKernel`` in 8-bit integers.

    Args:
        kernel: Whose weights are rounded, each output channel on its own scale.
        given: What its input is rounded to; uint8 input is on this grid already.
        made: The grid of a uint8 result, from 0, which is only for kernels with ReLU; None for a result in fp32.
    """

    def __init__(self, kernel: FloatKernel, given: Grid, made: Grid | None = None):
        super().__init__()
        self.relu, self.layout = kernel.relu, kernel.layout
        self.given, self.made = given, made
        rows = kernel.weight.detach().flatten(1)
        self.scales = rows.abs().amax(1).div(WEIGHT_TOP).clamp_min(torch.finfo(rows.dtype).tiny)
        self.zeros = torch.zeros(len(rows), dtype=torch.int64)
        whole = (rows / self.scales[:, None]).round().clamp(-WEIGHT_TOP, WEIGHT_TOP).to(torch.int8)
        self.sizes = (kernel.stride, kernel.padding, kernel.dilation, kernel.groups)
        self.bias = kernel.bias.detach()
        self.packed = torch.ops.onednn.qconv_prepack(
            whole.view(kernel.weight.shape), self.scales, given.scale, given.zero, *self.sizes
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, …), fp32 or uint8 on the grid ``given``, to (B, C', …), fp32 or uint8 on the grid ``made``."""
        maps = maps.contiguous(memory_format=self.layout)
        if maps.dtype != torch.uint8:
            maps = quantize(maps, self.given)
        if self.made is not None:
            # integers below 0 saturate, which is the ReLU
            made = self._convolve(maps, self.made.scale, torch.uint8, "none")
            return made if self.made.top == 255 else made.clamp_(max=self.made.top)
        if self.relu and maps.dim() == 4:
            return self._convolve(maps, 1.0, torch.float32, "relu")
        made = self._convolve(maps, 1.0, torch.float32, "none")
        return made.relu_() if self.relu else made

    def _convolve(self, maps: Tensor, scale: float, dtype: torch.dtype, after: str) -> Tensor:
        # the one for three dimensions knows no ReLU
        convolve = torch.ops.onednn.qconv2d_pointwise if maps.dim() == 4 else torch.ops.onednn.qconv3d_pointwise
        given = (maps, self.given.scale, self.given.zero)
        weights = (self.packed, self.scales, self.zeros, self.bias)
        return convolve(*given, *weights, *self.sizes, scale, 0, dtype, after, [], "")

    def extra_repr(self) -> str:
        return f"{len(self.scales)} channels, given={self.given}, made={self.made}, relu={self.relu}"


def has_int8_kernels() -> bool:
    """Whether this PyTorch has the kernels at all."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.onednn, name) for name in ("qconv_prepack", "qconv2d_pointwise", "qconv3d_pointwise")
    )


@lru_cache(maxsize=1)
def top_level() -> int:
    """Return the largest integer of an activation whose products this CPU adds exactly: 255, or 127 without VNNI.

    Found by trying, with the largest values there are.
    """
    channels = 64
    for side in (1, 3):
        weight = torch.full((channels, channels, side, side), float(WEIGHT_TOP))
        kernel = FloatKernel(weight, torch.zeros(channels), [1, 1], [0, 0], [1, 1], 1, relu=False)
        given = torch.full((1, channels, 8, 8), 255, dtype=torch.uint8)
        made = Int8Kernel(kernel, Grid(1.0, 0, 255))(given)
        if not bool((made == 255 * WEIGHT_TOP * channels * side * side).all()):
            return 127
    return 255

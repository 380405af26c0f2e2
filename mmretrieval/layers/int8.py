"""Convolutions, and what goes between them, in 8-bit integers with the kernels of oneDNN, on CPUs.

A tensor is uint8 with one scale and one zero point, weights are int8 with a scale per output channel and no zero point,
sums are 32-bit integers. PyTorch's quantised tensor types, which are on their way out, are not used.

oneDNN multiplies exactly on CPUs with VNNI or AMX. On others it adds pairs of products in 16 bits, where they saturate:
2 · 255 · 127 does not fit, 2 · 127 · 127 does. There activations take 7 bits, and results are exact again.

A convolution with a window of one place that strides is given those places alone and does not stride. oneDNN picks them
itself, but without AVX-512 its threads then overwrite what others have picked, and results are wrong now and then.
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


FLOATS = Grid(1.0, 0, 0)
"""What is said of a result that stays in fp32."""


def quantize(values: Tensor, grid: Grid) -> Tensor:
    """Return the nearest integers of a grid, uint8 in the memory order of ``values``; halves go up."""
    shifted = torch.add(values.new_tensor(grid.zero + 0.5), values, alpha=1 / grid.scale)
    return shifted.clamp_(0, grid.top).to(torch.uint8)


def restore(whole: Tensor, grid: Grid) -> Tensor:
    """Return what integers of a grid stand for, in fp32 and the memory order of ``whole``."""
    values = whole.to(torch.float32)
    return (values.sub_(grid.zero) if grid.zero else values).mul_(grid.scale)


class Int8Kernel(nn.Module):
    """The convolution of a ``FloatKernel`` in 8-bit integers.

    Args:
        kernel: Whose weights are rounded, each output channel on its own scale.
        given: What its input is rounded to; uint8 input is on this grid already.
        made: The grid of a uint8 result; None for a result in fp32. A result that a ReLU follows has a grid from 0.
        addend: The grid of what is added to the result in ``plus``; None if that comes in fp32.
    """

    def __init__(self, kernel: FloatKernel, given: Grid, made: Grid | None = None, addend: Grid | None = None):
        super().__init__()
        self.relu, self.layout = kernel.relu, kernel.layout
        self.given, self.made, self.addend = given, made, addend
        rows = kernel.weight.detach().flatten(1)
        self.scales = rows.abs().amax(1).div(WEIGHT_TOP).clamp_min(torch.finfo(rows.dtype).tiny)
        self.zeros = torch.zeros(len(rows), dtype=torch.int64)
        whole = (rows / self.scales[:, None]).round().clamp(-WEIGHT_TOP, WEIGHT_TOP).to(torch.int8)
        self.weight = whole.view(kernel.weight.shape)
        # steps between the places of its input that it is given, and between those that it looks at
        steps, stride = [1] * len(kernel.stride), kernel.stride
        if kernel.weight[0, 0].numel() == 1 and not any(kernel.padding):
            steps, stride = stride, steps
        self.places = tuple(slice(None, None, step) for step in steps)
        self.sizes = (stride, kernel.padding, kernel.dilation, kernel.groups)
        self.bias = kernel.bias.detach()
        self._packed: tuple[torch.Size, Tensor] = (torch.Size(), self.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, …), fp32 or uint8 on the grid ``given``, to (B, C', …), fp32 or uint8 on the grid ``made``."""
        if self.made is not None:
            # integers below 0 saturate, which is the ReLU
            return self._limited(self._convolve(maps, self.made, torch.uint8, "none"))
        if self.relu and maps.dim() == 4:
            return self._convolve(maps, FLOATS, torch.float32, "relu")
        made = self._convolve(maps, FLOATS, torch.float32, "none")
        return made.relu_() if self.relu else made

    def plus(self, maps: Tensor, other: Tensor) -> Tensor:
        """Return the result for ``maps`` and ``other`` (B, C', H, W) in one tensor, uint8 if there is a grid ``made``.

        ``other`` is fp32, or uint8 on the grid ``addend``; then a uint8 sum is written over it.
        """
        if other.dtype == torch.uint8 and self.made is not None:
            other = other.contiguous(memory_format=self.layout)
            # in this order the operator takes its arguments: what is added, the bias, …, the grid of what is added
            given = (*self._given(maps), other, self.bias, *self.sizes, self.made.scale, self.made.zero, torch.uint8)
            added = (self.addend.scale, self.addend.zero, "sum", 1.0, "none", [], "")
            made = self._limited(torch.ops.onednn.qconv2d_pointwise.binary(*given, *added))
        else:
            other = restore(other, self.addend) if other.dtype == torch.uint8 else other
            made = self._convolve(maps, FLOATS, torch.float32, "none").add_(other)
            made = made if self.made is None else quantize(made, self.made)
        made.rectified = self.made is not None
        return made

    def _limited(self, made: Tensor) -> Tensor:
        return made if self.made.top == 255 else made.clamp_(max=self.made.top)

    def _convolve(self, maps: Tensor, grid: Grid, dtype: torch.dtype, after: str) -> Tensor:
        # the one for three dimensions knows no ReLU
        convolve = torch.ops.onednn.qconv2d_pointwise if maps.dim() == 4 else torch.ops.onednn.qconv3d_pointwise
        made = (grid.scale, grid.zero, dtype)
        return convolve(*self._given(maps), self.bias, *self.sizes, *made, after, [], "")

    def _given(self, maps: Tensor) -> tuple:
        """Return the input as integers on their grid and the weights, as oneDNN's operators take them."""
        maps = maps[(..., *self.places)].contiguous(memory_format=self.layout)
        if maps.dtype != torch.uint8:
            maps = quantize(maps, self.given)
        grid = (self.given.scale, self.given.zero)
        return (maps, *grid, self._weight_for(maps, grid), self.scales, self.zeros)

    def _weight_for(self, maps: Tensor, grid: tuple[float, int]) -> Tensor:
        """Return the weights in the order of memory in which oneDNN wants them for maps of such a size.

        In another order it would sort them anew in every call, which takes longer than many a convolution.
        """
        size, packed = self._packed
        if size != maps.shape[2:]:
            packed = torch.ops.onednn.qconv_prepack(self.weight, self.scales, *grid, *self.sizes, list(maps.shape))
            self._packed = (maps.shape[2:], packed)
        return packed

    def extra_repr(self) -> str:
        parts = f"given={self.given}, made={self.made}, addend={self.addend}, relu={self.relu}"
        return f"{len(self.scales)} channels, {parts}"


class Int8MaxPool(nn.Module):
    """A max-pooling that takes integers, too.

    Args:
        pool: What it computes.
    """

    def __init__(self, pool: nn.MaxPool2d):
        super().__init__()
        self.pool = pool
        pairs = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        self.sizes = [[size, size] if isinstance(size, int) else list(size) for size in pairs]

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W), floats or uint8 on any grid, to (B, C, h, w) of the same kind."""
        if maps.dtype != torch.uint8:
            return self.pool(maps)
        return torch.ops.quantized.max_pool2d(maps, *self.sizes, self.pool.ceil_mode)


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

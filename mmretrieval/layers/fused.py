"""Convolutions for inference: normalisation folded in, ReLU in the same kernel, flat volumes as images, time as one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mmretrieval.layers.temporal import TemporalAggregation, TemporalLayer, followed, no_frames


class FusedConv(nn.Module):
    """A convolution with the batch normalisation behind it in its weights, and the ReLU behind that in its kernel.

    A 3-D kernel that is flat in time or in space runs as a 2-D one, as in ``PlaneConv3d``.

    Args:
        conv: ``Conv2d`` or ``Conv3d`` with zeros as padding.
        norm: The normalisation of its output, if one follows; its running statistics are used.
        relu: A ReLU follows. The result is then marked for ``Rectifier``, which stands where that ReLU stood.
        waits: The result is only added to something: ``forward`` gives a ``Waiting`` that computes it then. For 2-D.

    Attributes:
        kernel: What computes it; ``Int8Kernel`` may take its place.
    """

    def __init__(
        self, conv: nn.Conv2d | nn.Conv3d, norm: _BatchNorm | None = None, relu: bool = False, waits: bool = False
    ):
        super().__init__()
        self.waits = waits
        weight, bias = folded(conv, norm)
        self.flat_in = None if isinstance(conv, nn.Conv2d) else _flat_axis(conv)
        self.step = conv.stride[0]
        # what a 2-D kernel sees of (T, H, W): height and width, or time and all places as one axis
        seen = {"time": slice(1, 3), "space": slice(0, 2), None: slice(None)}[self.flat_in]
        if self.flat_in is not None:
            weight = weight.squeeze(2 if self.flat_in == "time" else 4)
        sizes = [list(size[seen]) for size in (conv.stride, conv.padding, conv.dilation)]
        self.kernel = FloatKernel(weight, bias, *sizes, conv.groups, relu)

    def forward(self, maps: Tensor) -> Tensor | Waiting:
        """Images (B, C, H, W) or volumes (B, C, T, H, W), whichever the convolution takes, to its rectified result."""
        if self.waits:
            return Waiting(self.kernel, maps)
        if self.flat_in == "time":
            frames = maps[:, :, :: self.step].transpose(1, 2)
            made = self.kernel(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)
        elif self.flat_in == "space":
            made = self.kernel(maps.flatten(3)).unflatten(3, maps.shape[3:])
        else:
            made = self.kernel(maps)
        made.rectified = self.kernel.relu
        return made


class Waiting:
    """A convolution that is computed when something is added to it, in one go where a kernel can.

    Args:
        kernel: ``FloatKernel`` or ``Int8Kernel``.
        maps: What it convolves.
    """

    def __init__(self, kernel: nn.Module, maps: Tensor):
        self.kernel, self.maps = kernel, maps

    def __add__(self, other: Tensor) -> Tensor:
        return self.kernel.plus(self.maps, other)

    __radd__ = __add__


class FusedBlend(TemporalLayer):
    """Blending of neighbouring frames as a convolution over time, with one weight per channel and the ReLU inside.

    Args:
        layer: What it computes: a weighted sum, one weight per channel and neighbour.

    Attributes:
        kernel: What computes it; ``Int8Kernel`` may take its place.
    """

    def __init__(self, layer: TemporalAggregation):
        super().__init__()
        self.past, self.ahead = -layer.offsets[0], layer.looks_ahead
        weight = torch.stack([layer.taps[offset].fc1.weight.detach().flatten() for offset in layer.offsets], 1)
        once, bias = [1, 1], weight.new_zeros(len(weight))
        self.kernel = FloatKernel(weight[:, None, :, None], bias, once, [self.past, 0], once, len(weight), relu=True)

    @property
    def looks_ahead(self) -> bool:
        return self.ahead

    def forward(self, frames: Tensor, length: int) -> Tensor:
        """Blend clips of ``length`` frames each, (B·T, C, H, W) to the same shape."""
        return self._blend(frames, length)

    def _blend(self, frames: Tensor, length: int) -> Tensor:
        height, width = frames.shape[-2:]
        # time and all places of a frame as the two axes of one channels-last image: a view
        plane = frames.permute(0, 2, 3, 1).unflatten(0, (-1, length)).flatten(2, 3).permute(0, 3, 1, 2)
        blended = self.kernel(plane).permute(0, 2, 3, 1)[:, :length]
        return blended.flatten(0, 1).unflatten(1, (height, width)).permute(0, 3, 1, 2)

    def step(self, frame: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """As ``TemporalLayer.step``; the state (B, n, C, H, W) is the last n frames, the latest last."""
        clip = followed(no_frames(frame, self.past) if state is None else state, frame)
        blended = self._blend(clip.flatten(0, 1), clip.shape[1]).unflatten(0, clip.shape[:2])
        return blended[:, -1], clip[:, 1:]


class FloatKernel(nn.Module):
    """A convolution in two or three dimensions, with bias and perhaps ReLU, in the precision of its weights.

    Args:
        weight: (C', C / groups, …).
        bias: (C',).
        stride: One number per dimension, as the next two.
        padding: Zeros on either side.
        dilation: Distance of the taps.
        groups: Of channels that are convolved apart.
        relu: Negative results become zero.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        groups: int,
        relu: bool,
    ):
        super().__init__()
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups, self.relu = groups, relu
        self.layout = torch.channels_last if weight.dim() == 4 else torch.channels_last_3d
        self.weight = nn.Parameter(weight.contiguous(memory_format=self.layout), requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, …) to (B, C', …), in channels-last memory."""
        maps = maps.contiguous(memory_format=self.layout)
        if _has_fused_kernel(maps):
            sizes = (self.padding, self.stride, self.dilation, self.groups)
            after = "relu" if self.relu else "none"
            return torch.ops.mkldnn._convolution_pointwise(maps, self.weight, self.bias, *sizes, after, [], "")
        convolve = F.conv2d if maps.dim() == 4 else F.conv3d
        made = convolve(maps, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return made.relu_() if self.relu else made

    def plus(self, maps: Tensor, other: Tensor) -> Tensor:
        """Return the result for ``maps`` and ``other`` (B, C', H, W) in one tensor."""
        return self(maps).add_(other)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, stride={self.stride}, padding={self.padding}, relu={self.relu}"


class Rectifier(nn.Module):
    """ReLU of all but what the convolution before it has rectified.

    Args:
        inplace: Overwrite what is given.
    """

    def __init__(self, inplace: bool):
        super().__init__()
        self.inplace = inplace

    def forward(self, maps: Tensor) -> Tensor:
        """Any shape to the same."""
        return maps if getattr(maps, "rectified", False) else F.relu(maps, self.inplace)


def folded(conv: nn.Module, norm: _BatchNorm | None) -> tuple[Tensor, Tensor]:
    """Return weight and bias of one convolution that does what ``conv`` and then ``norm`` do in evaluation.

    (γ / σ) · (w * x + b − μ) + β = (γ / σ · w) * x + γ / σ · (b − μ) + β with σ = √(variance + ε), in double precision.
    """
    weight = conv.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().double()
    if norm is not None:
        gain = (norm.running_var.double() + norm.eps).rsqrt()
        gain = gain * norm.weight.detach().double() if norm.affine else gain
        weight = weight * gain.view(-1, *[1] * (weight.dim() - 1))
        bias = (bias - norm.running_mean.double()) * gain
        bias = bias + norm.bias.detach().double() if norm.affine else bias
    return weight.to(conv.weight.dtype), bias.to(conv.weight.dtype)


def has_bf16_kernels() -> bool:
    """Whether this CPU computes convolutions in bf16 itself (AVX-512 or newer); on others they are emulated, slowly."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _has_fused_kernel(maps: Tensor) -> bool:
    if maps.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return maps.dtype == torch.float32 or (maps.dtype == torch.bfloat16 and has_bf16_kernels())


def _flat_axis(conv: nn.Conv3d) -> str | None:
    """Return in what a 3-D kernel is flat, "time" or "space", and so a 2-D one; None if in neither."""
    if conv.kernel_size[0] == 1 and conv.padding[0] == 0:
        return "time"
    if conv.kernel_size[1:] == (1, 1) and conv.stride[1:] == (1, 1) and conv.padding[1:] == (0, 0):
        return "space"
    return None

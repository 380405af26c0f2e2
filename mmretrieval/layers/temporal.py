"""Mixing neighbouring frames of 2-D networks. Frames come folded, (B·T, C, H, W), and stay in channels-last memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Shift(torch.autograd.Function):
    """Move channel groups of (B, T, H, W, C) one frame along time; the gradient moves them back.

    Written by hand because the obvious slice assignments make autograd copy the whole tensor once per slice.
    """

    @staticmethod
    def forward(ctx, clip: Tensor, backward_fold: int, forward_fold: int) -> Tensor:
        ctx.folds = (backward_fold, forward_fold)
        return _shift(clip, backward_fold, forward_fold, 1)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _shift(gradient, *ctx.folds, -1), None, None


def _shift(clip: Tensor, backward_fold: int, forward_fold: int, direction: int) -> Tensor:
    """First ``backward_fold`` channels take frame t + direction, the next ``forward_fold`` frame t − direction."""
    shifted = clip.clone(memory_format=torch.contiguous_format)
    _move(clip, shifted, slice(0, backward_fold), direction)
    _move(clip, shifted, slice(backward_fold, backward_fold + forward_fold), -direction)
    return shifted


def _move(source: Tensor, target: Tensor, channels: slice, offset: int) -> None:
    """Let ``target`` at t be ``source`` at t + offset (±1) in the given channels, zero beyond the ends of the clip."""
    if offset == 1:
        target[:, :-1, ..., channels] = source[:, 1:, ..., channels]
        target[:, -1, ..., channels] = 0
    else:
        target[:, 1:, ..., channels] = source[:, :-1, ..., channels]
        target[:, 0, ..., channels] = 0


class TemporalShift(nn.Module):
    """Shift some channels of (B·T, C, H, W) by one frame, without parameters (TSM, Lin et al., ICCV 2019).

    The first C/8 channels take their values from the next frame, the next C/8 from the previous one, zeros at the ends
    of the clip.

    Args:
        share: The shifted part of the channels in each direction is 1 / share.
        unidirectional: Never look at the next frame, for online use: only C/8 channels shift, from the past.
    """

    def __init__(self, share: int = 8, unidirectional: bool = False):
        super().__init__()
        self.share = share
        self.unidirectional = unidirectional

    def forward(self, frames: Tensor, length: int) -> Tensor:
        """Shift clips of ``length`` frames each."""
        fold = frames.shape[1] // self.share
        clip = frames.permute(0, 2, 3, 1).unflatten(0, (-1, length))
        shifted = _Shift.apply(clip, 0 if self.unidirectional else fold, fold)
        return shifted.flatten(0, 1).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"share={self.share}, unidirectional={self.unidirectional}"


class TemporalAggregation(nn.Module):
    """Blend each frame with its two neighbours, one weight per channel and neighbour, then ReLU.

    y_t = ReLU(w_prev · x_{t−1} + w_curr · x_t + w_next · x_{t+1}), zeros beyond the ends of the clip: the Temporal
    Aggregation Module of bLVNet-TAM as used by "Deep Analysis of CNN-based Spatio-temporal Representations" (arXiv
    2010.11757). Not TANet's module of the same initials.

    It is computed as one multiplication and two fused multiply-adds; the published three depth-wise convolutions with
    pad, stack and sum cost as much as a whole ResNet-50 on a CPU. Parameter names are the published ones.

    Args:
        channels: C.
        method: "sum" of the three weighted frames, or their element-wise "max".
    """

    def __init__(self, channels: int, method: str = "sum"):
        super().__init__()
        if method not in ("sum", "max"):
            raise ValueError(f"temporal aggregation method '{method}' is unknown: use 'sum' or 'max'")
        self.method = method
        self.prev_se = _ChannelScale(channels)
        self.next_se = _ChannelScale(channels)
        self.curr_se = _ChannelScale(channels)

    def forward(self, frames: Tensor, length: int) -> Tensor:
        """Blend clips of ``length`` frames each, (B·T, C, H, W) to the same shape."""
        clip = frames.permute(0, 2, 3, 1).unflatten(0, (-1, length))
        previous, current, following = self.prev_se.scale(), self.curr_se.scale(), self.next_se.scale()
        if self.method == "sum":
            blended = clip * current
            blended[:, 1:].addcmul_(clip[:, :-1], previous)
            blended[:, :-1].addcmul_(clip[:, 1:], following)
        else:
            edge = torch.zeros_like(clip[:, :1])
            before = torch.cat([edge, clip[:, :-1]], dim=1) * previous
            after = torch.cat([clip[:, 1:], edge], dim=1) * following
            blended = torch.maximum(torch.maximum(before, clip * current), after)
        return blended.relu().flatten(0, 1).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"method={self.method!r}"


class _ChannelScale(nn.Module):
    """One weight per channel, stored as the published depth-wise 1x1 convolution (C, 1, 1, 1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)

    def scale(self) -> Tensor:
        return self.fc1.weight.flatten()

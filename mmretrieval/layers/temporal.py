"""Mixing neighbouring frames of 2-D networks. Frames come folded, (B·T, C, H, W), and stay in channels-last memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmretrieval.errors import ModelError


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


class TemporalLayer(nn.Module, ABC):
    """What mixes the frames of a clip: all of them at once or, unless it looks ahead, one after the other.

    Called with frames (B·T, C, H, W) and the ``length`` T of their clips it sees whole clips. ``step`` by ``step`` it
    gives the same for each frame as it comes, from what it remembers of those before.
    """

    @property
    @abstractmethod
    def looks_ahead(self) -> bool:
        """Whether a frame sees frames after it, so that there is no ``step``."""

    @abstractmethod
    def step(self, frame: Tensor, state: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """Return what comes of the next frame of B videos, and what to remember for the one after it.

        Args:
            frame: (B, C, H, W).
            state: What the step before returned, (B, …, H, W), which is left as it is; None before the first frame.

        Returns:
            (B, C, H, W), or None where this frame gives nothing; and the new state, of a size that does not grow.
        """


class TemporalShift(TemporalLayer):
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

    @property
    def looks_ahead(self) -> bool:
        return not self.unidirectional

    def step(self, frame: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """As ``TemporalLayer.step``; the state (B, C / share, H, W) is the channels that the next frame will get."""
        fold = frame.shape[1] // self.share
        # a copy: a view would keep all channels of the frame
        moving = frame[:, :fold].clone(memory_format=torch.channels_last)
        return torch.cat([torch.zeros_like(moving) if state is None else state, frame[:, fold:]], dim=1), moving

    def extra_repr(self) -> str:
        return f"share={self.share}, unidirectional={self.unidirectional}"


class TemporalAggregation(TemporalLayer):
    """Blend each frame with its neighbours, one weight per channel and neighbour, then ReLU.

    y_t = ReLU(Σ_i w_i · x_{t + i − ⌊b/2⌋}), i from 0 to b − 1, zeros beyond the ends of the clip; with b = 3 these are
    the previous, the current and the next frame, and an even b looks further back than ahead. The Temporal Aggregation
    Module of bLVNet-TAM as used by "Deep Analysis of CNN-based Spatio-temporal Representations" (arXiv 2010.11757). Not
    TANet's module of the same initials.

    It is computed as one multiplication and fused multiply-adds; the published depth-wise convolutions with pad, stack
    and sum cost as much as a whole ResNet-50 on a CPU. Parameter names are the published ones.

    Args:
        channels: C.
        method: "sum" of the weighted frames, or their element-wise "max".
        frames: How many are blended, b.
        depthwise: One weight per channel; else a full C × C matrix per neighbour.
        causal: Look at x_{t − b + 1} to x_t alone, for online use; not in the paper.

    Raises:
        ModelError: An unknown method, or no frame to blend.
    """

    def __init__(
        self, channels: int, method: str = "sum", frames: int = 3, depthwise: bool = True, causal: bool = False
    ):
        super().__init__()
        if method not in ("sum", "max"):
            raise ModelError(f"temporal aggregation method '{method}' is unknown: use 'sum' or 'max'")
        if frames < 1:
            raise ModelError(f"temporal aggregation of {frames} frames: at least 1 is needed")
        self.method = method
        self.frames = frames
        self.causal = causal
        past = frames - 1 if causal else frames // 2
        self.offsets = tuple(range(-past, frames - past))
        if self.offsets == (-1, 0, 1):
            self.prev_se = _Scale(channels, depthwise)
            self.next_se = _Scale(channels, depthwise)
            self.curr_se = _Scale(channels, depthwise)
        else:
            self.blending_layers = nn.ModuleList(_Scale(channels, depthwise) for _ in self.offsets)

    @property
    def taps(self) -> dict[int, _Scale]:
        """What weighs each neighbour, by its offset in time."""
        named = self.offsets == (-1, 0, 1)
        scales = (self.prev_se, self.curr_se, self.next_se) if named else self.blending_layers
        return dict(zip(self.offsets, scales, strict=True))

    def forward(self, frames: Tensor, length: int) -> Tensor:
        """Blend clips of ``length`` frames each, (B·T, C, H, W) to the same shape."""
        taps = self.taps
        blended = taps.pop(0)(frames).unflatten(0, (-1, length))
        for offset, scale in taps.items():
            weighted = None if self.method == "sum" and scale.depthwise else scale(frames).unflatten(0, (-1, length))
            if self.method == "max":
                blended = torch.maximum(blended, _moved(weighted, offset))
                continue
            target, source = _overlap(offset, length)
            if weighted is None:
                clip = frames.unflatten(0, (-1, length))
                blended[:, target].addcmul_(clip[:, source], scale.fc1.weight.view(1, -1, 1, 1))
            else:
                blended[:, target] += weighted[:, source]
        return blended.relu().flatten(0, 1)

    @property
    def looks_ahead(self) -> bool:
        return self.offsets[-1] > 0

    def step(self, frame: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """As ``TemporalLayer.step``; the state (B, n, C, H, W) is the last n = −offsets[0] frames, the latest last."""
        past = no_frames(frame, -self.offsets[0]) if state is None else state
        taps = self.taps
        blended = taps.pop(0)(frame)
        for offset, scale in taps.items():
            weighted = scale(past[:, offset])
            blended = torch.maximum(blended, weighted) if self.method == "max" else blended + weighted
        return blended.relu(), followed(past, frame)[:, 1:]

    def extra_repr(self) -> str:
        return f"method={self.method!r}, frames={self.frames}, causal={self.causal}"


def _overlap(offset: int, length: int) -> tuple[slice, slice]:
    """Return which frames t of a clip have a neighbour t + offset in it, and those neighbours."""
    count = max(0, length - abs(offset))
    return slice(max(0, -offset), max(0, -offset) + count), slice(max(0, offset), max(0, offset) + count)


def _moved(clip: Tensor, offset: int) -> Tensor:
    """Return x_{t + offset} at every t of clips (B, T, …), zeros beyond their ends."""
    target, source = _overlap(offset, clip.shape[1])
    moved = torch.zeros_like(clip)
    moved[:, target] = clip[:, source]
    return moved


def no_frames(like: Tensor, count: int) -> Tensor:
    """Return the (B, n, C, H, W) frames before the first one (B, C, H, W): zeros. Each is in channels-last memory."""
    batch, channels, height, width = like.shape
    return like.new_zeros((batch, count, height, width, channels)).permute(0, 1, 4, 2, 3)


def followed(past: Tensor, frame: Tensor) -> Tensor:
    """Return frames (B, n, C, H, W) and the next one (B, C, H, W) as (B, n + 1, C, H, W), each channels-last."""
    rows = torch.cat([past.permute(0, 1, 3, 4, 2), frame.permute(0, 2, 3, 1).unsqueeze(1)], dim=1)
    return rows.permute(0, 1, 4, 2, 3)


class _Scale(nn.Module):
    """The weights of one neighbour, stored as the published 1x1 convolution: (C, 1, 1, 1), or dense (C, C, 1, 1)."""

    def __init__(self, channels: int, depthwise: bool):
        super().__init__()
        self.depthwise = depthwise
        self.fc1 = nn.Conv2d(channels, channels, 1, groups=channels if depthwise else 1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Weigh frames (B·T, C, H, W); one weight per channel is a product, no convolution."""
        return frames * self.fc1.weight.view(1, -1, 1, 1) if self.depthwise else self.fc1(frames)


class TemporalPool(TemporalLayer):
    """Pool over time alone, windows of 3 at every other frame: T frames become ⌈T / 2⌉ (arXiv 2010.11757).

    Beyond the ends of the clip stand zeros, which an average counts, as published; maps are behind a ReLU, so the
    maximum does not see them.

    Args:
        method: "max" or "avg".
        causal: Windows end at their frame instead of standing around it, for online use; not in the paper.

    Raises:
        ModelError: An unknown method.
    """

    def __init__(self, method: str = "max", causal: bool = False):
        super().__init__()
        if method not in ("max", "avg"):
            raise ModelError(f"temporal pooling '{method}' is unknown: use 'max' or 'avg'")
        self.method = method
        self.causal = causal

    def forward(self, frames: Tensor, length: int) -> Tensor:
        """Pool clips of ``length`` frames each, (B·T, C, H, W) to (B·⌈T / 2⌉, C, H, W)."""
        height, width = frames.shape[-2:]
        # time and all places of a frame as the two axes of one channels-last image: a view
        plane = frames.permute(0, 2, 3, 1).unflatten(0, (-1, length)).flatten(2, 3).permute(0, 3, 1, 2)
        pool = F.max_pool2d if self.method == "max" else F.avg_pool2d
        if self.causal:
            pooled = pool(F.pad(plane, (0, 0, 2, 0)), (3, 1), (2, 1))
        else:
            pooled = pool(plane, (3, 1), (2, 1), (1, 0))
        return pooled.permute(0, 2, 3, 1).flatten(0, 1).unflatten(1, (height, width)).permute(0, 3, 1, 2)

    @property
    def looks_ahead(self) -> bool:
        return not self.causal

    def step(self, frame: Tensor, state: Tensor | None) -> tuple[Tensor | None, Tensor]:
        """As ``TemporalLayer.step``; the first frame gives something, the second nothing, and so on in turn.

        The state (B, n, C, H, W) is the window of the next output so far: one frame after an output, else two.
        """
        window = followed(no_frames(frame, 2) if state is None else state, frame)
        if window.shape[1] < 3:
            return None, window
        one, two, three = window.unbind(1)
        pooled = torch.maximum(torch.maximum(one, two), three) if self.method == "max" else (one + two + three) / 3
        return pooled, window[:, 2:]

    def extra_repr(self) -> str:
        return f"method={self.method!r}, causal={self.causal}"


@dataclass(frozen=True)
class Mixing:
    """How a 2-D network mixes neighbouring frames, wherever in it that happens.

    Attributes:
        kind: "tsn" (frames stay apart), "tsm" (``TemporalShift``) or "tam" (``TemporalAggregation``).
        causal: Never look ahead, for online use.
        blending_frames: TAM: how many frames are blended.
        blending_method: TAM: "sum" or "max".
        depthwise: TAM: one weight per channel and frame; else a full matrix.

    Raises:
        ModelError: An unknown kind.
    """

    kind: str = "tsn"
    causal: bool = False
    blending_frames: int = 3
    blending_method: str = "sum"
    depthwise: bool = True

    def __post_init__(self):
        if self.kind not in ("tsn", "tsm", "tam"):
            raise ModelError(f"temporal module {self.kind!r} is unknown: use 'tsn' (none), 'tsm' or 'tam'")

    def module(self, channels: int) -> TemporalShift | TemporalAggregation | None:
        """Return a new module that mixes frames of so many channels, None where they stay apart."""
        if self.kind == "tsm":
            return TemporalShift(unidirectional=self.causal)
        if self.kind == "tam":
            return TemporalAggregation(
                channels, self.blending_method, self.blending_frames, self.depthwise, self.causal
            )
        return None

    def pool(self, method: str | None) -> TemporalPool | None:
        """Return a new temporal pooling that looks ahead only where this mixing may; None for the method None."""
        return None if method is None else TemporalPool(method, self.causal)

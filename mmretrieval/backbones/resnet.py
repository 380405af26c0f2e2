"""2-D residual networks over frames, with or without a temporal module: TSN, TSM and TAM.

The torchvision v1.5 layout (stride in the 3x3 of a bottleneck) and its parameter names, of the 2-D ResNets of "Deep
Analysis of CNN-based Spatio-temporal Representations" (arXiv 2010.11757). A temporal module sits on the residual branch
only, at the input of each block's first convolution; shortcuts read the unmixed input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mmretrieval.backbones.names import register_variant
from mmretrieval.layers.folded import fold_clips, frame_features, pool_frames, zero_frames
from mmretrieval.layers.masking import downsample_mask
from mmretrieval.layers.pointwise import PointConv2d
from mmretrieval.layers.temporal import Mixing
from mmretrieval.types import ClipSpec, Features, Padded

Cleaner = Callable[[Tensor], Tensor]
"""Zeroes the padding of a map (B, C, H, W), where an image has any."""

APART = Mixing()
"""Frames are not mixed."""

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def untouched(maps: Tensor) -> Tensor:
    """Return maps as they are: what cleans the images of a clip, which have no padding."""
    return maps


class _Block(nn.Module, ABC):
    """What both kinds of residual block share: the temporal module, the shortcut and their order."""

    expansion: int

    def __init__(self, in_channels: int, channels: int, stride: int, mixing: Mixing, aggregated_shortcut: bool):
        super().__init__()
        out_channels = channels * self.expansion
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                PointConv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.tam = mixing.module(in_channels) if mixing.kind == "tam" else None
        self.tsm = mixing.module(in_channels) if mixing.kind == "tsm" else None
        self.aggregated_shortcut = aggregated_shortcut

    @abstractmethod
    def residual(self, frames: Tensor, clean: Cleaner) -> Tensor:
        """The residual branch, up to its last normalisation; ``clean`` comes before each 3x3 convolution."""

    def forward(self, frames: Tensor, mask: Tensor | None, length: int, clean: Cleaner = untouched) -> Tensor:
        """Frames (B·T, C, H, W); ``mask`` (B·T,) only where some frames are padding, which must not mix in time.

        ``clean`` is for images with padding of their own: spectrograms of different length.
        """
        mixer = self.tam or self.tsm
        mixed = frames if mixer is None else mixer(zero_frames(frames, mask), length)
        shortcut = frames
        if self.downsample is not None:
            shortcut = self.downsample(mixed if self.aggregated_shortcut else frames)
        return self.relu(self.residual(mixed, clean) + shortcut)


class BasicBlock(_Block):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, mixing: Mixing, aggregated_shortcut: bool):
        super().__init__(in_channels, channels, stride, mixing, aggregated_shortcut)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def residual(self, frames: Tensor, clean: Cleaner) -> Tensor:
        frames = self.relu(self.bn1(self.conv1(clean(frames))))
        return self.bn2(self.conv2(clean(frames)))


class Bottleneck(_Block):
    """1x1 down, 3x3 with the stride, 1x1 up to four times the width."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, mixing: Mixing, aggregated_shortcut: bool):
        super().__init__(in_channels, channels, stride, mixing, aggregated_shortcut)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)

    def residual(self, frames: Tensor, clean: Cleaner) -> Tensor:
        frames = self.relu(self.bn1(self.conv1(frames)))
        frames = self.relu(self.bn2(self.conv2(clean(frames))))
        return self.bn3(self.conv3(frames))


class ResidualStages(nn.Module):
    """The stem and the stages of a residual network: images to its last feature map.

    Args:
        blocks: ``BasicBlock`` or ``Bottleneck`` for each stage.
        depths: Blocks per stage.
        widths: Channels per stage, before a bottleneck's expansion; the stem has the first.
        mixing: How frames are mixed at the input of each block.
        strides: Spatial stride of each stage.
        stem: Kernel and stride of the first convolution.
        stem_pool: Max-pooling of stride 2 after it.
        channels: Channels of an image: 3 for colours, 1 for a spectrogram.
        temporal_pool: "max" or "avg" after every stage but the last: T frames become ⌈T / 2⌉ each time; None keeps
            them all.
        aggregated_shortcut: A shortcut with a convolution reads the mixed input. The published code did so until the
            day its weights appeared; files do not tell which wiring they were trained with. An identity shortcut
            reads the unmixed input always.
    """

    def __init__(
        self,
        blocks: Sequence[type[_Block]],
        depths: Sequence[int],
        widths: Sequence[int],
        mixing: Mixing = APART,
        strides: Sequence[int] = (1, 2, 2, 2),
        stem: tuple[int, int] = (7, 2),
        stem_pool: bool = True,
        channels: int = 3,
        temporal_pool: str | None = None,
        aggregated_shortcut: bool = False,
    ):
        super().__init__()
        self.feature_dim = widths[-1] * blocks[-1].expansion
        kernel, stride = stem
        self.conv1 = nn.Conv2d(channels, widths[0], kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem_pool else nn.Identity()
        channels = widths[0]
        self.stages = [f"layer{number}" for number in range(1, len(depths) + 1)]
        for name, block, depth, width, stride in zip(self.stages, blocks, depths, widths, strides, strict=True):
            stage = nn.ModuleList()
            for index in range(depth):
                stage.append(block(channels, width, stride if index == 0 else 1, mixing, aggregated_shortcut))
                channels = width * block.expansion
            self.add_module(name, stage)
        self.temporal_pool = mixing.pool(temporal_pool)
        self.temporal_stride = 1 if temporal_pool is None else 2 ** (len(depths) - 1)
        self.reset_parameters()
        self.to(memory_format=torch.channels_last)

    def reset_parameters(self) -> None:
        """Initialise as published: convolutions Kaiming-normal over outputs (He et al. 2015), the temporal ones too."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, images: Tensor, mask: Tensor | None, length: int, clean: Cleaner = untouched) -> Tensor:
        """Images (B·T, C, H, W), zero at padding, to the last feature map (B·T', D, h, w), T' = ⌈T / temporal_stride⌉.

        ``mask`` (B·T,) is given only where some images are padding.
        """
        images = self.maxpool(clean(self.relu(self.bn1(self.conv1(images)))))
        for name in self.stages:
            for block in getattr(self, name):
                images = block(images, mask, length, clean)
            if self.temporal_pool is not None and name != self.stages[-1]:
                images, mask, length = pool_frames(self.temporal_pool, images, mask, length)
        return images


class ResNet(ResidualStages):
    """Residual network over the frames of a clip; features are its last feature map, every place of every frame.

    Args:
        blocks: ``BasicBlock`` or ``Bottleneck`` for each stage.
        depths: Blocks per stage.
        widths: Channels per stage; see ``ResidualStages``, as for the further options.
        spec: The clips it expects.
        mixing: How frames are mixed at the input of each block.
    """

    def __init__(
        self,
        blocks: Sequence[type[_Block]],
        depths: Sequence[int],
        widths: Sequence[int],
        spec: ClipSpec,
        mixing: Mixing = APART,
        **options: Any,
    ):
        super().__init__(blocks, depths, widths, mixing, **options)
        self.spec = spec

    def forward(self, frames: Padded) -> Features:
        """Clips (B, T, C, H, W), normalised by ``spec``, to features (B, T'·h·w, D) with grid (T', h, w).

        T' is T, or ⌈T / temporal_stride⌉ with temporal pooling; any T will do.
        """
        images, mask = fold_clips(frames)
        maps = self.maps(images, mask, frames.mask.shape[1])
        return frame_features(maps, downsample_mask(frames.mask, self.temporal_stride))


@dataclass(frozen=True)
class Layout:
    """A residual network apart from its width and from how it mixes frames, and what its builders offer by default."""

    text: str
    blocks: tuple[type[_Block], ...]
    depths: tuple[int, ...]
    growth: tuple[int, ...] = (1, 2, 4, 8)
    width: int = 64
    frames: int = 8
    size: int = 224
    stages: Mapping[str, Any] = field(default_factory=dict)

    def build(self, frames: int, size: int, width: int, mixing: Mixing, **options: Any) -> ResNet:
        """Return the network for clips of ``frames`` frames of ``size`` pixels, ``width`` channels after its stem."""
        widths = [width * factor for factor in self.growth]
        return ResNet(self.blocks, self.depths, widths, ClipSpec(frames, size), mixing, **self.stages, **options)


LAYOUTS = {
    f"resnet{depth}": Layout(f"ResNet-{depth}", (BasicBlock if depth < 50 else Bottleneck,) * 4, depths)
    for depth, depths in DEPTHS.items()
}
# Made for small frames and the clock of a CPU: a stem that keeps half of the resolution, because things may be a few
# pixels wide, and one block per stage, each halving it.
LAYOUTS["resnet_tiny"] = Layout(
    "A ResNet for small frames on a CPU, from ``width`` to 8 · ``width`` channels",
    (BasicBlock,) * 3,
    depths=(1, 1, 1),
    growth=(1, 3, 8),
    width=16,
    size=64,
    stages={"strides": (2, 2, 2), "stem": (5, 2), "stem_pool": False},
)
LAYOUTS["resnet_test"] = Layout(
    "The smallest ResNet, for tests",
    (BasicBlock, Bottleneck),
    depths=(1, 1),
    growth=(1, 1),
    width=8,
    frames=4,
    size=16,
    stages={"strides": (2, 2), "stem": (3, 2), "stem_pool": False},
)


def _register(name: str, layout: Layout) -> None:
    """Register a layout's three variants: frames apart, channels shifted in time, frames blended in time."""

    def tsn(
        frames: int = layout.frames,
        size: int = layout.size,
        width: int = layout.width,
        temporal_pool: str | None = None,
    ) -> ResNet:
        return layout.build(frames, size, width, APART, temporal_pool=temporal_pool)

    def tsm(
        frames: int = layout.frames,
        size: int = layout.size,
        width: int = layout.width,
        temporal_pool: str | None = None,
        causal: bool = False,
    ) -> ResNet:
        return layout.build(frames, size, width, Mixing("tsm", causal), temporal_pool=temporal_pool)

    def tam(
        frames: int = layout.frames,
        size: int = layout.size,
        width: int = layout.width,
        temporal_pool: str | None = None,
        causal: bool = False,
        blending_frames: int = 3,
        blending_method: str = "sum",
        depthwise: bool = True,
        aggregated_shortcut: bool = False,
    ) -> ResNet:
        mixing = Mixing("tam", causal, blending_frames, blending_method, depthwise)
        options = {"temporal_pool": temporal_pool, "aggregated_shortcut": aggregated_shortcut}
        return layout.build(frames, size, width, mixing, **options)

    for builder, prefix, manner in (
        (tsn, "", "each frame by itself (TSN)"),
        (tsm, "tsm_", "channels shifted in time (TSM)"),
        (tam, "tam_", "frames blended in time (TAM)"),
    ):
        register_variant(builder, prefix + name, f"{layout.text}, {manner}.")


for _name, _layout in LAYOUTS.items():
    _register(_name, _layout)

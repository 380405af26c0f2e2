"""2-D residual networks over frames, with or without a temporal module: TSN, TSM and TAM.

The torchvision v1.5 layout (stride in the 3x3 of a bottleneck) and its parameter names. A temporal module sits on the
residual branch only, at the input of each block's first convolution; shortcuts read the unmixed input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmretrieval.backbones.names import backbones
from mmretrieval.layers.masking import expand, zero_padding
from mmretrieval.layers.temporal import TemporalAggregation, TemporalShift
from mmretrieval.types import ClipSpec, Features, Padded

Cleaner = Callable[[Tensor], Tensor]
"""Zeroes the padding of a map (B, C, H, W), where an image has any."""

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def untouched(maps: Tensor) -> Tensor:
    """Return maps as they are: what cleans the images of a clip, which have no padding."""
    return maps


class _Block(nn.Module, ABC):
    """What both kinds of residual block share: the temporal module, the shortcut and their order."""

    expansion: int

    def __init__(self, in_channels: int, channels: int, stride: int, temporal: str | None):
        super().__init__()
        out_channels = channels * self.expansion
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.tam = TemporalAggregation(in_channels) if temporal == "tam" else None
        self.tsm = TemporalShift() if temporal == "tsm" else None

    @abstractmethod
    def residual(self, frames: Tensor, clean: Cleaner) -> Tensor:
        """The residual branch, up to its last normalisation; ``clean`` comes before each 3x3 convolution."""

    def forward(self, frames: Tensor, mask: Tensor | None, length: int, clean: Cleaner = untouched) -> Tensor:
        """Frames (B·T, C, H, W); ``mask`` (B·T,) only where some frames are padding, which must not mix in time.

        ``clean`` is for images with padding of their own: spectrograms of different length.
        """
        shortcut = frames if self.downsample is None else self.downsample(frames)
        mixer = self.tam or self.tsm
        if mixer is not None:
            frames = mixer(frames if mask is None else zero_padding(frames, mask), length)
        return self.relu(self.residual(frames, clean) + shortcut)


class BasicBlock(_Block):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, temporal: str | None):
        super().__init__(in_channels, channels, stride, temporal)
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

    def __init__(self, in_channels: int, channels: int, stride: int, temporal: str | None):
        super().__init__(in_channels, channels, stride, temporal)
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
        temporal: None (frames stay apart: TSN), "tsm" or "tam".
        strides: Spatial stride of each stage.
        stem: Kernel and stride of the first convolution.
        stem_pool: Max-pooling of stride 2 after it.
        channels: Channels of an image: 3 for colours, 1 for a spectrogram.
    """

    def __init__(
        self,
        blocks: Sequence[type[_Block]],
        depths: Sequence[int],
        widths: Sequence[int],
        temporal: str | None = None,
        strides: Sequence[int] = (1, 2, 2, 2),
        stem: tuple[int, int] = (7, 2),
        stem_pool: bool = True,
        channels: int = 3,
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
                stage.append(block(channels, width, stride if index == 0 else 1, temporal))
                channels = width * block.expansion
            self.add_module(name, stage)
        self.reset_parameters()
        self.to(memory_format=torch.channels_last)

    def reset_parameters(self) -> None:
        """Initialise as published: convolutions Kaiming-normal over outputs (He et al. 2015), the temporal ones too."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def maps(self, images: Tensor, mask: Tensor | None, length: int, clean: Cleaner = untouched) -> Tensor:
        """Images (B·T, C, H, W), zero at padding, to the last feature map (B·T, D, h, w)."""
        images = self.maxpool(clean(self.relu(self.bn1(self.conv1(images)))))
        for name in self.stages:
            for block in getattr(self, name):
                images = block(images, mask, length, clean)
        return images


class ResNet(ResidualStages):
    """Residual network over the frames of a clip; features are its last feature map, every place of every frame.

    Args:
        blocks: ``BasicBlock`` or ``Bottleneck`` for each stage.
        depths: Blocks per stage.
        widths: Channels per stage; see ``ResidualStages``, as for the further options.
        spec: The clips it expects.
        temporal: None (frames stay apart: TSN), "tsm" or "tam".
    """

    def __init__(
        self,
        blocks: Sequence[type[_Block]],
        depths: Sequence[int],
        widths: Sequence[int],
        spec: ClipSpec,
        temporal: str | None = None,
        **options: Any,
    ):
        super().__init__(blocks, depths, widths, temporal, **options)
        self.spec = spec

    def forward(self, frames: Padded) -> Features:
        """Clips (B, T, C, H, W), normalised by ``spec``, to features (B, T·h·w, D) with grid (T, h, w)."""
        batch, length = frames.mask.shape
        whole = bool(frames.mask.all())
        mask = None if whole else frames.mask.flatten()
        values = frames.values.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        if mask is not None:
            values = zero_padding(values, mask)
        values = self.maps(values, mask, length)
        height, width = values.shape[-2:]
        values = values.permute(0, 2, 3, 1).reshape(batch, length, height * width, self.feature_dim)
        if not whole:
            values = zero_padding(values, frames.mask)
        places = expand(frames.mask, values[..., 0]).expand(-1, -1, height * width)
        return Features(values.flatten(1, 2), places.reshape(batch, -1), (length, height, width))


def _imagenet(depth: int, temporal: str | None, frames: int, size: int) -> ResNet:
    block = BasicBlock if depth < 50 else Bottleneck
    return ResNet([block] * 4, DEPTHS[depth], (64, 128, 256, 512), ClipSpec(frames, size), temporal)


def _tiny(temporal: str | None, frames: int, size: int, width: int) -> ResNet:
    # Made for small frames and the clock of a CPU: a stem that keeps half of the resolution, because things may be a
    # few pixels wide, and one block per stage, each halving it.
    widths = (width, 3 * width, 8 * width)
    spec = ClipSpec(frames, size)
    return ResNet([BasicBlock] * 3, (1, 1, 1), widths, spec, temporal, strides=(2, 2, 2), stem=(5, 2), stem_pool=False)


def _test(temporal: str | None, frames: int, size: int) -> ResNet:
    blocks = [BasicBlock, Bottleneck]
    spec = ClipSpec(frames, size)
    return ResNet(blocks, (1, 1), (8, 8), spec, temporal, strides=(2, 2), stem=(3, 2), stem_pool=False)


@backbones.register()
def resnet18(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-18, each frame by itself (TSN)."""
    return _imagenet(18, None, frames, size)


@backbones.register()
def resnet34(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-34, each frame by itself (TSN)."""
    return _imagenet(34, None, frames, size)


@backbones.register()
def resnet50(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-50, each frame by itself (TSN)."""
    return _imagenet(50, None, frames, size)


@backbones.register()
def resnet101(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-101, each frame by itself (TSN)."""
    return _imagenet(101, None, frames, size)


@backbones.register()
def resnet152(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-152, each frame by itself (TSN)."""
    return _imagenet(152, None, frames, size)


@backbones.register()
def resnet_tiny(frames: int = 8, size: int = 64, width: int = 16) -> ResNet:
    """A ResNet for small frames on a CPU, from ``width`` to 8 · ``width`` channels; each frame by itself (TSN)."""
    return _tiny(None, frames, size, width)


@backbones.register()
def resnet_test(frames: int = 4, size: int = 16) -> ResNet:
    """The smallest ResNet, for tests, each frame by itself (TSN)."""
    return _test(None, frames, size)


@backbones.register()
def tsm_resnet18(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-18, channels shifted in time (TSM)."""
    return _imagenet(18, "tsm", frames, size)


@backbones.register()
def tsm_resnet34(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-34, channels shifted in time (TSM)."""
    return _imagenet(34, "tsm", frames, size)


@backbones.register()
def tsm_resnet50(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-50, channels shifted in time (TSM)."""
    return _imagenet(50, "tsm", frames, size)


@backbones.register()
def tsm_resnet101(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-101, channels shifted in time (TSM)."""
    return _imagenet(101, "tsm", frames, size)


@backbones.register()
def tsm_resnet152(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-152, channels shifted in time (TSM)."""
    return _imagenet(152, "tsm", frames, size)


@backbones.register()
def tsm_resnet_tiny(frames: int = 8, size: int = 64, width: int = 16) -> ResNet:
    """A ResNet for small frames on a CPU, from ``width`` to 8 · ``width`` channels; channels shifted in time (TSM)."""
    return _tiny("tsm", frames, size, width)


@backbones.register()
def tsm_resnet_test(frames: int = 4, size: int = 16) -> ResNet:
    """The smallest ResNet, for tests, channels shifted in time (TSM)."""
    return _test("tsm", frames, size)


@backbones.register()
def tam_resnet18(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-18, frames blended in time (TAM)."""
    return _imagenet(18, "tam", frames, size)


@backbones.register()
def tam_resnet34(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-34, frames blended in time (TAM)."""
    return _imagenet(34, "tam", frames, size)


@backbones.register()
def tam_resnet50(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-50, frames blended in time (TAM)."""
    return _imagenet(50, "tam", frames, size)


@backbones.register()
def tam_resnet101(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-101, frames blended in time (TAM)."""
    return _imagenet(101, "tam", frames, size)


@backbones.register()
def tam_resnet152(frames: int = 8, size: int = 224) -> ResNet:
    """ResNet-152, frames blended in time (TAM)."""
    return _imagenet(152, "tam", frames, size)


@backbones.register()
def tam_resnet_tiny(frames: int = 8, size: int = 64, width: int = 16) -> ResNet:
    """A ResNet for small frames on a CPU, from ``width`` to 8 · ``width`` channels; frames blended in time (TAM)."""
    return _tiny("tam", frames, size, width)


@backbones.register()
def tam_resnet_test(frames: int = 4, size: int = 16) -> ResNet:
    """The smallest ResNet, for tests, frames blended in time (TAM)."""
    return _test("tam", frames, size)

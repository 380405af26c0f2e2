"""3-D residual networks over clips: I3D-ResNet and S3D-ResNet, and what R(2+1)D shares with them.

As in "Deep Analysis of CNN-based Spatio-temporal Representations" (arXiv 2010.11757), with its parameter names.
I3D-ResNet has 3x3x3 kernels wherever a 2-D ResNet has 3x3; FAIR's I3D-R50 with 3x1x1 kernels is another network.
S3D-ResNet does space, then time, and keeps its channels between them; R(2+1)D widens them.

Time is shortened by a stride in the first block of each stage but the first, so there is no choice of maximum or
average as for the 2-D networks: ``temporal_pool`` is on or off. Published code has it on by default; here it is off, as
in the rest of the zoo.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mmretrieval.backbones.names import register_variant
from mmretrieval.backbones.resnet import LAYOUTS, BasicBlock, Layout
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import downsample_mask
from mmretrieval.layers.volume import PlaneConv3d, PlanePool, as_volume, initialize, volume_features, zero_frames
from mmretrieval.types import ClipSpec, Features, Padded


def space_conv(in_channels: int, channels: int, stride: int = 1, kernel: int = 3) -> PlaneConv3d:
    """A 1 x k x k convolution."""
    return PlaneConv3d(
        in_channels, channels, (1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2), bias=False
    )


def time_conv(in_channels: int, channels: int, stride: int = 1, depthwise: bool = False) -> PlaneConv3d:
    """A 3 x 1 x 1 convolution."""
    groups = channels if depthwise else 1
    return PlaneConv3d(in_channels, channels, (3, 1, 1), (stride, 1, 1), (1, 0, 0), groups=groups, bias=False)


def point_conv(in_channels: int, channels: int, stride: int | tuple[int, ...] = 1) -> PlaneConv3d:
    """A 1 x 1 x 1 convolution."""
    return PlaneConv3d(in_channels, channels, 1, stride, bias=False)


class Block3d(nn.Module, ABC):
    """What all residual blocks share: the shortcut, the temporal stride and the order.

    Args:
        in_channels: C.
        channels: Width before a bottleneck's expansion.
        strides: In time and in space.
    """

    expansion: int

    def __init__(self, in_channels: int, channels: int, strides: tuple[int, int]):
        super().__init__()
        step, stride = strides
        out_channels = channels * self.expansion
        self.step = step
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if strides != (1, 1) or in_channels != out_channels:
            self.downsample = nn.Sequential(
                point_conv(in_channels, out_channels, (step, stride, stride)), nn.BatchNorm3d(out_channels)
            )

    @abstractmethod
    def residual(self, clip: Tensor, mask: Tensor | None, after: Tensor | None) -> Tensor:
        """The residual branch, up to its last normalisation; masks of the frames before and after its stride."""

    def forward(self, clip: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Volumes (B, C, T, H, W); ``mask`` (B, T) only where some frames are padding. Both come back, strided."""
        after = None if mask is None else downsample_mask(mask, self.step)
        shortcut = clip if self.downsample is None else self.downsample(clip)
        return self.relu(self.residual(clip, mask, after) + shortcut), after


class InflatedBasic(Block3d):
    """Two 3x3x3 convolutions."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, strides: tuple[int, int]):
        super().__init__(in_channels, channels, strides)
        step, stride = strides
        self.conv1 = PlaneConv3d(in_channels, channels, 3, (step, stride, stride), 1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = PlaneConv3d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)

    def residual(self, clip: Tensor, mask: Tensor | None, after: Tensor | None) -> Tensor:
        clip = self.relu(self.bn1(self.conv1(zero_frames(clip, mask))))
        return self.bn2(self.conv2(zero_frames(clip, after)))


class InflatedBottleneck(Block3d):
    """1x1x1 down, 3x3x3 with the strides, 1x1x1 up to four times the width."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, strides: tuple[int, int]):
        super().__init__(in_channels, channels, strides)
        step, stride = strides
        self.conv1 = point_conv(in_channels, channels)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = PlaneConv3d(channels, channels, 3, (step, stride, stride), 1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv3 = point_conv(channels, channels * self.expansion)
        self.bn3 = nn.BatchNorm3d(channels * self.expansion)

    def residual(self, clip: Tensor, mask: Tensor | None, after: Tensor | None) -> Tensor:
        clip = self.relu(self.bn1(self.conv1(clip)))
        clip = self.relu(self.bn2(self.conv2(zero_frames(clip, mask))))
        return self.bn3(self.conv3(clip))


class SeparateBasic(Block3d):
    """Twice 1x3x3, then 3x1x1, each normalised; the first pair has the strides, space and time its own.

    Args:
        in_channels: C.
        channels: Width.
        strides: In time and in space.
        depthwise_time: Temporal convolutions mix no channels, the published ``--dw_t_conv``.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, strides: tuple[int, int], depthwise_time: bool):
        super().__init__(in_channels, channels, strides)
        step, stride = strides
        self.conv1 = space_conv(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv1_t = time_conv(channels, channels, step, depthwise_time)
        self.bn1_t = nn.BatchNorm3d(channels)
        self.conv2 = space_conv(channels, channels)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv2_t = time_conv(channels, channels, 1, depthwise_time)
        self.bn2_t = nn.BatchNorm3d(channels)

    def residual(self, clip: Tensor, mask: Tensor | None, after: Tensor | None) -> Tensor:
        clip = self.relu(self.bn1(self.conv1(clip)))
        clip = self.relu(self.bn1_t(self.conv1_t(zero_frames(clip, mask))))
        clip = self.relu(self.bn2(self.conv2(clip)))
        return self.bn2_t(self.conv2_t(zero_frames(clip, after)))


class SeparateBottleneck(Block3d):
    """1x1x1 down, 1x3x3 and 3x1x1 with the strides, 1x1x1 up; arguments as of ``SeparateBasic``."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, strides: tuple[int, int], depthwise_time: bool):
        super().__init__(in_channels, channels, strides)
        step, stride = strides
        self.conv1 = point_conv(in_channels, channels)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = space_conv(channels, channels, stride)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv2_t = time_conv(channels, channels, step, depthwise_time)
        self.bn2_t = nn.BatchNorm3d(channels)
        self.conv3 = point_conv(channels, channels * self.expansion)
        self.bn3 = nn.BatchNorm3d(channels * self.expansion)

    def residual(self, clip: Tensor, mask: Tensor | None, after: Tensor | None) -> Tensor:
        clip = self.relu(self.bn1(self.conv1(clip)))
        clip = self.relu(self.bn2(self.conv2(clip)))
        clip = self.relu(self.bn2_t(self.conv2_t(zero_frames(clip, mask))))
        return self.bn3(self.conv3(clip))


class ResNet3d(nn.Module):
    """3-D residual network; features are its last feature map, every place of every frame that is left.

    Args:
        blocks: The kind of block of each stage.
        depths: Blocks per stage.
        widths: Channels per stage, before a bottleneck's expansion; the stem has the first.
        spec: The clips it expects.
        temporal_pool: Temporal stride 2 in the first block of each stage but the first: T frames become ⌈T / 2⌉.
        strides: Spatial stride of each stage.
        stem: Spatial kernel and stride of the first convolution, which spans three frames.
        stem_pool: Max-pooling of spatial stride 2 after it.
        block_options: What else the blocks are to know.

    Raises:
        ModelError: ``temporal_pool`` is neither true nor false.
    """

    def __init__(
        self,
        blocks: Sequence[type[Block3d]],
        depths: Sequence[int],
        widths: Sequence[int],
        spec: ClipSpec,
        temporal_pool: bool,
        strides: Sequence[int] = (1, 2, 2, 2),
        stem: tuple[int, int] = (7, 2),
        stem_pool: bool = True,
        **block_options: Any,
    ):
        super().__init__()
        if not isinstance(temporal_pool, bool):
            raise ModelError(
                f"temporal_pool is {temporal_pool!r}: a 3-D residual network shortens time by strides, so true or false"
            )
        self.spec = spec
        self.feature_dim = widths[-1] * blocks[-1].expansion
        self.add_stem(widths[0], *stem)
        self.maxpool = PlanePool("max", (1, 3, 3), (1, 2, 2), (0, 1, 1)) if stem_pool else nn.Identity()
        channels = widths[0]
        self.stages = [f"layer{number}" for number in range(1, len(depths) + 1)]
        for name, block, depth, width, stride in zip(self.stages, blocks, depths, widths, strides, strict=True):
            first = (2 if temporal_pool and name != "layer1" else 1, stride)
            stage = nn.ModuleList()
            for index in range(depth):
                stage.append(block(channels, width, first if index == 0 else (1, 1), **block_options))
                channels = width * block.expansion
            self.add_module(name, stage)
        initialize(self)

    def add_stem(self, channels: int, kernel: int, stride: int) -> None:
        """Build the layers before the first stage and its pooling."""
        padding = (1, kernel // 2, kernel // 2)
        self.conv1 = PlaneConv3d(3, channels, (3, kernel, kernel), (1, stride, stride), padding, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.relu = nn.ReLU(inplace=True)

    def enter(self, clip: Tensor, mask: Tensor | None) -> Tensor:
        """Volumes (B, 3, T, H, W), zero at padding, through the stem."""
        return self.relu(self.bn1(self.conv1(clip)))

    def forward(self, frames: Padded) -> Features:
        """Clips (B, T, C, H, W), normalised by ``spec``, to features (B, T'·h·w, D) with grid (T', h, w)."""
        mask = None if bool(frames.mask.all()) else frames.mask
        clip = self.maxpool(self.enter(as_volume(frames.values, mask), mask))
        for name in self.stages:
            for block in getattr(self, name):
                clip, mask = block(clip, mask)
        return volume_features(clip, frames.mask.new_ones(len(clip), clip.shape[2]) if mask is None else mask)


INFLATED = (InflatedBasic, InflatedBottleneck)
SEPARATE = (SeparateBasic, SeparateBottleneck)


def arrange(
    network: type[ResNet3d],
    kinds: tuple[type[Block3d], type[Block3d]],
    layout: Layout,
    spec: ClipSpec,
    width: int,
    **options: Any,
) -> ResNet3d:
    """Return a 3-D network laid out as a 2-D one, with a basic block and a bottleneck of its own."""
    blocks = [kinds[0] if block is BasicBlock else kinds[1] for block in layout.blocks]
    widths = [width * factor for factor in layout.growth]
    return network(blocks, layout.depths, widths, spec, **{**layout.stages, **options})


def _register(name: str, layout: Layout) -> None:
    """Register the two 3-D variants of a 2-D layout."""

    def i3d(
        frames: int = layout.frames, size: int = layout.size, width: int = layout.width, temporal_pool: bool = False
    ) -> ResNet3d:
        return arrange(ResNet3d, INFLATED, layout, ClipSpec(frames, size), width, temporal_pool=temporal_pool)

    def s3d(
        frames: int = layout.frames,
        size: int = layout.size,
        width: int = layout.width,
        temporal_pool: bool = False,
        depthwise_time: bool = False,
    ) -> ResNet3d:
        options = {"temporal_pool": temporal_pool, "depthwise_time": depthwise_time}
        return arrange(ResNet3d, SEPARATE, layout, ClipSpec(frames, size), width, **options)

    for builder, prefix, manner in (
        (i3d, "i3d_", "3x3x3 kernels (I3D-ResNet)"),
        (s3d, "s3d_", "1x3x3, then 3x1x1 kernels (S3D-ResNet)"),
    ):
        register_variant(builder, prefix + name, f"{layout.text}, {manner}.")


for _name, _layout in LAYOUTS.items():
    _register(_name, _layout)

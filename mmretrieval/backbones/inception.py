"""Inception-v1 over frames, with or without a temporal module, and the widths that its 3-D relatives share.

The torchvision GoogLeNet layout without auxiliary heads and its parameter names, the 2-D Inception of "Deep Analysis of
CNN-based Spatio-temporal Representations" (arXiv 2010.11757).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmretrieval.backbones.names import register_variant
from mmretrieval.errors import ModelError
from mmretrieval.layers.folded import fold_clips, frame_features, pool_frames, zero_frames
from mmretrieval.layers.masking import downsample_mask
from mmretrieval.layers.temporal import Mixing, TemporalLayer, TemporalPool
from mmretrieval.types import ClipSpec, Features, Padded

WIDTHS: dict[str, tuple[int, ...]] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Channels in each block: branch 1; branch 2 reduced, out; branch 3 reduced, out; branch 4. The first reads 192."""

HALF = (0.5, 0.5, 0.5)
"""Mean and standard deviation of pixels that every Inception of the family is given."""

SMALLEST = 15
"""Pixels of a frame below which a pooling has nothing left to pool."""


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B·T, C, H, W) to (B·T, C', H', W')."""
        return self.relu(self.bn(self.conv(frames)))


class InceptionBlock(nn.Module):
    """Four branches side by side: 1x1, two of 1x1 → 3x3, pooling → 1x1.

    The third branch is 5x5 in the paper of GoogLeNet and 3x3 in torchvision, whose weights everyone has.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...]):
        super().__init__()
        first, reduced2, second, reduced3, third, fourth = widths
        self.out_channels = first + second + third + fourth
        self.branch1 = ConvUnit(in_channels, first, 1)
        self.branch2 = nn.Sequential(ConvUnit(in_channels, reduced2, 1), ConvUnit(reduced2, second, 3))
        self.branch3 = nn.Sequential(ConvUnit(in_channels, reduced3, 1), ConvUnit(reduced3, third, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvUnit(in_channels, fourth, 1))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B·T, C, H, W) to (B·T, out_channels, H, W)."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(frames) for branch in branches], dim=1)


class Inception(nn.Module):
    """Inception-v1 over the frames of a clip; features are its last feature map, every place of every frame.

    TAM stands in line, not on a residual branch: behind each of the three convolutions of the stem and behind each
    block, as published. TSM is not part of the published framework; here it stands at the input of each block, so that
    all four branches read shifted channels.

    Convolutions start Kaiming-normal over outputs as in the residual networks, the weights of TAM at torch's default as
    published.

    The children of this module, in order, are the network.

    Args:
        spec: The clips it expects.
        mixing: How frames are mixed.
        temporal_pool: "max" or "avg" behind the second, third and fourth pooling over space: T frames become ⌈T / 2⌉
            each time; None keeps them all.
        width: Channels after the stem's first convolution, 64 as published; all others keep their ratio to it.

    Raises:
        ModelError: A width that the ratios do not divide, or frames too small for its poolings.
    """

    def __init__(self, spec: ClipSpec, mixing: Mixing, temporal_pool: str | None = None, width: int = 64):
        super().__init__()
        if width < 8 or width % 8:
            raise ModelError(f"an inception network of width {width}: use a multiple of 8, 64 is the published one")
        if spec.size < SMALLEST:
            raise ModelError(f"an inception network for frames of {spec.size} pixels: it needs {SMALLEST} or more")
        self.spec = spec
        self.mixing = mixing
        self.temporal_stride = 1 if temporal_pool is None else 8
        self._add_stem(width)
        channels = 3 * width
        for name, published in WIDTHS.items():
            if name.endswith("a"):
                self._add_pools(int(name[0]) - 1, temporal_pool)
            self._add_mixer("tsm", name, channels)
            block = InceptionBlock(channels, tuple(number * width // 64 for number in published))
            self.add_module(f"inception{name}", block)
            channels = block.out_channels
            self._add_mixer("tam", name, channels)
        self.feature_dim = channels
        self.reset_parameters()
        self.to(memory_format=torch.channels_last)

    def _add_stem(self, width: int) -> None:
        self.conv1 = ConvUnit(3, width, 7, 2)
        self._add_mixer("tam", "1", width)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = ConvUnit(width, width, 1)
        self._add_mixer("tam", "2", width)
        self.conv3 = ConvUnit(width, 3 * width, 3)
        self._add_mixer("tam", "3", 3 * width)

    def _add_mixer(self, kind: str, name: str, channels: int) -> None:
        if self.mixing.kind == kind:
            self.add_module(kind + name, self.mixing.module(channels))

    def _add_pools(self, number: int, temporal_pool: str | None) -> None:
        self.add_module(f"maxpool{number}", nn.MaxPool2d(2 if number == 4 else 3, 2, ceil_mode=True))
        if temporal_pool is not None:
            self.add_module(f"temporal_pool{number}", self.mixing.pool(temporal_pool))

    def reset_parameters(self) -> None:
        """Initialise the convolutions of units, not those of temporal aggregation."""
        for module in self.modules():
            if isinstance(module, ConvUnit):
                nn.init.kaiming_normal_(module.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: Padded) -> Features:
        """Clips (B, T, C, H, W), normalised by ``spec``, to features (B, T'·h·w, D) with grid (T', h, w).

        T' is T, or ⌈T / 8⌉ with temporal pooling; any T will do.
        """
        images, mask = fold_clips(frames)
        length = frames.mask.shape[1]
        for layer in self.children():
            if isinstance(layer, TemporalPool):
                images, mask, length = pool_frames(layer, images, mask, length)
            elif isinstance(layer, TemporalLayer):
                images = layer(zero_frames(images, mask), length)
            else:
                images = layer(images)
        return frame_features(images, downsample_mask(frames.mask, self.temporal_stride))


def _register(name: str, text: str, default_frames: int, default_size: int, default_width: int) -> None:
    """Register three variants: frames apart, channels shifted in time, frames blended in time."""

    def build(frames: int, size: int, width: int, temporal_pool: str | None, mixing: Mixing) -> Inception:
        return Inception(ClipSpec(frames, size, mean=HALF, std=HALF), mixing, temporal_pool, width)

    def tsn(
        frames: int = default_frames,
        size: int = default_size,
        width: int = default_width,
        temporal_pool: str | None = None,
    ) -> Inception:
        return build(frames, size, width, temporal_pool, Mixing())

    def tsm(
        frames: int = default_frames,
        size: int = default_size,
        width: int = default_width,
        temporal_pool: str | None = None,
        causal: bool = False,
    ) -> Inception:
        return build(frames, size, width, temporal_pool, Mixing("tsm", causal))

    def tam(
        frames: int = default_frames,
        size: int = default_size,
        width: int = default_width,
        temporal_pool: str | None = None,
        causal: bool = False,
        blending_frames: int = 3,
        blending_method: str = "sum",
        depthwise: bool = True,
    ) -> Inception:
        mixing = Mixing("tam", causal, blending_frames, blending_method, depthwise)
        return build(frames, size, width, temporal_pool, mixing)

    for builder, prefix, manner in (
        (tsn, "", "each frame by itself (TSN)"),
        (tsm, "tsm_", "channels shifted in time (TSM)"),
        (tam, "tam_", "frames blended in time (TAM)"),
    ):
        register_variant(builder, prefix + name, f"{text}, {manner}.")


_register("inception_v1", "Inception-v1", 8, 224, 64)
_register("inception_v1_test", "The smallest Inception-v1, for tests", 4, 32, 8)

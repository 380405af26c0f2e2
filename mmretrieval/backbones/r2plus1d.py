"""R(2+1)D: every 3-D convolution as one over space and one over time, wider between them (arXiv 1711.11248).

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018. Layout and parameter
names are torchvision's, so that its Kinetics weights fit. Its strides, always on, leave ⌈T / 8⌉ of T frames.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from mmretrieval.backbones.names import register_variant
from mmretrieval.backbones.resnet import DEPTHS, LAYOUTS, Layout
from mmretrieval.backbones.resnet3d import Block3d, ResNet3d, arrange, point_conv, space_conv, time_conv
from mmretrieval.layers.volume import zero_frames
from mmretrieval.types import ClipSpec


class Factored(nn.Sequential):
    """1 x k x k to ``middle`` channels, normalisation, ReLU, 3x1x1; torchvision's names are these positions."""

    def __init__(self, in_channels: int, middle: int, channels: int, strides: tuple[int, int], kernel: int = 3):
        step, stride = strides
        super().__init__(
            space_conv(in_channels, middle, stride, kernel),
            nn.BatchNorm3d(middle),
            nn.ReLU(inplace=True),
            time_conv(middle, channels, step),
        )

    def forward(self, clip: Tensor, mask: Tensor | None) -> Tensor:
        """Volumes (B, C, T, H, W); ``mask`` (B, T) only where some frames are padding."""
        space, norm, relu, time, *rest = self
        clip = time(zero_frames(relu(norm(space(clip))), mask))
        for layer in rest:
            clip = layer(clip)
        return clip


def middle_channels(in_channels: int, channels: int) -> int:
    """Return M, for which 1x3x3 and 3x1x1 have as many weights as 3x3x3: ⌊27·C·C' / (9·C + 3·C')⌋ (1711.11248).

    As in torchvision it is computed once per block, from what the block gets and its width, and holds for each of its
    factored convolutions, even those between other widths. The authors' own code computes it for each convolution, so
    its weights, the 34 layers of IG-65M among them, do not fit where a stage widens.
    """
    return 27 * in_channels * channels // (9 * in_channels + 3 * channels)


class FactoredBasic(Block3d):
    """Two 3x3x3 convolutions, each factored with ``middle_channels``."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, strides: tuple[int, int]):
        super().__init__(in_channels, channels, strides)
        middle = middle_channels(in_channels, channels)
        first = Factored(in_channels, middle, channels, strides)
        self.conv1 = nn.ModuleList([first, nn.BatchNorm3d(channels)])
        self.conv2 = nn.ModuleList([Factored(channels, middle, channels, (1, 1)), nn.BatchNorm3d(channels)])

    def residual(self, clip: Tensor, mask: Tensor | None, after: Tensor | None) -> Tensor:
        (conv1, norm1), (conv2, norm2) = self.conv1, self.conv2
        return norm2(conv2(self.relu(norm1(conv1(clip, mask))), after))


class FactoredBottleneck(Block3d):
    """1x1x1 down, 3x3x3 with the strides and factored with ``middle_channels``, 1x1x1 up to four times the width."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, strides: tuple[int, int]):
        super().__init__(in_channels, channels, strides)
        out_channels = channels * self.expansion
        factored = Factored(channels, middle_channels(in_channels, channels), channels, strides)
        self.conv1 = nn.ModuleList([point_conv(in_channels, channels), nn.BatchNorm3d(channels)])
        self.conv2 = nn.ModuleList([factored, nn.BatchNorm3d(channels)])
        self.conv3 = nn.ModuleList([point_conv(channels, out_channels), nn.BatchNorm3d(out_channels)])

    def residual(self, clip: Tensor, mask: Tensor | None, after: Tensor | None) -> Tensor:
        (conv1, norm1), (conv2, norm2), (conv3, norm3) = self.conv1, self.conv2, self.conv3
        clip = self.relu(norm1(conv1(clip)))
        clip = self.relu(norm2(conv2(clip, mask)))
        return norm3(conv3(clip))


FACTORED = (FactoredBasic, FactoredBottleneck)


class R2Plus1d(ResNet3d):
    """R(2+1)D; arguments as of ``ResNet3d``.

    torchvision's are, beside the names, the 45 channels between the halves of the stem, which other widths scale
    (``middle_channels`` would be 83), no pooling after it, and one ``middle_channels`` per block.
    """

    def add_stem(self, channels: int, kernel: int, stride: int) -> None:
        self.stem = Factored(3, 45 * channels // 64, channels, (1, stride), kernel)
        self.stem.extend([nn.BatchNorm3d(channels), nn.ReLU(inplace=True)])

    def enter(self, clip: Tensor, mask: Tensor | None) -> Tensor:
        return self.stem(clip, mask)


KINETICS = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}
"""How torchvision's weights expect pixels; the clips are 16 frames of 112 pixels, 15 a second."""


def _register(name: str, layout: Layout) -> None:
    """Register R(2+1)D in a 2-D layout, without the pooling of its stem."""

    def r2plus1d(frames: int = layout.frames, size: int = layout.size, width: int = layout.width) -> R2Plus1d:
        spec = ClipSpec(frames, size, **KINETICS)
        return arrange(R2Plus1d, FACTORED, layout, spec, width, temporal_pool=True, stem_pool=False)

    text = f"{layout.text}, 1x3x3 and 3x1x1 kernels, wider between them (R(2+1)D)."
    register_variant(r2plus1d, name, text)


for _depth in DEPTHS:
    _register(f"r2plus1d_{_depth}", replace(LAYOUTS[f"resnet{_depth}"], frames=16, size=112))
for _small in ("tiny", "test"):
    _register(f"r2plus1d_{_small}", LAYOUTS[f"resnet_{_small}"])

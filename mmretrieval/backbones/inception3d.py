"""3-D Inception networks over clips: I3D and S3D on Inception-v1.

The variants of "Deep Analysis of CNN-based Spatio-temporal Representations" (arXiv 2010.11757; its names ``i3d_v2`` and
``s3d``) with its parameter names: no temporal stride in the stem, unlike the original I3D and S3D, and 3x3x3 kernels in
the third branch too, as in torchvision's GoogLeNet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

from mmretrieval.backbones.inception import HALF, WIDTHS
from mmretrieval.backbones.names import backbones
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import downsample_mask
from mmretrieval.layers.volume import PlaneConv3d, PlanePool, as_volume, initialize, volume_features, zero_frames
from mmretrieval.types import ClipSpec, Features, Padded


class Conv(nn.Module):
    """A convolution of odd kernel without bias, normalisation, ReLU.

    Args:
        in_channels: C.
        channels: C'.
        kernel: In time, height and width.
        stride: In height and width.
    """

    def __init__(self, in_channels: int, channels: int, kernel: tuple[int, int, int] = (1, 1, 1), stride: int = 1):
        super().__init__()
        padding = tuple(size // 2 for size in kernel)
        self.mixes_time = kernel[0] > 1
        self.conv = PlaneConv3d(in_channels, channels, kernel, (1, stride, stride), padding, bias=False)
        self.bn = nn.BatchNorm3d(channels, eps=1e-3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, clip: Tensor, mask: Tensor | None) -> Tensor:
        """Volumes (B, C, T, H, W); ``mask`` (B, T) only where some frames are padding."""
        return self.relu(self.bn(self.conv(zero_frames(clip, mask) if self.mixes_time else clip)))


class SeparateConv(nn.Module):
    """A 3x3x3 convolution as 1x3x3, then 3x1x1 with bias, each with normalisation and ReLU.

    Args:
        in_channels: C.
        channels: C', between the two also.
        depthwise_time: The temporal one mixes no channels.
    """

    def __init__(self, in_channels: int, channels: int, depthwise_time: bool):
        super().__init__()
        groups = channels if depthwise_time else 1
        self.conv = PlaneConv3d(in_channels, channels, (1, 3, 3), 1, (0, 1, 1), bias=False)
        self.bn = nn.BatchNorm3d(channels, eps=1e-3)
        self.conv_t = PlaneConv3d(channels, channels, (3, 1, 1), 1, (1, 0, 0), groups=groups)
        self.bn_t = nn.BatchNorm3d(channels, eps=1e-3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, clip: Tensor, mask: Tensor | None) -> Tensor:
        """As ``Conv.forward``."""
        clip = self.relu(self.bn(self.conv(clip)))
        return self.relu(self.bn_t(self.conv_t(zero_frames(clip, mask))))


class Pool(nn.Module):
    """Pooling of spatial stride 2 over windows of equal sides, in time also.

    Args:
        method: "max", or "avg" with the zeros of its padding counted.
        step: Temporal stride; None looks at frames one by one.
        kernel: Side of a window: 3 with padding, or 2 without.
    """

    def __init__(self, method: str, step: int | None, kernel: int = 3):
        super().__init__()
        padding = kernel // 2 if kernel % 2 else 0
        time = (1, 1, 0) if step is None else (kernel, step, padding)
        space = (kernel, 2, padding)
        self.pool = PlanePool(method, *((one, side, side) for one, side in zip(time, space, strict=True)))
        self.step = step
        self.padded = padding > 0

    def forward(self, clip: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Volumes (B, C, T, H, W) and their mask (B, T), which is only there where some frames are padding."""
        if self.step is None:
            return self.pool(clip), mask
        clip = self.pool(zero_frames(clip, mask))
        if mask is None:
            return clip, None
        # a window without padding is real where both of its frames are, another where its middle is
        return clip, downsample_mask(mask if self.padded else mask[:, :-1] & mask[:, 1:], self.step)


class Inception(nn.Module):
    """Four branches side by side: 1x1x1, two of 1x1x1 and ``mixer``, and pooling before 1x1x1.

    Args:
        in_channels: C.
        widths: Channels of the first branch, reduced and out of the second and third, and of the last.
        mixer: What builds a 3x3x3 convolution.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], mixer: Callable[[int, int], nn.Module]):
        super().__init__()
        first, reduced2, second, reduced3, third, last = widths
        self.channels = first + second + third + last
        self.branch1 = Conv(in_channels, first)
        self.branch2 = nn.ModuleList([Conv(in_channels, reduced2), mixer(reduced2, second)])
        self.branch3 = nn.ModuleList([Conv(in_channels, reduced3), mixer(reduced3, third)])
        self.branch4 = nn.ModuleList([PlanePool("max", (3, 3, 3), (1, 1, 1), (1, 1, 1)), Conv(in_channels, last)])

    def forward(self, clip: Tensor, mask: Tensor | None) -> Tensor:
        """Volumes (B, C, T, H, W); ``mask`` (B, T) only where some frames are padding."""
        branches = [self.branch1(clip, mask)]
        for reduce, mix in (self.branch2, self.branch3):
            branches.append(mix(reduce(clip, mask), mask))
        pool, conv = self.branch4
        branches.append(conv(pool(zero_frames(clip, mask)), mask))
        return torch.cat(branches, dim=1)


class Inception3d(nn.Module):
    """I3D or S3D; features are its last feature map, every place of every frame that is left.

    Args:
        widths: Branches of each block, by its name; the digit is its stage, and a pooling stands before each stage.
        spec: The clips it expects.
        separate: S3D: a stem over three frames instead of seven, ``SeparateConv`` instead of 3x3x3 convolutions, and a
            last pooling of windows of 2 without padding. Of T frames it sees T − 1 pairs, so T − 1 are left, and with
            ``temporal_pool`` every other of these.
        depthwise_time: Temporal convolutions of S3D mix no channels, the published ``--dw_t_conv``.
        temporal_pool: None, "max" or "avg": temporal stride 2 in the pooling before each stage, T frames become
            ⌈T / 2⌉. As published the choice is that of all poolings between stages, the purely spatial one of the stem
            included, and never that of those inside the blocks, which are maxima. None keeps maxima everywhere, without
            the stride (published: ``--without_t_stride`` and its default method).
        stem: Channels of the three convolutions before the first stage.

    Raises:
        ModelError: An unknown ``temporal_pool``, or clips of ``spec`` that are too short or too small for S3D.
    """

    def __init__(
        self,
        widths: Mapping[str, tuple[int, ...]],
        spec: ClipSpec,
        separate: bool,
        depthwise_time: bool = False,
        temporal_pool: str | None = None,
        stem: tuple[int, int, int] = (64, 64, 192),
    ):
        super().__init__()
        if temporal_pool not in (None, "max", "avg"):
            raise ModelError(f"temporal pooling '{temporal_pool}' is unknown: use 'max' or 'avg'")
        mixer = partial(SeparateConv, depthwise_time=depthwise_time) if separate else partial(Conv, kernel=(3, 3, 3))
        method, step = temporal_pool or "max", 1 if temporal_pool is None else 2
        self.spec = spec
        self.conv1 = Conv(3, stem[0], (3 if separate else 7, 7, 7), 2)
        self.pool1 = Pool(method, None)
        self.conv2 = Conv(stem[0], stem[1])
        self.conv3 = mixer(stem[1], stem[2])
        channels = stem[2]
        for name, branches in widths.items():
            block = Inception(channels, branches, mixer)
            self.add_module(f"inception{name}", block)
            channels = block.channels
        self.feature_dim = channels
        self.stages = [[f"inception{name}" for name in names] for _, names in groupby(widths, lambda name: name[0])]
        kernels = [3] * (len(self.stages) - 1) + [2 if separate else 3]
        self.pools = nn.ModuleList(Pool(method, step, kernel) for kernel in kernels)
        # S3D's last pooling needs two frames and two rows, behind strides that each leave the half of n, rounded up
        halvings = len(self.stages) - 1
        self.least_frames = 1 if not separate else 2 if step == 1 else 2**halvings + 1
        self.least_size = 2 ** (halvings + 2) + 1 if separate else 1
        self._check(spec.frames, spec.size)
        initialize(self)

    def _check(self, frames: int, size: int) -> None:
        if frames < self.least_frames:
            raise ModelError(
                f"a clip of {frames} frame{'s' * (frames != 1)} is too short for S3D, whose last pooling looks at two "
                f"at once: give at least {self.least_frames}, or use I3D"
            )
        if size < self.least_size:
            raise ModelError(
                f"frames of {size} pixels are too small for S3D, whose last pooling looks at two rows at once: give at "
                f"least {self.least_size}, or use I3D"
            )

    def forward(self, frames: Padded) -> Features:
        """Clips (B, T, C, H, W), normalised by ``spec``, to features (B, T'·h·w, D) with grid (T', h, w).

        Raises:
            ModelError: S3D, and a clip that is too short or too small.
        """
        mask = None if bool(frames.mask.all()) else frames.mask
        shortest = frames.mask.shape[1] if mask is None else int(mask.sum(1).min())
        self._check(shortest, min(frames.values.shape[-2:]))
        clip = self.conv1(as_volume(frames.values, mask), None)
        clip, mask = self.pool1(clip, mask)
        clip = self.conv3(self.conv2(clip, mask), mask)
        for pool, names in zip(self.pools, self.stages, strict=True):
            clip, mask = pool(clip, mask)
            for name in names:
                clip = getattr(self, name)(clip, mask)
        return volume_features(clip, frames.mask.new_ones(len(clip), clip.shape[2]) if mask is None else mask)


def _published(frames: int, size: int, width: int, separate: bool, **options) -> Inception3d:
    if width < 8 or width % 8:
        raise ModelError(f"an inception network of width {width}: use a multiple of 8, 64 is the published one")
    widths = {name: tuple(channels * width // 64 for channels in branches) for name, branches in WIDTHS.items()}
    spec = ClipSpec(frames, size, mean=HALF, std=HALF)
    return Inception3d(widths, spec, separate, stem=(width, width, 3 * width), **options)


def _test(frames: int, size: int, separate: bool, **options) -> Inception3d:
    # two blocks in a row, and the pooling in which S3D differs
    widths = {"3a": (4, 2, 2, 2, 2, 4), "3b": (2, 2, 4, 2, 2, 4), "5a": (4, 4, 6, 2, 4, 2)}
    return Inception3d(widths, ClipSpec(frames, size, mean=HALF, std=HALF), separate, stem=(4, 4, 8), **options)


@backbones.register()
def i3d(frames: int = 8, size: int = 224, width: int = 64, temporal_pool: str | None = None) -> Inception3d:
    """Inception-v1, 3x3x3 kernels (I3D)."""
    return _published(frames, size, width, False, temporal_pool=temporal_pool)


@backbones.register()
def i3d_test(frames: int = 4, size: int = 16, temporal_pool: str | None = None) -> Inception3d:
    """The smallest I3D, for tests."""
    return _test(frames, size, False, temporal_pool=temporal_pool)


@backbones.register()
def s3d(
    frames: int = 8,
    size: int = 224,
    width: int = 64,
    temporal_pool: str | None = None,
    depthwise_time: bool = False,
) -> Inception3d:
    """Inception-v1, 1x3x3, then 3x1x1 kernels (S3D); of T frames T − 1 are left."""
    return _published(frames, size, width, True, temporal_pool=temporal_pool, depthwise_time=depthwise_time)


@backbones.register()
def s3d_test(
    frames: int = 4, size: int = 16, temporal_pool: str | None = None, depthwise_time: bool = False
) -> Inception3d:
    """The smallest S3D, for tests."""
    return _test(frames, size, True, temporal_pool=temporal_pool, depthwise_time=depthwise_time)

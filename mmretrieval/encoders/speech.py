"""Log-mel spectrograms to features: the ResDAVEnet audio network and a small relative for CPUs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmretrieval.encoders.names import encoders
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import downsample_mask, masked_mean, zero_padding
from mmretrieval.layers.pointwise import PointConv2d
from mmretrieval.types import Features, Padded

_WIDTH = 9


class _Block(nn.Module):
    """Two convolutions over nine time steps with a shortcut; the first carries the stride."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, channels, (1, _WIDTH), (1, stride), (0, _WIDTH // 2), bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, (1, _WIDTH), 1, (0, _WIDTH // 2), bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                PointConv2d(in_channels, channels, 1, (1, stride), bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Values (B, C, 1, N), zero at padding, and mask (B, N); both come out strided, zero at padding again."""
        shortcut = values if self.downsample is None else self.downsample(values)
        mask = downsample_mask(mask, self.stride)
        values = _zero(self.relu(self.bn1(self.conv1(values))), mask)
        return _zero(self.relu(self.bn2(self.conv2(values)) + shortcut), mask), mask


def centre_bands(values: Tensor, mask: Tensor) -> Tensor:
    """Take the mean over real frames off each mel band of (B, T, M): words stay, much of voice and room goes."""
    return values - masked_mean(values, mask).unsqueeze(1)


def _zero(values: Tensor, mask: Tensor) -> Tensor:
    """Zero the padding of (B, C, 1, N) activations, so that the next convolution sees a sequence that ends there."""
    return values * mask[:, None, None].to(values.dtype)


class ResDAVEnet(nn.Module):
    """Residual convolutions over time on a log-mel spectrogram (Harwath, Hsu and Glass, ICLR 2020).

    Defaults are the published network: a convolution over the whole frequency axis, then four stages of two residual
    blocks with 1x9 kernels, each halving time, 160 ms per output position; 44,670,976 parameters (the published count
    has two more, of a normalisation that nothing uses). Parameter names are the published ones.

    Padding changes nothing: activations are zeroed at padding before every convolution that mixes time. Only batch
    statistics in training see padded positions, as zeros.

    Args:
        widths: Channels of the stem and of each stage. (128, 256, 256, 512, 1024) is the published variant of
            ResDAVEnet-VQ.
        blocks: Residual blocks per stage.
        mels: Mel bands, M.
        stem_width: Time steps the first convolution sees; 1 as published.
        stem_stride: Time stride of the first convolution; 1 as published.
        strides: Time stride of each stage.
        input_floor_db: None feeds decibels as they are, as published. A floor (negative) scales [floor, 0] dB to
            [0, 1] and takes its mean over time off each band; the zero padding of a convolution is then the average
            sound of the recording, and voices and rooms differ less.
    """

    modality = "speech"

    def __init__(
        self,
        widths: Sequence[int] = (128, 128, 256, 512, 1024),
        blocks: int = 2,
        mels: int = 40,
        stem_width: int = 1,
        stem_stride: int = 1,
        strides: Sequence[int] = (2, 2, 2, 2),
        input_floor_db: float | None = None,
    ):
        super().__init__()
        self.feature_dim = widths[-1]
        self.stem_stride = stem_stride
        self.stride = stem_stride * math.prod(strides)
        self.input_floor_db = input_floor_db
        self.conv1 = nn.Conv2d(1, widths[0], (mels, stem_width), (1, stem_stride), (0, stem_width // 2), bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        channels = widths[0]
        self.stages = [f"layer{number}" for number in range(1, len(strides) + 1)]
        for name, width, stride in zip(self.stages, widths[1:], strides, strict=True):
            stage = nn.ModuleList()
            for index in range(blocks):
                stage.append(_Block(channels, width, stride if index == 0 else 1))
                channels = width
            self.add_module(name, stage)
        self.reset_parameters()
        self.to(memory_format=torch.channels_last)

    def reset_parameters(self) -> None:
        """Draw convolutions from N(0, sqrt(2 / (kernel height · kernel width · output channels)))."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                height, width = module.kernel_size
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / (height * width * module.out_channels)))

    def forward(self, log_mel: Padded) -> Features:
        """Log-mel frames (B, T, M) in decibels to features (B, N, D), N = T halved by each stride with ceil."""
        values, mask = log_mel
        if self.input_floor_db is not None:
            values = centre_bands(1.0 - values / self.input_floor_db, mask)
        values = self._stem(zero_padding(values, mask))
        mask = downsample_mask(mask, self.stem_stride)
        values = _zero(self.relu(self.bn1(values)), mask)
        for name in self.stages:
            for block in getattr(self, name):
                values, mask = block(values, mask)
        return Features(values.squeeze(2).transpose(1, 2), mask, (values.shape[-1],))

    def _stem(self, values: Tensor) -> Tensor:
        """Apply conv1 to (B, T, M), giving (B, C, 1, N).

        A kernel as high as the image is a convolution over time with the mel bands as channels: the same numbers, and
        channels-last without moving a byte.
        """
        weight = self.conv1.weight.transpose(1, 2)
        _, stride = self.conv1.stride
        _, padding = self.conv1.padding
        return F.conv2d(values.transpose(1, 2).unsqueeze(2), weight, None, (1, stride), (0, padding))


@encoders.register()
def resdavenet(widths: Sequence[int] = (128, 128, 256, 512, 1024), mels: int = 40) -> ResDAVEnet:
    """The published ResDAVEnet; ``widths`` (128, 256, 256, 512, 1024) are those of ResDAVEnet-VQ."""
    return ResDAVEnet(widths, mels=mels)


@encoders.register()
def resdavenet_small(widths: Sequence[int] = (128, 192, 256), mels: int = 40) -> ResDAVEnet:
    """A ResDAVEnet for CPUs: one block per stage, and the stem already strides by 4; 160 ms per output position.

    ``widths`` are those of the stem and the stages; stages beyond two come first, without a stride.

    Raises:
        ModelError: Fewer than three widths.
    """
    if len(widths) < 3:
        raise ModelError(f"resdavenet_small needs at least three widths (stem and two stages), got {list(widths)}")
    strides = (1,) * (len(widths) - 3) + (2, 2)
    return ResDAVEnet(widths, 1, mels, stem_width=7, stem_stride=4, strides=strides, input_floor_db=-80.0)

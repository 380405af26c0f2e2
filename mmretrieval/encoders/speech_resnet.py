"""Log-mel spectrograms to features: residual networks for pictures that look at the spectrogram of a caption."""

from __future__ import annotations

from torch import Tensor

from mmretrieval.backbones.resnet import DEPTHS, BasicBlock, Bottleneck, ResidualStages
from mmretrieval.encoders.names import encoders
from mmretrieval.encoders.speech import centre_bands
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import downsample_mask, zero_padding
from mmretrieval.types import Features, Padded

STRIDE = 32
"""Log-mel frames per output position: the stem, its pooling and three stages each halve time."""


class AudioResNet(ResidualStages):
    """A ResNet that takes a log-mel spectrogram for a one-channel picture (Spoken Moments, arXiv 2105.04489, §4.2.2).

    The torchvision layout and parameter names with a stem of one input channel. Its last feature map is averaged over
    frequency and stays a sequence over time, 320 ms per position at a hop of 10 ms; how the paper collapses the map is
    not stated, and the mean over both axes is what ``pool: mean`` makes of this. Weights start at random: the paper
    says that its spoken caption models use nothing pretrained.

    Padding changes nothing: maps are zeroed at padding before everything that mixes time. Only batch statistics in
    training see padded positions.

    Args:
        depth: 18, 34 (two 3x3 convolutions per block), 50, 101 or 152 (bottlenecks).
        width: Channels of the stem; 64 as published.
        mels: Mel bands, M.
        input_floor_db: None feeds decibels as they are; see ``ResDAVEnet``.
    """

    modality = "speech"

    def __init__(self, depth: int, width: int = 64, mels: int = 40, input_floor_db: float | None = None):
        block = BasicBlock if depth < 50 else Bottleneck
        widths = (width, 2 * width, 4 * width, 8 * width)
        super().__init__([block] * 4, DEPTHS[depth], widths, channels=1)
        self.mels = mels
        self.input_floor_db = input_floor_db
        self.stride = STRIDE

    def forward(self, log_mel: Padded) -> Features:
        """Log-mel frames (B, T, M) in decibels to features (B, N, D), N = T halved five times with ceil.

        Raises:
            ModelError: A spectrogram with another number of mel bands.
        """
        values, mask = log_mel
        if values.shape[2] != self.mels:
            raise ModelError(
                f"a speech encoder for {self.mels} mel bands got {values.shape[2]}: "
                f"build it with mels={values.shape[2]}, or the spectrogram with {self.mels}"
            )
        if self.input_floor_db is not None:
            values = centre_bands(1.0 - values / self.input_floor_db, mask)
        image = zero_padding(values, mask).unsqueeze(1)
        maps = self.maps(image, None, 1, _Cleaner(mask))
        mask = downsample_mask(mask, STRIDE)
        values = zero_padding(maps.mean(dim=3).transpose(1, 2), mask)
        return Features(values, mask, (values.shape[1],))


class _Cleaner:
    """Zeroes the padding of maps (B, C, N, F) made from sequences with the mask (B, T), whatever N has become of T."""

    def __init__(self, mask: Tensor):
        self.masks = {}
        if not bool(mask.all()):
            for halvings in range(STRIDE.bit_length()):
                strided = downsample_mask(mask, 2**halvings)
                self.masks[strided.shape[1]] = strided[:, None, :, None]

    def __call__(self, maps: Tensor) -> Tensor:
        return maps.masked_fill(~self.masks[maps.shape[2]], 0.0) if self.masks else maps


@encoders.register()
def audio_resnet34(width: int = 64, mels: int = 40, input_floor_db: float | None = None) -> AudioResNet:
    """ResNet-34 with one input channel."""
    return AudioResNet(34, width, mels, input_floor_db)


@encoders.register()
def audio_resnet50(width: int = 64, mels: int = 40, input_floor_db: float | None = None) -> AudioResNet:
    """ResNet-50 with one input channel, the best spoken caption model of Spoken Moments."""
    return AudioResNet(50, width, mels, input_floor_db)

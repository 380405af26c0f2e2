"""Pretrained speech models as speech encoders: wav2vec 2.0 and its kin on the waveform, Whisper on its log-mel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmretrieval.encoders.pretrained.adapter import Adapter, check_complete, check_layer, open_network, unsupported
from mmretrieval.encoders.pretrained.source import read_architecture, read_sound_preprocessing
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import lengths_to_mask, zero_padding
from mmretrieval.types import Features, Padded, SpeechSpec

WAVEFORM = ("hubert", "wav2vec2", "wavlm")
FAMILIES = (*WAVEFORM, "whisper")

_RATE = 16_000
_FRAMES_PER_SECOND = 100
"""Of Whisper's log-mel."""

_RANGE, _LOWEST = 2.0, -1.5
"""Whisper's log-mel ends this much below its loudest bin, and nowhere lower than this: what silence looks like."""


class PretrainedWaveform(Adapter):
    """wav2vec 2.0, HuBERT or WavLM on 16 kHz samples, one feature per 20 ms.

    Padding never changes a feature. Networks that normalise each channel over the whole recording
    (``feat_extract_norm: group``, the base sizes) cannot mask it, and are given recordings of one length at a time.

    Args:
        network: The network.
        spec: The recordings it expects.
        frozen: Never train it.
        layer: Which hidden states; None is the network's output.
        remembered: What a saved model keeps of it.
    """

    modality = "speech"

    def __init__(
        self, network: nn.Module, spec: SpeechSpec, frozen: bool, layer: int | None, remembered: dict[str, Any]
    ):
        super().__init__(network, frozen, layer, remembered)
        self.spec = spec
        config = network.config
        self.feature_dim = config.hidden_size
        self.sees_padding = config.feat_extract_norm == "group"
        self.shortest = _receptive_field(config.conv_kernel, config.conv_stride)

    def encode(self, waveforms: Padded) -> Features:
        """Samples (B, n) to features (B, N, D); recordings shorter than the first feature's field end in silence."""
        short = max(0, self.shortest - waveforms.mask.shape[1])
        mask = F.pad(waveforms.mask, (0, short))
        lengths = mask.sum(dim=1).clamp_min(self.shortest)
        values = F.pad(zero_padding(waveforms.values, waveforms.mask), (0, short))
        real = waveforms.mask.any(dim=1)
        counts = self._positions(lengths) * real
        features = self._by_length(values, lengths) if self.sees_padding else self._masked(values, lengths)
        mask = lengths_to_mask(counts, features.shape[1])
        return Features(zero_padding(features, mask), mask, (features.shape[1],))

    def _masked(self, values: Tensor, lengths: Tensor) -> Tensor:
        visible = lengths_to_mask(lengths, values.shape[1])
        return self.hidden(input_values=values, attention_mask=None if visible.all() else visible.long())

    def _by_length(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Encode (B, n) samples in groups of equal length, so that no recording has padding."""
        longest = int(self._positions(lengths.max()))
        features: Tensor | None = None
        for length in lengths.unique().tolist():
            rows = lengths == length
            part = self.hidden(input_values=values[rows, :length])
            if features is None:
                features = part.new_zeros(len(values), longest, part.shape[-1])
            features[rows, : part.shape[1]] = part
        return features

    def _positions(self, lengths: Tensor) -> Tensor:
        """Return how many features come out of so many samples."""
        return self.network._get_feat_extract_output_lengths(lengths)


class PretrainedWhisper(Adapter):
    """The encoder of Whisper on its own log-mel spectrogram, one feature per 20 ms.

    Whisper hears half a minute always: recordings are padded with the silence it was trained with, which is not the
    mask's padding but a part of its input. Only positions of the recording itself are real features.

    Args:
        network: Whisper's encoder.
        spec: The recordings it expects.
        frozen: Never train it.
        layer: Which hidden states; None is the network's output.
        remembered: What a saved model keeps of it.
    """

    modality = "speech"

    def __init__(
        self, network: nn.Module, spec: SpeechSpec, frozen: bool, layer: int | None, remembered: dict[str, Any]
    ):
        super().__init__(network, frozen, layer, remembered)
        self.spec = spec
        self.feature_dim = network.config.d_model
        self.frames = 2 * network.config.max_source_positions

    def encode(self, log_mel: Padded) -> Features:
        """Whisper's log-mel frames (B, T, M) to features (B, ceil(T / 2), D).

        Raises:
            ModelError: More frames than Whisper hears.
        """
        values, mask = log_mel
        if mask.shape[1] > self.frames:
            raise ModelError(f"{mask.shape[1]} frames are more than the {self.frames} that this Whisper hears")
        positions = -(-mask.shape[1] // 2)
        whole = self._with_silence(values, mask).transpose(1, 2).contiguous()
        features = self.hidden(input_features=whole)[:, :positions]
        mask = mask[:, ::2]
        return Features(zero_padding(features, mask), mask, (positions,))

    def _with_silence(self, values: Tensor, mask: Tensor) -> Tensor:
        """Return (B, frames, M): behind each recording what Whisper's front end makes of silence after it."""
        loudest = zero_padding(values - _LOWEST, mask).amax(dim=(1, 2)) + _LOWEST
        silence = (loudest - _RANGE).clamp_min(_LOWEST)[:, None, None]
        values = torch.where(mask.unsqueeze(-1), values, silence)
        rest = silence.expand(-1, self.frames - values.shape[1], values.shape[2])
        return torch.cat([values, rest.to(values.dtype)], dim=1)


def pretrained_speech(
    source: str | None = None,
    frozen: bool = True,
    layer: int | None = None,
    max_seconds: float = 20.0,
    architecture: dict[str, Any] | None = None,
    normalize: bool | None = None,
) -> PretrainedWaveform | PretrainedWhisper:
    """Make a speech encoder of wav2vec 2.0, HuBERT, WavLM or the encoder of Whisper.

    Args:
        source: Hub name or folder.
        frozen: Never train it.
        layer: Which hidden states; None is the network's output.
        max_seconds: Longer recordings are cut.
        architecture: What a saved model remembers of the network: it is then built without the source.
        normalize: What a saved model remembers of the waveform's normalisation to mean 0 and variance 1.

    Raises:
        ModelError: The source cannot be read, is no speech model, or an option does not fit it.
    """
    fresh = architecture is None
    architecture = read_architecture(source) if fresh else architecture
    family = architecture["model_type"]
    if family not in FAMILIES:
        raise unsupported(source, family, "speech", FAMILIES)
    check_layer(layer, architecture["encoder_layers" if family == "whisper" else "num_hidden_layers"])
    if fresh:
        settings = read_sound_preprocessing(source)
        if settings.get("sampling_rate", _RATE) != _RATE:
            raise ModelError(f"'{source}' hears {settings['sampling_rate']} samples per second; {_RATE} are supported")
        normalize = settings.get("do_normalize", True) if family in WAVEFORM else False
    spec = _spec(source, family, architecture, max_seconds, bool(normalize))
    whole, missing = open_network(source if fresh else None, architecture)
    remembered = {"architecture": architecture, "normalize": bool(normalize)}
    if family == "whisper":
        encoder = PretrainedWhisper(whole.encoder, spec, frozen, layer, remembered)
    else:
        encoder = PretrainedWaveform(whole, spec, frozen, layer, remembered)
    check_complete(source, encoder, missing, whole)
    return encoder


def _spec(
    source: str | None, family: str, architecture: dict[str, Any], max_seconds: float, normalize: bool
) -> SpeechSpec:
    if family in WAVEFORM:
        return SpeechSpec(frontend="waveform", normalize=normalize, max_seconds=max_seconds)
    limit = 2 * architecture["max_source_positions"] / _FRAMES_PER_SECOND
    if max_seconds > limit:
        raise ModelError(f"max_seconds is {max_seconds:g}, '{source or family}' hears {limit:g} s: lower it")
    return SpeechSpec(frontend="whisper", mels=architecture["num_mel_bins"], max_seconds=max_seconds)


def _receptive_field(kernels: list[int], strides: list[int]) -> int:
    """Return how many samples the first feature is made of."""
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides)):
        field = (field - 1) * stride + kernel
    return field

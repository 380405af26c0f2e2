"""Where in its cell a position of the features looks: measured, because architectures differ by half a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from mmretrieval.types import Padded, SpeechSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mmretrieval.model import RetrievalModel

SPEECH_SECONDS = 4
"""Length of the noise that speech encoders are probed with."""
_MEASURED: WeakKeyDictionary[nn.Module, dict[int | None, float]] = WeakKeyDictionary()
"""What has been measured, by encoder and size: it lies in the architecture, not in the weights."""


def cell_offset(model: RetrievalModel, modality: str, size: int | None = None) -> float:
    """Return where in its cell a position looks: 0.0 at the cell's beginning, 0.5 in its middle.

    N positions share an input of n pixels or spectrogram frames, a cell of n / N each. Position i of a strided
    convolution padded by half its kernel is centred where its cell begins; that of a patch embedding in the middle of
    its cell. A band of noise in the middle of a cell is changed: a patch answers alone, two neighbouring
    convolutions answer alike.

    Args:
        model: The model; its modality must be ``video`` or ``speech``.
        modality: Which encoder. Of video, the offset is measured along the height and holds for both axes.
        size: Height and width of the frames, if not those the model was trained on.
    """
    measured = _MEASURED.setdefault(model.branches[modality].encoder, {})
    if size not in measured:
        measured[size] = _measure(model, modality, size)
    return measured[size]


@torch.inference_mode()
def _measure(model: RetrievalModel, modality: str, size: int | None) -> float:
    """Change a band of noise in the middle of a cell and look which cells answer."""
    spec = model.processor.clip_spec if modality == "video" else model.processor.speech_spec
    random = torch.Generator().manual_seed(0)
    if modality == "video":
        size = size or spec.size
        before = torch.randint(0, 256, (1, spec.frames, 3, size, size), generator=random, dtype=torch.uint8)
        other, axis = torch.randint(0, 256, before.shape, generator=random, dtype=torch.uint8), 3
    else:
        (before, other), axis = (_sound(spec, random) for _ in range(2)), 1
    first = _rows(model, modality, before)
    cells = len(first)
    step = before.shape[axis] / cells
    middle = cells // 2
    begin, end = round((middle + 0.25) * step), round((middle + 0.75) * step)
    after = before.clone()
    band = (slice(None),) * axis + (slice(begin, max(end, begin + 1)),)
    after[band] = other[band]
    answer = (_rows(model, modality, after) - first).square().sum(-1)
    centroid = (answer * torch.arange(cells, device=answer.device)).sum() / answer.sum()
    return 0.0 if middle + 0.5 - float(centroid) < 0.25 else 0.5


def _sound(spec: SpeechSpec, random: torch.Generator) -> Tensor:
    """Return noise as the front end of a model would make it, (1, T, M) or (1, n)."""
    if spec.frontend == "waveform":
        return 0.1 * torch.randn(1, SPEECH_SECONDS * spec.sample_rate, generator=random)
    noise = torch.rand(1, round(SPEECH_SECONDS * 1000 / spec.hop_ms), spec.mels, generator=random)
    return spec.floor_db * noise if spec.frontend == "log_mel" else noise


def _rows(model: RetrievalModel, modality: str, values: Tensor) -> Tensor:
    """Encode one input and lay its features out along height (video) or time (speech): (cells, rest)."""
    inputs = Padded(values.to(model.device), torch.ones(1, values.shape[1], dtype=torch.bool, device=model.device))
    features = model.branches[modality].encoder(inputs)
    laid = features.values[0].float().reshape(*features.grid, -1)
    axis = 1 if modality == "video" else 0
    return laid.movedim(axis, 0).flatten(1)

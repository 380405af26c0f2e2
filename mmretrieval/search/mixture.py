"""Queries become one embedding: each is read, all are encoded in batches, and those of one request are added up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmretrieval.errors import MediaError, MMRetrievalError, QueryError
from mmretrieval.search.gallery import Gallery
from mmretrieval.search.request import Request

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_RATE = 16_000

MODALITIES = {"text": "a typed caption", "speech": "a spoken caption", "video": "an example clip"}

MODALITY = {"text": "text", "speech": "speech", "video": "video", "like": "video", "without": "text"}
"""Modality of each kind of query."""


class Part(NamedTuple):
    """One query, read: an item to encode or, for a moment of the collection, its embedding (D,); and its weight."""

    modality: str
    item: Tensor | None
    embedding: np.ndarray | None
    weight: float


class Mixture(NamedTuple):
    """What one request asks for.

    ``parts`` are its queries; ``modality`` is that of the one that weighs most; ``notes`` are lines for the person who
    asked; ``left_out`` are rows of the collection that are no answers, (m,) int.
    """

    parts: list[Part]
    modality: str
    notes: list[str]
    left_out: np.ndarray


def prepare(model: Any, gallery: Gallery, request: Request) -> Mixture:
    """Read the queries of a request: files are decoded, captions cut, moments looked up.

    Raises:
        QueryError: An empty caption, one of unknown words, a modality the model does not have, or an unknown moment.
        MediaError: A recording or a clip is missing, damaged, empty or silent.
    """
    parts, notes, left_out = [], [], np.zeros(0, np.int64)
    for name, query, weight in request.parts():
        modality = MODALITY[name]
        if name == "like":
            row = gallery.row_of(query)
            left_out = _overlapping(gallery, row)
            parts.append(Part(modality, None, gallery.embeddings[row], weight))
            continue
        if modality not in model.modalities:
            known = ", ".join(model.modalities)
            raise QueryError(f"{MODALITIES[modality]} cannot be searched for: this model knows {known}")
        if modality == "speech":
            item, note = _speech(model, query)
            notes += note
        elif modality == "video":
            item = _video(model, query)
        else:
            item = model.processor.text(query)
        parts.append(Part(modality, item, None, weight))
    heaviest = max(parts, key=lambda part: part.weight)
    return Mixture(parts, heaviest.modality, notes, left_out)


def embed_mixtures(model: Any, mixtures: Sequence[Mixture]) -> list[np.ndarray | MMRetrievalError]:
    """Return the embedding (D,) of every mixture, or why it has none; items of one modality are encoded together."""
    embedded: dict[int, np.ndarray] = {}
    for modality in MODALITIES:
        parts = [part for mixture in mixtures for part in mixture.parts if part.modality == modality]
        parts = [part for part in parts if part.item is not None]
        if parts:
            rows = model.embed(modality, [part.item for part in parts])
            embedded |= {id(part): row for part, row in zip(parts, rows, strict=True)}
    return [
        mix([part.embedding if part.item is None else embedded[id(part)] for part in mixture.parts],
            [part.weight for part in mixture.parts], model.metric)
        for mixture in mixtures
    ]  # fmt: skip


def mix(embeddings: Sequence[np.ndarray], weights: Sequence[float], metric: str) -> np.ndarray | MMRetrievalError:
    """Return the weighted sum of embeddings (D,) brought to unit length; with cosine the sum has unit length, too.

    One query alone is searched for as it is.
    """
    if len(embeddings) == 1:
        return np.asarray(embeddings[0], np.float32)
    lengths = [np.linalg.norm(embedding) for embedding in embeddings]
    total = sum(
        weight * embedding / max(length, 1e-12) for weight, embedding, length in zip(weights, embeddings, lengths)
    )
    length = np.linalg.norm(total)
    if length < 1e-6 * sum(map(abs, weights)):
        return QueryError("the queries cancel each other out: give them other weights")
    return np.asarray(total / length if metric == "cosine" else total, np.float32)


def _overlapping(gallery: Gallery, row: int) -> np.ndarray:
    """Return a moment and all others of its video that share time with it."""
    rows = gallery.rows_beside(row)
    shared = np.minimum(gallery.ends[rows], gallery.ends[row]) - np.maximum(gallery.starts[rows], gallery.starts[row])
    return rows[(shared > 0) | (rows == row)]


def _video(model: Any, clip: str | Path | np.ndarray) -> Tensor:
    """Return the frames of a clip that the model looks at."""
    import torch

    return model.processor.video(clip) if isinstance(clip, (str, Path)) else torch.from_numpy(clip)


def _speech(model: Any, recording: str | Path | np.ndarray) -> tuple[Tensor, list[str]]:
    """Return what is heard of a recording, and a line about what is not."""
    from mmretrieval.media.audio import read_audio, trim_silence

    if not isinstance(recording, (str, Path)):
        return _heard(model, trim_silence(recording), "the recording")
    try:
        return _heard(model, trim_silence(read_audio(recording, SAMPLE_RATE)), str(recording))
    except MediaError as error:
        # what is wrong with samples does not know which file they came from
        raise MediaError(f"{recording}: {str(error).removeprefix(f'{recording}: ')}") from None


def _heard(model: Any, samples: np.ndarray, name: str) -> tuple[Tensor, list[str]]:
    seconds, longest = len(samples) / SAMPLE_RATE, model.processor.speech_spec.max_seconds
    # a tenth of a second more is the silence that trimming leaves
    cut = seconds > longest + 0.1
    note = f"{name}: only the first {longest:g} s are heard, it lasts {seconds:.0f} s: say it in a sentence"
    return model.processor.speech(samples), [note] if cut else []

"""What is looked for in a video: a caption, some words of it, or a span of a recording, as features."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmretrieval.errors import QueryError
from mmretrieval.media.files import check_span
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.model import RetrievalModel
from mmretrieval.search.receptive import cell_offset
from mmretrieval.types import Features, Padded, SpeechSpec


class Query(NamedTuple):
    """What is looked for.

    ``features`` (1, N, D) of a whole caption, of which ``features.mask`` leaves the positions that count; ``name``,
    in words.
    """

    modality: str
    features: Features
    name: str


@torch.inference_mode()
def text_query(model: RetrievalModel, caption: str, word: str | None = None) -> Query:
    """Ask for a typed caption, or for one word (or a few that follow each other) of it.

    Raises:
        QueryError: The caption is empty, has no word this model knows, or does not have ``word``.
        ModelError: The model has no text.
    """
    tokens = model.processor.text(caption)
    features = encode(model, "text", tokens)
    if word is None:
        return Query("text", features, caption)
    words = word_tokens(model.processor.tokenizer, caption)
    chosen = torch.zeros(len(tokens), dtype=torch.bool)
    for place in _find(word, [name for name, _ in words], caption):
        chosen[words[place][1]] = True
    if not chosen.any():
        raise QueryError(f"'{word}' lies beyond the {len(tokens)} tokens that this model reads of a caption")
    return Query("text", _only(features, chosen), word)


@torch.inference_mode()
def speech_query(
    model: RetrievalModel, recording: str | Path, start: float | None = None, end: float | None = None
) -> Query:
    """Ask for a spoken caption, or for what is said in it between two seconds.

    Raises:
        MediaError: The recording is missing, damaged or silent, or the span lies outside of it.
        ModelError: The model has no speech.
    """
    item = model.processor.speech(recording)
    features = encode(model, "speech", item)
    name = Path(recording).name
    if start is None and end is None:
        return Query("speech", features, name)
    first, last = _span(model, recording, len(item), start, end)
    chosen = _said(model, len(item), features.values.shape[1], first, last)
    return Query("speech", _only(features, torch.from_numpy(chosen)), f"{name}, {first:.2f}–{last:.2f} s")


def positions_said(model: RetrievalModel, recording: str | Path, start: float, end: float, count: int) -> np.ndarray:
    """Return which of the ``count`` positions of a recording are said between two seconds, (N,) bool.

    Raises:
        MediaError: The recording cannot be used, or the span lies outside of it.
    """
    frames = len(model.processor.speech(recording))
    return _said(model, frames, count, *_span(model, recording, frames, start, end))


def _span(
    model: RetrievalModel, recording: str | Path, frames: int, start: float | None, end: float | None
) -> tuple[float, float]:
    """Return first and last second of a span that lies in a recording of so many frames."""
    heard = frames * _seconds_per_frame(model.processor.speech_spec)
    check_span(recording, "audio", start, end, heard)
    return start or 0.0, heard if end is None else end


def _said(model: RetrievalModel, frames: int, count: int, first: float, last: float) -> np.ndarray:
    """Return the positions whose centre lies in a span, or the nearest to it where it is shorter than a step."""
    centres = (np.arange(count) + cell_offset(model, "speech")) * speech_step(model, frames, count)
    chosen = (centres >= first) & (centres < last)
    return chosen if chosen.any() else np.arange(count) == np.abs(centres - (first + last) / 2).argmin()


def speech_step(model: RetrievalModel, frames: int, positions: int) -> float:
    """Return the seconds from one speech position to the next.

    The stride of the encoder times the hop of the spectrogram (or, where it hears the waveform, the time of a sample);
    an encoder that does not name its stride has turned ``frames`` of them into ``positions``.
    """
    stride = getattr(model.branches["speech"].encoder, "stride", None) or frames / positions
    return stride * _seconds_per_frame(model.processor.speech_spec)


def _seconds_per_frame(spec: SpeechSpec) -> float:
    """Return the seconds between two frames of what the speech encoder hears: spectra, or samples."""
    return 1 / spec.sample_rate if spec.frontend == "waveform" else spec.hop_ms / 1000


def word_tokens(tokenizer: Tokenizer, caption: str) -> list[tuple[str, slice]]:
    """Return each word of a caption, lower-cased and without punctuation, with the tokens it became.

    Raises:
        QueryError: The tokenizer does not split captions at their spaces, so that a token belongs to no word.
    """
    words, whole, empty = [], tokenizer.encode(caption), tokenizer.encode("")
    first, end = None, 0
    for number, word in enumerate(caption.split()):
        tokens = tokenizer.encode(f" {word}" if number else word)
        opening = len(os.path.commonprefix([empty, tokens]))  # what a language model puts around every caption
        closing = len(empty) - opening
        tokens = tokens[opening : len(tokens) - closing]
        first, end = opening if first is None else first, len(whole) - closing
        place = slice(first, min(first + len(tokens), end))
        if whole[place] != tokens[: end - first]:
            raise QueryError(f"the tokens of '{caption}' cannot be told apart by words: ask for the whole caption")
        if place.stop > place.start:
            words.append((word.lower().strip(".,;:!?\"'()"), place))
        first = place.stop
    return words


def encode(model: RetrievalModel, modality: str, item: Tensor) -> Features:
    """Return the features (1, N, D) of one preprocessed item."""
    inputs = model.processor.collate([""], [{modality: item}]).inputs[modality]
    return model.branches[modality].encoder(Padded(*(part.to(model.device) for part in inputs)))


def _find(wanted: str, words: list[str], caption: str) -> list[int]:
    """Return the places of a word, or of words that follow each other, in a caption."""
    parts = wanted.lower().split()
    starts = [start for start in range(len(words)) if parts and words[start : start + len(parts)] == parts]
    if not starts:
        raise QueryError(f"the caption '{caption}' has no '{wanted}'. Its words are: {', '.join(dict.fromkeys(words))}")
    return [start + step for start in starts for step in range(len(parts))]


def _only(features: Features, chosen: Tensor) -> Features:
    """Return features of which only the chosen positions (N,) count."""
    return features._replace(mask=features.mask & chosen.to(features.mask.device))

"""The way back: from a region of a video to the words of a caption that name it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mmretrieval.errors import QueryError
from mmretrieval.search.heat import cell_centres
from mmretrieval.search.localize import Clip, Localizer, score
from mmretrieval.search.query import Query, positions_said, speech_query, text_query, word_tokens
from mmretrieval.types import Features

PixelBox = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the video."""


@torch.inference_mode()
def words_of_region(
    localizer: Localizer,
    clip: Clip,
    caption: str,
    box: PixelBox | None = None,
    start: float | None = None,
    end: float | None = None,
    method: str = "codes",
) -> list[tuple[str, float]]:
    """Score each word of a typed caption by how well it names a region of a clip.

    Args:
        localizer: What has read the clip.
        clip: The clip.
        caption: A typed caption.
        box: Left, top, right and bottom of the region in pixels of the video; None is the whole frame.
        start: First second of the region; None is the beginning of the clip.
        end: Last second; None is its end.
        method: One of ``METHODS``.

    Returns:
        (word, score) in the order of the caption.

    Raises:
        QueryError: No frame that was looked at lies between ``start`` and ``end``, or the caption cannot be used.
        ModelError: The method needs a codebook and the model has none.
    """
    model = localizer.model
    region = _region(clip, localizer.offset, box, start, end)
    scores = score(model, text_query(model, caption).features, region, method, of="text")
    words = word_tokens(model.processor.tokenizer, caption)
    return [(word, float(scores[tokens].mean())) for word, tokens in words if tokens.start < len(scores)]


@torch.inference_mode()
def spoken_words_of_region(
    localizer: Localizer,
    clip: Clip,
    recording: str | Path,
    words: Sequence[tuple[str, float, float]],
    box: PixelBox | None = None,
    start: float | None = None,
    end: float | None = None,
    method: str = "codes",
) -> list[tuple[str, float]]:
    """Score each word of a spoken caption by how well it names a region of a clip.

    Args:
        localizer: What has read the clip.
        clip: The clip.
        recording: The spoken caption.
        words: (word, start, end) in seconds of the recording; any spans will do.
        box: As for ``words_of_region``, and so are ``start``, ``end`` and ``method``.
        start: First second of the region.
        end: Last second of the region.
        method: One of ``METHODS``.

    Returns:
        (word, score) in the order given.

    Raises:
        QueryError: No frame that was looked at lies between ``start`` and ``end``.
        MediaError: The recording cannot be used, or a word lies outside of it.
        ModelError: The method needs a codebook and the model has none.
    """
    model = localizer.model
    region = _region(clip, localizer.offset, box, start, end)
    scores = score(model, speech_query(model, recording).features, region, method, of="speech").cpu()
    said = [positions_said(model, recording, first, last, len(scores)) for _, first, last in words]
    return [(word, float(scores[where].mean())) for (word, _, _), where in zip(words, said, strict=True)]


def _region(clip: Clip, offset: float, box: PixelBox | None, start: float | None, end: float | None) -> Query:
    """Return the part of a clip whose centres lie in a region, or the nearest to it, as what is looked for."""
    seen = (clip.times >= (start or 0.0)) & (clip.times <= (np.inf if end is None else end))
    if not seen.any():
        looked = ", ".join(f"{time:.2f}" for time in clip.times)
        raise QueryError(f"no frame that was looked at lies in that span; they are at {looked} s")
    chosen = np.ones(clip.features.grid, bool) & seen[:, None, None]
    if box is not None:
        rows, columns = cell_centres(clip.seen, clip.features.grid[1:], offset)
        chosen &= _inside(rows, box[1], box[3])[:, None] & _inside(columns, box[0], box[2])
    mask = torch.from_numpy(chosen.reshape(1, -1)).to(clip.features.mask.device)
    features: Features = clip.features._replace(mask=clip.features.mask & mask)
    return Query("video", features, "region")


def _inside(centres: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return which centres lie between two borders, or the one nearest to their middle."""
    inside = (centres >= low) & (centres < high)
    return inside if inside.any() else np.arange(len(centres)) == np.abs(centres - (low + high) / 2).argmin()

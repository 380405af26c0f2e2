"""Where and when a video shows what a word says: heat-maps that no box has ever supervised.

``codes`` follows Cross-Modal Discrete Representation Learning (arXiv 2106.05438): a word is a distribution over the
codes that all modalities share, and each place of each frame is scored by how likely it has the same ones, less what
any word would score there. ``raw_codes`` takes nothing off. ``features`` is the comparable baseline without codes,
after the matchmap of DAVEnet (ECCV 2018): the embedding that each place alone would have, against that of the word.
``left_out`` asks the other way round: how much worse does the whole clip match without this place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmretrieval.data.processor import Processor
from mmretrieval.errors import ModelError, UnknownNameError, did_you_mean
from mmretrieval.media.files import check_span
from mmretrieval.media.sampling import span_indices
from mmretrieval.media.video import open_video
from mmretrieval.model import RetrievalModel
from mmretrieval.search.heat import Box, HeatMap, seen_box
from mmretrieval.search.query import Query, encode, text_query
from mmretrieval.search.receptive import cell_offset
from mmretrieval.types import Features

CODED = ("codes", "raw_codes", "best_code", "code_features")
"""Methods that need a codebook."""

PICTURE = 256
"""Shorter side, in pixels, at which frames are kept to be drawn on, at most."""
_CHUNK = 1 << 21
"""Numbers held at a time where positions are left out one by one."""


class Clip(NamedTuple):
    """A video as a model sees it.

    ``features`` (1, N, D) with grid (T, h, w); ``times`` (T,) seconds of the frames looked at; ``pictures``
    (T, H, W, 3) uint8, those frames, shrunk if large; ``frame``, height and width of the file's frames in pixels;
    ``seen``, what the model sees of them.
    """

    features: Features
    times: np.ndarray
    pictures: np.ndarray
    frame: tuple[int, int]
    seen: Box


class Localizer:
    """Finds places in videos with one model.

    Args:
        model: The model, in evaluation mode.
        size: Height and width at which frames are looked at; None is the size that the model was trained on. A
            convolutional network takes a larger one and gives a finer grid.

    Raises:
        ModelError: The model has no video.
    """

    def __init__(self, model: RetrievalModel, size: int | None = None):
        if "video" not in model.modalities:
            raise ModelError(f"this model has no video to find places in; it knows {', '.join(model.modalities)}")
        self.model = model
        self.size = size or model.processor.clip_spec.size
        self._processor = Processor(clip=replace(model.processor.clip_spec, size=self.size))

    @cached_property
    def offset(self) -> float:
        """Where in its cell a place looks."""
        return cell_offset(self.model, "video", self.size)

    @torch.inference_mode()
    def clip(self, path: str | Path, start: float | None = None, end: float | None = None, windows: int = 1) -> Clip:
        """Read a video and encode it.

        Args:
            path: The file.
            start: First second; None is the beginning.
            end: Last second; None is the end.
            windows: Clips that the span is cut into, each of as many frames as the model takes.

        Raises:
            MediaError: The file is missing or damaged, or the span lies outside of it.
            ModelError: The network does not take frames of this size, or keeps no places apart.
        """
        with open_video(path, "pyav") as reader:
            check_span(path, "video", start, end, reader.duration)
            spans = [span for span in np.array_split(span_indices(reader.times, start, end), windows) if len(span)]
            chosen = [span[self._processor.choose_frames(len(span), reader.fps)] for span in spans]
            frames = reader.read(np.concatenate(chosen), at_most=max(PICTURE, self.size))
            frame = (reader.info.height, reader.info.width)
            times = reader.times[np.concatenate(chosen)]
        parts = [self._encode(self._processor.fit(part)) for part in np.split(frames, len(chosen))]
        values, mask = (torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("values", "mask"))
        return Clip(
            Features(values, mask, (len(frames), *parts[0].grid[1:])),
            times,
            frames,
            frame,
            seen_box(frame, self._processor.clip_spec),
        )

    def _encode(self, frames: Tensor) -> Features:
        try:
            features = encode(self.model, "video", frames)
        except (RuntimeError, ValueError) as error:
            trained = self.model.processor.clip_spec.size
            if self.size == trained:
                raise
            raise ModelError(
                f"the video network of this model takes no frames of {self.size} pixels, only of {trained}: "
                "leave the size out"
            ) from error
        if len(features.grid) != 3 or features.values.shape[1] != np.prod(features.grid):
            raise ModelError(
                f"the video network of this model keeps no places apart (its features form a grid of "
                f"{tuple(features.grid)}): nothing can be found in its frames"
            )
        return features

    @torch.inference_mode()
    def heat(self, clip: Clip, query: Query, method: str = "codes") -> HeatMap:
        """Score every place of a clip for a query.

        Args:
            clip: What ``clip`` has read.
            query: What ``text_query`` or ``speech_query`` has made.
            method: One of ``METHODS``.

        Raises:
            ModelError: The method needs a codebook and the model has none.
            UnknownNameError: No such method.
        """
        values = score(self.model, clip.features, query, method).reshape(clip.features.grid)
        return HeatMap(values.float().cpu().numpy(), clip.times, clip.frame, clip.seen, self.offset, query.name)


def localize(
    model: RetrievalModel,
    video: str | Path,
    query: Query | str,
    method: str = "codes",
    size: int | None = None,
    windows: int = 1,
) -> HeatMap:
    """Find where and when a video shows what a query says.

    ::

        heat = localize(model, "clip.mp4", text_query(model, "a red dog runs", word="dog"))
        heat = localize(model, "clip.mp4", speech_query(model, "question.wav", 0.4, 0.9))

    Args:
        model: The model, in evaluation mode.
        video: The file.
        query: A caption, or what ``text_query`` or ``speech_query`` has made.
        method: One of ``METHODS``.
        size: Height and width at which frames are looked at, see ``Localizer``.
        windows: Clips that a longer video is cut into.

    Raises:
        MediaError: The file is missing or damaged.
        ModelError: The model has no video, no codebook for this method, or does not take frames of this size.
        QueryError: The caption is empty or has no word this model knows.
        UnknownNameError: No such method.
    """
    localizer = Localizer(model, size)
    if isinstance(query, str):
        query = text_query(model, query)
    return localizer.heat(localizer.clip(video, windows=windows), query, method)


def score(model: RetrievalModel, features: Features, query: Query, method: str, of: str = "video") -> Tensor:
    """Score each position (N,) of one item's ``features`` for a query.

    Raises:
        ModelError: The method needs a codebook and the model has none.
        UnknownNameError: No such method.
    """
    if method not in METHODS:
        known = ", ".join(METHODS)
        raise UnknownNameError(f"unknown method '{method}'.{did_you_mean(method, METHODS)} Known: {known}.")
    if method in CODED and not model.discrete:
        raise ModelError(
            f"this model has no codebook, which the method '{method}' needs: use the method 'features' "
            "(--method features)"
        )
    return METHODS[method](model, of, features, query)


def _by_codes(model: RetrievalModel, of: str, features: Features, query: Query) -> Tensor:
    """Σ_v (q(v) − u(v)) log P(v | h) at each position, with u(v) how often training took each code.

    P(v | h) of a trained model is broad, and so is q: without u, places that are a little like every code win over
    those that are much like the right one.
    """
    usage = model.codebook.counts / model.codebook.counts.sum()
    return (log_probabilities(model, of, features) @ (_distribution(model, query) - usage)).squeeze(0)


def _by_raw_codes(model: RetrievalModel, of: str, features: Features, query: Query) -> Tensor:
    """Σ_v q(v) log P(v | h) at each position, with q the mean of P(v | h) over the positions of the query."""
    return (log_probabilities(model, of, features) @ _distribution(model, query)).squeeze(0)


def _by_best_code(model: RetrievalModel, of: str, features: Features, query: Query) -> Tensor:
    """The logarithm of P(v* | h) at each position, with v* the code that is likeliest for the query."""
    return log_probabilities(model, of, features)[0, :, _distribution(model, query).argmax()]


def _by_features(model: RetrievalModel, of: str, features: Features, query: Query) -> Tensor:
    """Similarity of embeddings: of each position as if it were the whole item, and of the query."""
    values = features.values[0].unsqueeze(1)
    alone = Features(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device), (1,))
    positions = model.encode(of, alone).embedding
    wanted = model.encode(query.modality, query.features).embedding
    if model.metric == "cosine":
        positions, wanted = normalize(positions, dim=-1), normalize(wanted, dim=-1)
    return positions @ wanted[0]


def _by_leaving_out(model: RetrievalModel, of: str, features: Features, query: Query) -> Tensor:
    """What the similarity of the whole item loses when a position is left out."""
    values, count = features.values, features.values.shape[1]
    rows = max(1, _CHUNK // values[0].numel())
    wanted = model.encode(query.modality, query.features).embedding[0]
    without = []
    for first in range(0, count, rows):
        last = min(first + rows, count)
        mask = features.mask.expand(last - first, -1).clone()
        mask[torch.arange(last - first), torch.arange(first, last)] = False
        part = features._replace(values=values.expand(last - first, -1, -1), mask=mask)
        without.append(model.encode(of, part).embedding @ wanted)
    return -torch.cat(without)


def _by_code_features(model: RetrievalModel, of: str, features: Features, query: Query) -> Tensor:
    """Cosine between what each position and the query's positions (their mean) bring to the codebook."""
    positions = model.branches[of].project(features).values[0]
    wanted = model.branches[query.modality].project(query.features).values[query.features.mask].mean(0)
    return normalize(positions, dim=-1) @ normalize(wanted, dim=-1)


METHODS: dict[str, Callable[[RetrievalModel, str, Features, Query], Tensor]] = {
    "codes": _by_codes,
    "raw_codes": _by_raw_codes,
    "best_code": _by_best_code,
    "features": _by_features,
    "left_out": _by_leaving_out,
    "code_features": _by_code_features,
}
"""How places are scored."""


def log_probabilities(model: RetrievalModel, modality: str, features: Features) -> Tensor:
    """Return log P(v | h) of every code at every position, (B, N, K) (arXiv 2106.05438 §2.3)."""
    codebook = model.codebook
    distances = torch.cdist(model.branches[modality].project(features).values.float(), codebook.codes.float())
    if codebook.distance == "sq_l2":
        distances = distances.square()
    return (distances / -codebook.tau).log_softmax(-1)


def _distribution(model: RetrievalModel, query: Query) -> Tensor:
    """Return the mean of P(v | h) over the positions of a query, (K,)."""
    return log_probabilities(model, query.modality, query.features)[query.features.mask].exp().mean(0)

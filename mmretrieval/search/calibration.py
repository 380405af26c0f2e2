"""Scores that mean something: how probable it is that an answer is right, whatever model and collection it is from.

A score alone says little: how high it gets without meaning anything depends on the model, and on how many moments were
tried. So questions that have no right answer are put to the collection once, and an answer is judged by how far its
score stands above what those get:

- captions of random sub-words, for typed and spoken queries: a model's space is shared, and on the toy world both
  modalities have the same scores, with and without an answer;
- noise with the rhythm of speech, for models without text;
- moments of the collection among all other videos, for example clips and "more like this".

In that unit one logistic curve per modality gives the probability. Measured by ``benchmarks/moments.py`` on captions
whose moments are in the collection or were taken out of it: the score tells them apart better than anything that looks
at one query's own distribution (a z-score over all moments, the distance to the next best, an extreme-value fit of the
tail), because what makes a query's bulk of scores wide is what it has in common with many moments, not whether one of
them is right. ARCHITECTURE.md has the figures.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mmretrieval.errors import QueryError

if TYPE_CHECKING:
    from mmretrieval.search.gallery import Gallery

PROBES = 32
"""Questions without an answer."""

TRIES = 10
"""Draws for each of them: of small vocabularies many are nothing but letters."""

WORDS = 8
"""Sub-words of a random caption."""


class Curve(NamedTuple):
    """The probability of being right is 1 / (1 + exp(−slope · (deviations − centre)))."""

    slope: float
    centre: float


CURVES = {"text": Curve(0.57, 1.9), "speech": Curve(0.57, 1.9), "video": Curve(0.63, 0.22)}
"""By what was asked with."""

THRESHOLD = 0.35
"""Probability below which an answer is no good match; nine of ten right answers of the toy world are above it."""


class Calibration:
    """Turns scores of a model in a collection into probabilities.

    Args:
        model: The model that embeds queries.
        gallery: What is searched.
        curves: By modality; None takes those measured on the toy world.
        threshold: Probability from which on an answer is a match.
    """

    def __init__(
        self, model: Any, gallery: Gallery, curves: dict[str, Curve] | None = None, threshold: float = THRESHOLD
    ):
        self.model = model
        self.gallery = gallery
        self.curves = curves or CURVES
        self.threshold = threshold
        self._nulls: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def confidence(self, modality: str, scores: np.ndarray) -> np.ndarray:
        """Return how probable it is that answers with these scores (n,) are right, (n,) in 0–1."""
        slope, centre = self.curves[modality]
        return 1 / (1 + np.exp(-slope * (self.deviations(modality, scores) - centre)))

    def deviations(self, modality: str, scores: np.ndarray) -> np.ndarray:
        """Return by how many standard deviations scores (n,) are above the best answers to meaningless questions."""
        mean, deviation = self._null(modality)
        return (np.asarray(scores, float) - mean) / deviation

    def _null(self, modality: str) -> tuple[float, float]:
        """Return mean and standard deviation of the best scores of questions without an answer; asked for once."""
        with self._lock:
            kind = "video" if modality == "video" else "words" if "text" in self.model.modalities else "noise"
            if kind not in self._nulls:
                best = getattr(self, f"_best_of_{kind}")()
                # a collection of one moment, or of equal ones, has no spread: then nothing is certain
                self._nulls[kind] = (float(best.mean()), max(float(best.std()), 0.01)) if len(best) else (0.0, 1.0)
            return self._nulls[kind]

    def _best_of_words(self) -> np.ndarray:
        tokenizer, random = self.model.processor.tokenizer, np.random.default_rng(0)
        items: list = []
        for _ in range(TRIES * PROBES):
            if len(items) == PROBES:
                break
            try:
                caption = tokenizer.decode(random.integers(tokenizer.size, size=WORDS).tolist())
                items.append(self.model.processor.text(caption))
            except QueryError:
                continue  # nothing but letters: a person would be told so
        return self._best("text", items)

    def _best_of_noise(self) -> np.ndarray:
        random = np.random.default_rng(0)
        time = np.arange(2 * 16_000) / 16_000
        sounds = []
        for _ in range(PROBES):
            syllables = 1 + np.sin(2 * np.pi * (random.uniform(3, 6) * time + random.uniform()))
            sounds.append((0.1 * syllables * random.standard_normal(len(time))).astype(np.float32))
        return self._best("speech", [self.model.processor.speech(sound) for sound in sounds])

    def _best(self, modality: str, items: list) -> np.ndarray:
        if not items or not len(self.gallery):
            return np.zeros(0)
        queries = self.model.embed(modality, items)
        queries = queries[np.isfinite(queries).all(axis=1)]
        scores, _ = self.gallery.nearest(queries, 1)
        return scores[:, 0]

    def _best_of_video(self) -> np.ndarray:
        """Return how near moments are to the nearest one of another video."""
        videos = self.gallery.videos
        rows = self.gallery.sample
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, 2 * PROBES).round().astype(int))] if len(rows) else rows
        best = []
        for row in rows.tolist():
            scores = self.gallery.embeddings @ self.gallery.embeddings[row]
            others = scores[videos != videos[row]]
            best += [others.max()] if len(others) else []
        return np.array(best)

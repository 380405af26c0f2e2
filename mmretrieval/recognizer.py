"""Recognition: which of a list of classes a clip shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmretrieval.data.processor import Processor
from mmretrieval.encoders.sections import build_encoder, clip_spec
from mmretrieval.encoders.video import VideoEncoder
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import masked_mean
from mmretrieval.saved import SavedModel
from mmretrieval.types import Batch, Features, Padded


class Guess(NamedTuple):
    """One class and how probable the model finds it, 0 to 1."""

    label: str
    probability: float


class Recognizer(SavedModel):
    """A backbone and a linear classifier: clips to one logit per class.

    The head of "Deep Analysis of CNN-based Spatio-temporal Representations" (arXiv 2010.11757): places are averaged,
    then dropout and the classifier see every remaining time step, then time is averaged. As the classifier is linear,
    time is averaged before it here; the logits are the same.

    Args:
        encoder: Normalises frames and encodes them.
        labels: Names of the classes, in the order of the logits.
        processor: The preprocessing that belongs to these weights.
        dropout: Share of averaged features dropped in training.
        config: Everything ``from_config`` needs to build this model again.
    """

    kind = "recognition"

    def __init__(
        self,
        encoder: VideoEncoder,
        labels: Sequence[str],
        processor: Processor,
        dropout: float = 0.5,
        config: dict[str, Any] | None = None,
    ):
        super().__init__()
        if len(labels) < 2 or len(set(labels)) != len(labels):
            raise ModelError(f"recognition needs at least two classes of different names, got {list(labels)}")
        self.encoder = encoder
        self.labels = tuple(labels)
        self.processor = processor
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(encoder.feature_dim, len(labels))
        self.config = config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Recognizer:
        """Build a model with new weights.

        Args:
            config: ``video`` (backbone, frames, size, fps), ``dropout`` and ``labels``, in plain values.
        """
        config = deepcopy(config)
        encoder = build_encoder("video", config["video"], None)
        processor = Processor(clip=clip_spec(config["video"], encoder))
        return cls(encoder, config["labels"], processor, config["dropout"], config)

    @classmethod
    def rebuild(cls, config: dict[str, Any], folder: Path) -> Recognizer:
        """Build the model of a saved folder."""
        return cls.from_config(config)

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits (B, classes) of a batch's clips."""
        return self.logits(batch.inputs["video"])

    def logits(self, frames: Padded) -> Tensor:
        """Return the logits (B, classes) of clips (B, T, C, H, W) as ``processor.video`` makes them."""
        steps, mask = per_step(self.encoder(frames))
        return self.fc(masked_mean(self.dropout(steps), mask)).float()

    @torch.inference_mode()
    def recognize(self, paths: Iterable[str | Path], k: int = 5) -> list[list[Guess]]:
        """Return for each video file its ``k`` most probable classes, the best first.

        Raises:
            MediaError: A file is missing or damaged.
        """
        was_training = self.training
        self.eval()
        guesses = []
        for path in paths:
            clip = self.processor.video(path).unsqueeze(0).to(self.device)
            frames = Padded(clip, torch.ones(clip.shape[:2], dtype=torch.bool, device=self.device))
            best = self.logits(frames)[0].softmax(0).topk(min(k, len(self.labels)))
            guesses.append([Guess(self.labels[index], float(p)) for p, index in zip(*best, strict=True)])
        self.train(was_training)
        return guesses


def per_step(features: Features) -> tuple[Tensor, Tensor]:
    """Average the real places of every time step: (B, T·h·w, D) to (B, T, D), with the mask (B, T) of real steps."""
    steps = features.grid[0]
    values = features.values.unflatten(1, (steps, -1))
    mask = features.mask.unflatten(1, (steps, -1))
    averaged = masked_mean(values.flatten(0, 1), mask.flatten(0, 1)).unflatten(0, values.shape[:2])
    return averaged, mask.any(2)

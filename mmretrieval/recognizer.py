"""Recognition: which of a list of classes a clip shows."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmretrieval.backbones.streaming import Stream
from mmretrieval.data.processor import Processor
from mmretrieval.encoders.sections import build_encoder, clip_spec
from mmretrieval.encoders.video import VideoEncoder
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import masked_mean
from mmretrieval.media.views import Views
from mmretrieval.saved import SavedModel
from mmretrieval.types import Batch, Features, Padded

_SIDES = {
    *("left", "right", "leftward", "rightward", "leftwards", "rightwards"),
    *("clockwise", "counterclockwise", "anticlockwise"),
}

ONE_VIEW = Views()


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
            config: ``video`` (backbone, frames, size, fps, and how frames are chosen and cut where that is not as
                usual), ``dropout`` and ``labels``, in plain values.
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
        """Return the logits (B, classes) of clips (B, T, C, H, W) as ``processor.video`` makes them.

        Of several views of each video, (B, V, T, C, H, W) as ``processor.views`` makes them with the mask (B, V), they
        are the mean over views.
        """
        if frames.values.dim() == 6:
            views = frames.values.flatten(0, 1)
            mask = torch.ones(views.shape[:2], dtype=torch.bool, device=views.device)
            return self.logits(Padded(views, mask)).unflatten(0, frames.mask.shape).mean(1)
        steps, mask = per_step(self.encoder(frames))
        return self.fc(masked_mean(self.dropout(steps), mask)).float()

    @torch.inference_mode()
    def recognize(self, paths: Iterable[str | Path], k: int = 5, views: Views = ONE_VIEW) -> list[list[Guess]]:
        """Return for each video file its ``k`` most probable classes by the mean logits of ``views``, the best first.

        Raises:
            MediaError: A file is missing or damaged.
            ModelError: Views that this model has no use for.
        """
        check_views(views, self.labels)
        was_training = self.training
        self.eval()
        guesses = []
        for path in paths:
            seen = self.processor.views(path, views).unsqueeze(0).to(self.device)
            frames = Padded(seen, torch.ones(seen.shape[:2], dtype=torch.bool, device=self.device))
            best = self.logits(frames)[0].softmax(0).topk(min(k, len(self.labels)))
            guesses.append([Guess(self.labels[index], float(p)) for p, index in zip(*best, strict=True)])
        self.train(was_training)
        return guesses


def changed_by_a_mirror(labels: Iterable[str]) -> list[str]:
    """Return the classes whose names speak of left, right or a direction of turning."""
    return [label for label in labels if _SIDES & set(re.split(r"[^a-z]+", label.lower()))]


def check_views(views: Views, labels: Sequence[str]) -> None:
    """Refuse mirror images for classes that a mirror turns into others.

    Raises:
        ModelError: Ten crops, and there are such classes.
    """
    if views.crops == 10 and (sided := changed_by_a_mirror(labels)):
        raise ModelError(
            f"5 of 10 crops are mirror images, and '{sided[0]}' is not the same in a mirror: use 1, 3 or 5 crops"
        )


class RecognizerStream:
    """Recognise what a camera shows, frame by frame.

    Args:
        model: A model whose backbone never looks ahead; see ``Stream``.
        last: Average over so many of the latest time steps; None is all since the beginning, which gives what the model
            says of the whole clip.

    Raises:
        ModelError: The backbone looks ahead or convolves over time.
    """

    def __init__(self, model: Recognizer, last: int | None = None):
        self.model, self.last = model, last
        self.stream = Stream(model.encoder)
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame is the first one."""
        self.stream.reset()
        self._latest: deque[Tensor] = deque(maxlen=self.last or 1)
        self._steps = 0

    @torch.no_grad()
    def step(self, frame: Tensor) -> Tensor:
        """Take the next frame (B, 3, H, W) uint8 and return the logits (B, classes) of what is averaged so far."""
        features = self.stream.step(frame)
        if features is not None:
            logits = self.model.fc(per_step(features)[0].squeeze(1)).float()
            self._steps += 1
            if self.last is None and self._latest:
                logits = self._latest[0] + (logits - self._latest[0]) / self._steps
            self._latest.append(logits)
        return torch.stack(tuple(self._latest)).mean(0)


def per_step(features: Features) -> tuple[Tensor, Tensor]:
    """Average the real places of every time step: (B, T·h·w, D) to (B, T, D), with the mask (B, T) of real steps."""
    steps = features.grid[0]
    values = features.values.unflatten(1, (steps, -1))
    mask = features.mask.unflatten(1, (steps, -1))
    averaged = masked_mean(values.flatten(0, 1), mask.flatten(0, 1)).unflatten(0, values.shape[:2])
    return averaged, mask.any(2)

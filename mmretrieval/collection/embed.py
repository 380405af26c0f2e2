"""Clips to embeddings, by the model's video backbone made fast for inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmretrieval.environment import cores
from mmretrieval.errors import CollectionError, ModelError

PRECISIONS = ("auto", "fp32", "bf16", "int8")
"""What may be asked for; ``auto`` is bf16 where the processor computes it itself, else fp32."""

BATCH_PIXELS = 4_000_000
MOST_CLIPS = 32
"""Clips embedded at a time: as many as have so many pixels, and no more; this bounds the memory activations take."""

CALIBRATION = 32
"""Clips that int8 takes its ranges from: more of them change embeddings no further."""


class Embedder:
    """Embeds clips with the deployed backbone of a model, which itself stays as it is.

    Args:
        model: A ``RetrievalModel``, or whatever has its ``embed``, ``dim`` and ``processor``.
        precision: One of ``PRECISIONS``.

    Attributes:
        precision: The one used, never ``auto``.
        batch_size: Clips to give at a time.

    Raises:
        CollectionError: An unknown precision, or one that this model's video encoder cannot be deployed in.
        ModelError: Features in this precision are too far from the model's own.
    """

    def __init__(self, model: Any, precision: str = "auto"):
        if precision not in PRECISIONS:
            raise CollectionError(f"unknown precision '{precision}': use one of {', '.join(PRECISIONS)}")
        self._model = model
        self._encoder = _encoder(model)
        self._backbone = getattr(self._encoder, "backbone", None)
        self._deployed: Any = None
        if self._backbone is None and precision not in ("auto", "fp32"):
            raise CollectionError(f"this model's video encoder runs in fp32 alone: {precision} is for backbones")
        self.precision = self._choose() if precision == "auto" else precision
        spec = model.processor.clip_spec
        self.batch_size = max(1, min(MOST_CLIPS, BATCH_PIXELS // (spec.frames * spec.size**2)))

    @property
    def uncalibrated(self) -> bool:
        """Whether ``calibrate`` is still to come: in int8, whose ranges are else those of the first clips."""
        return self.precision == "int8" and self._deployed is None

    def calibrate(self, clips: Sequence[np.ndarray]) -> None:
        """Take the ranges of int8 from clips like those to come, of all kinds: what is beyond them is cut off.

        Raises:
            ModelError: Features in int8 are too far from the model's own.
        """
        import torch

        self._deployed = self._deploy([torch.from_numpy(clip) for clip in clips])

    def __call__(self, clips: Sequence[np.ndarray], threads: int | None = None) -> np.ndarray:
        """Embed clips (T, C, size, size) uint8 on so many threads, all cores by default: (n, D) float32."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(max(1, threads or cores()))
        try:
            items = [torch.from_numpy(clip) for clip in clips]
            if self._backbone is not None:
                self._deployed = self._deployed or self._deploy(items)
                self._encoder.backbone = self._deployed
            rows = [
                self._model.embed("video", items[first : first + self.batch_size])
                for first in range(0, len(items), self.batch_size)
            ]
        finally:
            if self._backbone is not None:
                self._encoder.backbone = self._backbone
            torch.set_num_threads(before)
        return np.concatenate(rows).astype(np.float32, copy=False)

    def _choose(self) -> str:
        """Return bf16 where it is fast and close enough, else fp32."""
        if self._backbone is None:
            return "fp32"
        from mmretrieval.backbones.deploy import deploy, fast_precisions

        if "bf16" not in fast_precisions() or next(self._backbone.parameters()).device.type != "cpu":
            return "fp32"
        try:
            self._deployed = deploy(self._backbone, "bf16")
        except ModelError:
            return "fp32"
        return "bf16"

    def _deploy(self, clips: list) -> Any:
        from mmretrieval.backbones.deploy import deploy

        if self.precision == "fp32":
            try:
                return deploy(self._backbone, "fp32")
            except ModelError:  # the network does something between its layers: it computes as it is
                return self._backbone
        calibration = self._normalised(clips[:CALIBRATION]) if self.precision == "int8" else None
        return deploy(self._backbone, self.precision, calibration)

    def _normalised(self, clips: list) -> list:
        from mmretrieval.data.processor import pad
        from mmretrieval.media.transforms import normalize

        spec = self._encoder.spec
        batches = [pad(clips[first : first + self.batch_size], 0) for first in range(0, len(clips), self.batch_size)]
        return [batch._replace(values=normalize(batch.values, spec.mean, spec.std)) for batch in batches]


def _encoder(model: Any) -> Any:
    """Return the video encoder inside a ``RetrievalModel``; None in what only behaves like one."""
    branches = getattr(model, "branches", None)
    return branches["video"].encoder if branches is not None and "video" in branches else None

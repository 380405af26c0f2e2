"""Contrastive objectives over embeddings: NCE, SHN, MMS and AMM, one loss per pair of modalities.

The similarity is the plain dot product, without normalisation or temperature (arXiv 2105.04489, §4), computed in
float32 whatever the encoders ran in. A batch that has shrunk to a single item, as the last of a pass can, has nothing
to compare: its loss is 0.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from mmretrieval.objectives import functional
from mmretrieval.objectives.base import PairObjective, objectives
from mmretrieval.types import Encoding


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return the dot products (B, B) of two sets of embeddings (B, D), in at least float32 even under autocast."""
    wide = torch.float64 if first.dtype == torch.float64 else torch.float32
    with torch.autocast(first.device.type, enabled=False):
        return first.to(wide) @ second.to(wide).T


@dataclass(kw_only=True)
class Contrastive(PairObjective):
    """A loss of the similarity matrix of a pair's embeddings."""

    @abstractmethod
    def loss(self, S: Tensor, same: Tensor | None) -> Tensor:
        """Return the loss of similarities (B, B), both directions summed."""

    def pair_loss(self, first: Encoding, second: Encoding, same: Tensor | None) -> Tensor:
        S = similarity(first.embedding, second.embedding)
        return S.sum() * 0.0 if S.shape == (1, 1) else self.loss(S, same)


@objectives.register("nce")
@dataclass(kw_only=True)
class NCE(Contrastive):
    """InfoNCE, or with ``include_positive=False`` the form printed as Eq. 1 of arXiv 2105.04489."""

    include_positive: bool = True

    def loss(self, S: Tensor, same: Tensor | None) -> Tensor:
        return functional.nce(S, self.include_positive, same)


@objectives.register("shn")
@dataclass(kw_only=True)
class SHN(Contrastive):
    """Semi-hard negatives: the triplet loss with the hardest negative still below the positive."""

    margin: float = 1.0

    def loss(self, S: Tensor, same: Tensor | None) -> Tensor:
        return functional.shn(S, self.margin, same)


@objectives.register("mms")
@dataclass(kw_only=True)
class MMS(Contrastive):
    """Masked margin softmax with a fixed or a growing margin: margin · growth^⌊step / every⌋.

    The paper's schedule is ``growth=1.002, every=1000``; ``growth`` 1 keeps the margin fixed. The objective counts
    nothing itself: whoever trains tells it the step, so a resumed run has the right margin at once.

    Attributes:
        margin: Margin at step 0.
        growth: Factor applied every ``every`` steps.
        every: Training steps between two increases.
    """

    margin: float = 1e-3
    growth: float = 1.0
    every: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        self._step = 0

    def set_step(self, step: int) -> None:
        """Tell at which training step the next losses are computed, counted from 0."""
        self._step = step

    def margin_at(self, step: int) -> float:
        """Return the margin at a training step."""
        return self.margin * self.growth ** (step // self.every)

    def loss(self, S: Tensor, same: Tensor | None) -> Tensor:
        return functional.mms(S, self.margin_at(self._step), same)


@objectives.register("amm")
@dataclass(kw_only=True)
class AMM(Contrastive):
    """Adaptive mean margin (arXiv 2105.04489, Eq. 3); the options are those of ``functional.amm``."""

    alpha: float = 0.5
    shared_margin: bool = False
    detach_margin: bool = False

    def loss(self, S: Tensor, same: Tensor | None) -> Tensor:
        return functional.amm(S, self.alpha, self.shared_margin, self.detach_margin, same)

"""Objectives over the shared codebook: Cross-Modal Code Matching and commitment.

A modality that was not quantised adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mmretrieval.objectives import functional
from mmretrieval.objectives.base import PairObjective, modalities_of, objectives
from mmretrieval.types import Encoding


@objectives.register("cmcm")
@dataclass(kw_only=True)
class CodeMatching(PairObjective):
    """Cross-Modal Code Matching (arXiv 2106.05438, §2.3): paired items should use the shared codes alike.

    Attributes:
        both: Average both directions; False keeps only that of the pair's first modality.
    """

    both: bool = True

    def pair_loss(self, first: Encoding, second: Encoding, same: Tensor | None) -> Tensor | None:
        if first.quantized is None or second.quantized is None:
            return None
        P, Q = first.quantized.distribution, second.quantized.distribution
        # One item alone has nothing to be told from.
        return (P.sum() + Q.sum()) * 0.0 if len(P) == len(Q) == 1 else functional.cmcm(P, Q, self.both, same)


@objectives.register("commitment")
@dataclass(kw_only=True)
class Commitment:
    """The pull of fine-grained features towards their codes, one scalar per quantised modality."""

    def __call__(self, encodings: Mapping[str, Encoding], same: Tensor | None = None) -> dict[str, Tensor]:
        present = {name: encodings[name].quantized for name in modalities_of(encodings)}
        return {name: quantized.commitment for name, quantized in present.items() if quantized is not None}

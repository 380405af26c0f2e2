"""Features to one vector per item. Every pooler takes the mask with the features; none can forget it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmretrieval.errors import UnknownNameError, did_you_mean
from mmretrieval.layers.masking import fill, masked_max, masked_mean, zero_padding
from mmretrieval.types import Features, Pooler


class MeanPool(nn.Module):
    """Average the real positions of features (B, N, D) to (B, D)."""

    def forward(self, features: Features) -> Tensor:
        return masked_mean(features.values, features.mask)


class MaxPool(nn.Module):
    """Take the largest value of each channel over the real positions of features (B, N, D), to (B, D)."""

    def forward(self, features: Features) -> Tensor:
        return masked_max(features.values, features.mask)


class AttentionPool(nn.Module):
    """Average the real positions with learned weights: a softmax over one score per position.

    It starts as the plain mean, because the scores start at zero.

    Args:
        dim: Width of the features, D.
        heads: Independent sets of weights; each pools its own D / heads channels.
    """

    def __init__(self, dim: int, heads: int = 1):
        super().__init__()
        if dim % heads:
            raise ValueError(f"attention pooling of width {dim} cannot have {heads} heads: use a divisor of the width")
        self.heads = heads
        self.score = nn.Linear(dim, heads)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, features: Features) -> Tensor:
        mask = features.mask
        values = zero_padding(features.values, mask)
        # A row without real positions would be a softmax over nothing: let it see its zeros instead.
        visible = mask | ~mask.any(dim=1, keepdim=True)
        weights = fill(self.score(values).float(), visible, float("-inf")).softmax(dim=1).to(values.dtype)
        pooled = weights.unsqueeze(-1) * values.unflatten(-1, (self.heads, -1))
        return pooled.sum(dim=1).flatten(1)


class SampledPool(nn.Module):
    """Average a few real positions drawn anew each time in training, all of them in evaluation.

    Spoken Moments (arXiv 2105.04489, §4.2.1) averages ten random word vectors of a caption; a caption of fewer words
    has some of them drawn more than once, and only then. Random numbers are torch's, so a step's seed decides them.

    Args:
        number: Positions drawn.
    """

    def __init__(self, number: int = 10):
        super().__init__()
        self.number = number

    def forward(self, features: Features) -> Tensor:
        values, mask = features.values, features.mask
        if not self.training:
            return masked_mean(values, mask)
        drawn = self._draw(mask).unsqueeze(-1).expand(-1, -1, values.shape[-1])
        return zero_padding(values, mask).gather(1, drawn).mean(dim=1)

    def _draw(self, mask: Tensor) -> Tensor:
        """Return (B, number) positions; in a row without real ones they all point at padding, whose values are zero."""
        real = mask.sum(dim=1, keepdim=True)
        # each row's real positions in random order, padding last: the first of them are a draw without replacement
        order = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, 2.0).argsort(dim=1)
        ranks = torch.arange(self.number, device=mask.device).expand(len(mask), -1)
        again = (torch.rand(ranks.shape, device=mask.device) * real).long()
        ranks = torch.where(real >= self.number, ranks, again)
        return order.gather(1, ranks.minimum((real - 1).clamp_min(0)))

    def extra_repr(self) -> str:
        return f"number={self.number}"


class UnitParts(nn.Module):
    """Bring each part of a pooled vector (B, D) to unit length: what different networks found then weighs the same.

    Args:
        widths: Widths of the parts, together D.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.widths = list(widths)

    def forward(self, pooled: Tensor) -> Tensor:
        return torch.cat([F.normalize(part, dim=-1) for part in pooled.split(self.widths, dim=-1)], dim=-1)

    def extra_repr(self) -> str:
        return f"widths={self.widths}"


POOLERS = ("mean", "max", "attention", "sampled")


def create_pooler(name: str, dim: int, number: int = 10) -> Pooler:
    """Build the pooler ``mean``, ``max``, ``attention`` or ``sampled`` for features of width ``dim``, D.

    ``number`` is how many positions ``sampled`` draws.

    Raises:
        UnknownNameError: Another name.
    """
    match name:
        case "mean":
            return MeanPool()
        case "max":
            return MaxPool()
        case "attention":
            return AttentionPool(dim)
        case "sampled":
            return SampledPool(number)
    raise UnknownNameError(f"unknown pooling '{name}'.{did_you_mean(name, POOLERS)} Known: {', '.join(POOLERS)}.")


NORMS = ("batch", "l2", "none")


def create_norm(name: str, widths: Sequence[int]) -> nn.Module:
    """Build what is done to pooled features before a head.

    ``batch`` normalises each number over the batch, ``l2`` brings each part, of ``widths``, to unit length, ``none``
    leaves them as they are.

    Raises:
        UnknownNameError: Another name.
    """
    match name:
        case "batch":
            return nn.BatchNorm1d(sum(widths))
        case "l2":
            return UnitParts(widths)
        case "none":
            return nn.Identity()
    raise UnknownNameError(f"unknown norm '{name}'.{did_you_mean(name, NORMS)} Known: {', '.join(NORMS)}.")

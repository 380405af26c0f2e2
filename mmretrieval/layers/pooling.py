"""Features to one vector per item. Every pooler takes the mask with the features; none can forget it."""

from __future__ import annotations

from torch import Tensor, nn

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


POOLERS = {"mean": lambda dim: MeanPool(), "max": lambda dim: MaxPool(), "attention": AttentionPool}


def create_pooler(name: str, dim: int) -> Pooler:
    """Build the pooler ``mean``, ``max`` or ``attention`` for features of width ``dim``, D.

    Raises:
        UnknownNameError: Another name.
    """
    if name not in POOLERS:
        raise UnknownNameError(f"unknown pooling '{name}'.{did_you_mean(name, POOLERS)} Known: {', '.join(POOLERS)}.")
    return POOLERS[name](dim)

"""Projection heads; two of them read "an MLP of two linear layers with gated linear units" (Spoken Moments, §4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmretrieval.errors import ModelError, UnknownNameError, did_you_mean


class GLUHead(nn.Module):
    """Project (…, in) to (…, out): Linear(in, 2·in) → GLU → Linear(in, 2·out) → GLU.

    The reading this package trains by default (arXiv 2105.04489 §4, gates after both layers).
    """

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.hidden = nn.Linear(in_dim, 2 * in_dim)
        self.out = nn.Linear(in_dim, 2 * out_dim)

    def forward(self, values: Tensor) -> Tensor:
        return F.glu(self.out(F.glu(self.hidden(values))))


class GatedEmbeddingUnit(nn.Module):
    """Project (…, in) to (…, out) as y · sigmoid(W y) with y = Linear(in, out): the HowTo100M and AVLnet reading."""

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.project = nn.Linear(in_dim, out_dim)
        self.gate = nn.Linear(out_dim, out_dim)

    def forward(self, values: Tensor) -> Tensor:
        projected = self.project(values)
        return projected * torch.sigmoid(self.gate(projected))


HEADS = ("glu", "gated", "linear", "none")


def create_head(name: str, width: int, dim: int) -> nn.Module:
    """Build what turns pooled features of ``width`` into an embedding of ``dim``.

    ``none`` leaves them as they are: features that are embeddings already.

    Raises:
        UnknownNameError: Another name than those of ``HEADS``.
        ModelError: ``none`` where the two widths differ.
    """
    match name:
        case "glu":
            return GLUHead(width, dim)
        case "gated":
            return GatedEmbeddingUnit(width, dim)
        case "linear":
            return nn.Linear(width, dim)
        case "none":
            if width != dim:
                raise ModelError(f"head: none makes embeddings as wide as features: set dim to {width}, not {dim}")
            return nn.Identity()
    raise UnknownNameError(f"unknown head '{name}'.{did_you_mean(name, HEADS)} Known: {', '.join(HEADS)}.")

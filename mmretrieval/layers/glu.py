"""Projection heads: the two readings of "an MLP of two linear layers with gated linear units" (Spoken Moments, §4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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

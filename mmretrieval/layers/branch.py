"""One modality on its way into the shared space: continuous summary and discrete summary of its features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmretrieval.layers.chunks import in_chunks, rejoin
from mmretrieval.layers.glu import create_head
from mmretrieval.layers.pooling import MeanPool, create_norm, create_pooler
from mmretrieval.types import Encoder, Features, Padded


class Branch(nn.Module):
    """One modality: its encoder, its continuous summary and its way through the codebook.

    Args:
        encoder: Inputs to features (B, N, ``encoder.feature_dim``).
        dim: Width D of the embedding.
        code_dim: Width of the codebook, or None for a continuous model.
        pool: How features become one vector: ``mean``, ``max``, ``attention`` or ``sampled``.
        head: ``glu`` (two linear layers, each gated), ``gated`` (gated embedding unit), ``linear``, or ``none`` for
            features that are embeddings already.
        dropout: Share of pooled features dropped before the heads in training.
        norm: What is done to that vector before the head: ``batch``, ``l2`` (each network's part of it to unit length;
            an encoder of several says their widths in ``feature_groups``) or ``none``.
        pool_number: Positions that the pooling ``sampled`` draws in training.
    """

    def __init__(
        self,
        encoder: Encoder,
        dim: int,
        code_dim: int | None,
        pool: str = "mean",
        head: str = "glu",
        dropout: float = 0.0,
        norm: str = "batch",
        pool_number: int = 10,
    ):
        super().__init__()
        self.encoder = encoder
        self.pool = create_pooler(pool, encoder.feature_dim, pool_number)
        # pooled features share a large common part; unless it is taken off, by batch, the cosines of different items
        # start close to 1
        self.norm = create_norm(norm, getattr(encoder, "feature_groups", (encoder.feature_dim,)))
        self.dropout = nn.Dropout(dropout)
        self.head = create_head(head, encoder.feature_dim, dim)
        if code_dim is not None:
            # standardised over real positions: all modalities then lie in one place and on one scale, so that they meet
            # in the same codes, and the temperature-free soft-min over distances has a scale to work on
            self.to_codes = nn.Linear(encoder.feature_dim, code_dim, bias=False)
            self.code_norm = nn.BatchNorm1d(code_dim, affine=False)
            self.pool_codes = MeanPool()
            self.from_codes = nn.Linear(code_dim, dim)
            # the discrete summary starts at zero: when the codebook starts, the model is still the continuous one
            nn.init.zeros_(self.from_codes.weight)
            nn.init.zeros_(self.from_codes.bias)

    def forward(self, inputs: Padded | Features) -> tuple[Tensor, Features]:
        """Return the continuous summary (B, D) and the fine-grained features."""
        features = self.features(inputs)
        return self.summary(self.pool(features)), features

    def features(self, inputs: Padded | Features) -> Features:
        """Return the encoder's features of inputs; features that come in its place are taken as they are."""
        if isinstance(inputs, Features):
            return inputs._replace(values=inputs.values.float())
        return self.encoder(inputs)

    def summary(self, pooled: Tensor) -> Tensor:
        """Return the continuous summary (B, D) of pooled features."""
        return self.head(self.dropout(self.norm(pooled)))

    def project(self, features: Features) -> Features:
        """Map features to the width and scale of the codebook."""
        return _at_real(features, lambda real: self.code_norm(self.to_codes(real).float()))

    def pool_chunks(self, inputs: Padded, size: int, discrete: bool) -> tuple[Tensor, Features]:
        """Return pooled features and, if ``discrete``, features for the codebook, with the memory of ``size`` items.

        Everything that looks at one item at a time runs in chunks; what looks across items, the normalisations before
        the head and before the codebook, sees the whole batch. Features of the encoder's width are not kept: without
        ``discrete`` each item's features are its pooled vector.
        """

        def run(chunk: Padded) -> tuple[Tensor, Features]:
            features = self.encoder(chunk)
            pooled = self.pool(features)
            return pooled, _at_real(features, self.to_codes) if discrete else one_position(pooled)

        vectors, parts = zip(*in_chunks(run, inputs, size, self), strict=True)
        features = parts[0]._replace(
            values=rejoin([part.values for part in parts]), mask=rejoin([part.mask for part in parts])
        )
        if discrete:
            features = _at_real(features, lambda real: self.code_norm(real.float()))
        return rejoin(vectors), features

    def discrete(self, quantized: Features) -> Tensor:
        """Return the discrete summary (B, D) of quantised features."""
        return self.from_codes(self.dropout(self.pool_codes(quantized)))


def _at_real(features: Features, function: Callable[[Tensor], Tensor]) -> Features:
    """Apply ``function`` (n, D) → (n, D') to the real positions alone; zeros stand at padding."""
    real = function(features.values[features.mask])
    values = real.new_zeros(*features.mask.shape, real.shape[-1])
    values[features.mask] = real
    return features._replace(values=values)


def one_position(pooled: Tensor) -> Features:
    """Return vectors (B, D) as features (B, 1, D) whose pooling gives them back."""
    return Features(pooled.unsqueeze(1), pooled.new_ones(len(pooled), 1, dtype=torch.bool), (1,))

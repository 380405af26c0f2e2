"""Sub-word tokens to features: a small transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmretrieval.encoders.names import encoders
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import zero_padding
from mmretrieval.types import Features, Padded


class _Layer(nn.Module):
    """Self-attention and a two-layer perceptron, each after a normalisation and added to its input."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, visible: Tensor) -> Tensor:
        """Values (B, L, D); ``visible`` (B, 1, 1, L) bool, True = may be attended to."""
        query, key, value = self.qkv(self.attention_norm(values)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=visible
        )
        values = values + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return values + self.dropout(self.mlp(self.mlp_norm(values)))


class TextTransformer(nn.Module):
    """A pre-norm transformer over sub-word tokens with learned positions.

    Args:
        vocab_size: Tokens the tokenizer knows.
        dim: Width, D.
        depth: Layers.
        heads: Attention heads; a divisor of ``dim``.
        max_tokens: Longest caption, L.
        dropout: Share of residual activations dropped in training.
    """

    modality = "text"

    def __init__(
        self,
        vocab_size: int,
        dim: int = 256,
        depth: int = 4,
        heads: int = 4,
        max_tokens: int = 64,
        dropout: float = 0.0,
    ):
        super().__init__()
        if dim % heads:
            raise ModelError(f"a text encoder of width {dim} cannot have {heads} heads: use a divisor of the width")
        self.feature_dim = dim
        self.max_tokens = max_tokens
        self.tokens = nn.Embedding(vocab_size, dim)
        self.positions = nn.Parameter(torch.empty(max_tokens, dim))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_Layer(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise linear maps as BERT does, N(0, 0.02), but let words outweigh positions twenty to one.

        Captions then differ from the first step on by the words they have; with equal weights the positions, common
        to all captions, drown them.
        """
        nn.init.normal_(self.positions, std=0.01)
        nn.init.normal_(self.tokens.weight, std=0.2)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Padded) -> Features:
        """Token ids (B, L) to features (B, L, D).

        Raises:
            ModelError: More tokens than the encoder has positions.
        """
        length = tokens.values.shape[1]
        if length > self.max_tokens:
            raise ModelError(
                f"a caption of {length} tokens is too long for a text encoder of {self.max_tokens} positions: "
                f"cut captions to max_tokens, or build the encoder with more"
            )
        values = self.tokens(zero_padding(tokens.values, tokens.mask)) + self.positions[:length]
        values = self.dropout(values)
        # Attention over nothing is NaN: a row that is all padding attends to itself and is zeroed at the end.
        visible = tokens.mask | ~tokens.mask.any(dim=1, keepdim=True)
        for layer in self.layers:
            values = layer(values, visible[:, None, None])
        return Features(zero_padding(self.norm(values), tokens.mask), tokens.mask, (length,))


@encoders.register()
def text_transformer(
    vocab_size: int, dim: int = 256, depth: int = 4, heads: int = 4, max_tokens: int = 64, dropout: float = 0.0
) -> TextTransformer:
    """A transformer trained from scratch on the captions at hand."""
    return TextTransformer(vocab_size, dim, depth, heads, max_tokens, dropout)

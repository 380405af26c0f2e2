"""Masks: True = real, everywhere. Padding is filled, never multiplied away, so that junk in it cannot leak."""

from __future__ import annotations

import torch
from torch import Tensor


def lengths_to_mask(lengths: Tensor, size: int) -> Tensor:
    """Return the (B, N) mask of sequences of the given ``lengths`` (B,), padded to ``size`` positions."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def fill(values: Tensor, mask: Tensor, value: float) -> Tensor:
    """Return ``values`` (B, N, …) with ``value`` wherever ``mask`` (B, N) says padding."""
    return values.masked_fill(~expand(mask, values), value)


def zero_padding(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``values`` (B, N, …) with zeros at padding, even where padding holds NaN."""
    return fill(values, mask, 0.0)


def expand(mask: Tensor, values: Tensor) -> Tensor:
    """Return ``mask`` (B, N) with trailing axes of one, ready to broadcast over ``values`` (B, N, …)."""
    return mask.reshape(*mask.shape, *[1] * (values.dim() - mask.dim()))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over real positions: (B, N, …) and (B, N) to (B, …); zero for a row without any."""
    counts = mask.sum(dim=1).clamp_min(1).to(values.dtype)
    return zero_padding(values, mask).sum(dim=1) / counts.reshape(-1, *[1] * (values.dim() - 2))


def masked_max(values: Tensor, mask: Tensor) -> Tensor:
    """Return the maximum over real positions: (B, N, …) and (B, N) to (B, …); zero for a row without any.

    Padding is filled with −inf: multiplied by zero it would beat every row whose real values are all negative.
    """
    best = fill(values, mask, float("-inf")).amax(dim=1)
    return zero_padding(best.unsqueeze(1), mask.any(dim=1, keepdim=True)).squeeze(1)


def downsample_mask(mask: Tensor, stride: int) -> Tensor:
    """Return the mask after a strided layer, (B, N) to (B, ceil(N / stride)).

    An output position is real where the input position it is centred on is; a sequence of n real positions keeps
    ceil(n / stride).
    """
    return mask[:, ::stride]

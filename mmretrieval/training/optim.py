"""The optimiser: AdamW whose rate is a pure function of the step, so that resuming needs no schedule state."""

from __future__ import annotations

import math

import torch
from torch import nn


def create_optimizer(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over all parameters; vectors and scalars (biases, norms, scales) are not decayed."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))


def rate_factor(step: int, total: int, schedule: str, warmup: float) -> float:
    """Return the share of the peak rate at ``step`` of ``total``.

    ``one_cycle`` rises along a cosine from 4 % over the first ``warmup`` of all steps and falls along a cosine to 0;
    ``constant`` rises linearly over the warm-up and stays.
    """
    rise = max(1, round(warmup * total))
    if schedule == "constant":
        return min(1.0, (step + 1) / rise) if warmup else 1.0
    if step < rise:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / rise))
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the rate ``lr``."""
    for group in optimizer.param_groups:
        group["lr"] = lr

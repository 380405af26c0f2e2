"""The optimiser: AdamW whose rate is a pure function of the step, so that resuming needs no schedule state."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from mmretrieval.errors import RecipeError, did_you_mean


def create_optimizer(
    module: nn.Module, lr: float, weight_decay: float, rates: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """Return AdamW over all parameters; vectors and scalars (biases, norms, scales) are not decayed.

    Args:
        module: What is trained.
        lr: Peak rate.
        weight_decay: Decay of matrices and kernels.
        rates: Beginning of a parameter's name → the share of the rate it is trained at; the longest one that fits
            counts, parameters that none fits have 1.

    Raises:
        RecipeError: No parameter's name begins so.
    """
    rates = dict(rates or {})
    names = [name for name, _ in module.named_parameters()]
    for prefix in rates:
        if not any(name.startswith(prefix) for name in names):
            modules = [name for name, _ in module.named_modules() if name]
            raise RecipeError(f"training.rates: no parameter begins with '{prefix}'.{did_you_mean(prefix, modules)}")
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            fitting = [prefix for prefix in rates if name.startswith(prefix)]
            share = rates[max(fitting, key=len)] if fitting else 1.0
            groups.setdefault((share, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": weight_decay if decayed else 0.0, "share": share}
            for (share, decayed), parameters in groups.items()
        ],
        lr=lr,
        betas=(0.9, 0.98),
    )


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
    """Give every parameter group its share of the rate ``lr``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["share"]

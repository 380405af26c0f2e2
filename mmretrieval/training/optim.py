"""The optimisers. Their rate is a function of the step alone, so resuming needs no schedule state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmretrieval.errors import RecipeError, did_you_mean
from mmretrieval.training.muon import Muon

_INPUT_CHANNELS = 3
"""A kernel that reads no more channels sees pixels or a spectrogram: a filter bank, not a matrix between features."""


def create_optimizer(
    module: nn.Module,
    lr: float,
    weight_decay: float,
    rates: Mapping[str, float] | None = None,
    kind: str = "adamw",
    muon_rate: float = 20.0,
) -> torch.optim.Optimizer:
    """Return the optimiser of all parameters that are trained; vectors and scalars (biases, norms) are not decayed.

    Args:
        module: What is trained.
        lr: Peak rate.
        weight_decay: Decay of matrices and kernels.
        rates: Beginning of a parameter's name → the share of the rate it is trained at; the longest one that fits
            counts, parameters that none fits have 1. Those of share 0 are left out: they are frozen.
        kind: ``adamw``; ``adam`` as most retrieval papers use it: momenta 0.9 and 0.999, decay in the gradient;
            ``sgd`` as the recognition papers: momentum 0.9, decay of all parameters; or ``muon`` for the kernels of
            convolutions, except those that see the input, and AdamW for the rest.
        muon_rate: Muon's rate as a multiple of the others'.

    Raises:
        RecipeError: No parameter's name begins so, or nothing is left to train.
    """
    rates = dict(rates or {})
    check_rates(module, rates)
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        share = share_of(name, rates)
        if parameter.requires_grad and share:
            orthogonal = kind == "muon" and parameter.ndim > 2 and parameter.shape[1] > _INPUT_CHANNELS
            groups.setdefault((share, parameter.ndim > 1, orthogonal), []).append(parameter)
    if not groups:
        raise RecipeError("nothing is left to train: training.rates freezes every parameter of the model")
    parts = [
        {
            "params": parameters,
            "weight_decay": weight_decay if decayed or kind == "sgd" else 0.0,
            "share": share * (muon_rate if orthogonal else 1.0),
            "orthogonal": orthogonal,
        }
        for (share, decayed, orthogonal), parameters in groups.items()
    ]
    if kind == "adam":
        return torch.optim.Adam(parts, lr=lr)
    if kind == "sgd":
        return torch.optim.SGD(parts, lr=lr, momentum=0.9)
    return (Muon if kind == "muon" else torch.optim.AdamW)(parts, lr=lr, betas=(0.9, 0.98), fused=True)


def share_of(name: str, rates: Mapping[str, float]) -> float:
    """Return the share of the rate for a parameter, or the module, of this name."""
    fitting = [prefix for prefix in rates if name.startswith(prefix)]
    return rates[max(fitting, key=len)] if fitting else 1.0


def check_rates(module: nn.Module, rates: Mapping[str, float]) -> None:
    """Refuse beginnings of names that no parameter has.

    Raises:
        RecipeError: There is one.
    """
    names = [name for name, _ in module.named_parameters()]
    for prefix in rates:
        if not any(name.startswith(prefix) for name in names):
            modules = [name for name, _ in module.named_modules() if name]
            raise RecipeError(f"training.rates: no parameter begins with '{prefix}'.{did_you_mean(prefix, modules)}")


def rate_factor(step: int, total: int, schedule: str, warmup: float, milestones: Sequence[float] = ()) -> float:
    """Return the share of the peak rate at ``step`` of ``total``.

    ``one_cycle`` rises along a cosine from 4 % over the first ``warmup`` of all steps and falls along a cosine to 0.
    The others rise linearly: ``constant`` stays then, ``cosine`` falls along a cosine to 0, ``multi_step`` falls to a
    tenth at each of ``milestones``, shares of all steps.
    """
    rise = round(warmup * total)
    if schedule == "one_cycle":
        rise = max(1, rise)
        if step < rise:
            return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / rise))
    elif step < rise:
        return (step + 1) / rise
    if schedule == "constant":
        return 1.0
    if schedule == "multi_step":
        return 0.1 ** sum(step >= share * total for share in milestones)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group its share of the rate ``lr``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["share"]

"""Parts of a model that do not learn: frozen whole, or only their normalisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmretrieval.errors import RecipeError, did_you_mean
from mmretrieval.training.optim import check_rates, share_of


def freeze(module: nn.Module, rates: Mapping[str, float], norms: Sequence[str] = ()) -> None:
    """Freeze what is trained at no rate, and the statistics of chosen batch normalisations.

    A frozen part has no gradient and no optimiser state, and stays in evaluation mode whatever mode the model is put
    in: its dropout does nothing, its batch normalisations use and keep their running statistics. Of a normalisation
    that is only held by ``norms``, scale and shift go on learning at their rate.

    Call it before the optimiser is made and before the model is wrapped for several processes.

    Args:
        module: What is trained.
        rates: Beginning of a parameter's name → its share of the rate; 0 freezes.
        norms: Beginnings of names of modules whose batch normalisations are held.

    Raises:
        RecipeError: A beginning fits no parameter, or no batch normalisation.
    """
    check_rates(module, rates)
    for name, parameter in module.named_parameters():
        if share_of(name, rates) == 0:
            parameter.requires_grad_(False)
    for name, part in module.named_modules():
        if share_of(name, rates) == 0 and not any(parameter.requires_grad for parameter in part.parameters()):
            _hold(part)
    for prefix in norms:
        found = [part for name, part in _batch_norms(module).items() if name.startswith(prefix)]
        if not found:
            parts = [name for name, part in module.named_modules() if name and _batch_norms(part)]
            raise RecipeError(
                f"training.freeze_norm: no batch normalisation lies in '{prefix}'.{did_you_mean(prefix, parts)}"
            )
        for part in found:
            _hold(part)


def _batch_norms(module: nn.Module) -> dict[str, nn.Module]:
    return {name: part for name, part in module.named_modules() if isinstance(part, _BatchNorm)}


def _hold(part: nn.Module) -> None:
    """Put a module into evaluation mode for good: its ``train`` becomes one that stays there."""
    part.train = partial(_stay, part)
    part.eval()


def _stay(part: nn.Module, mode: bool = True) -> nn.Module:
    return type(part).train(part, False)

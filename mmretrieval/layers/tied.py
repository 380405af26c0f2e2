"""Tensors that a network holds under several names: BART's three word tables are one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def second_names(module: nn.Module) -> dict[str, str]:
    """Return, for every further name of a tensor in a network's state, the first name of that tensor."""
    first: dict[tuple, str] = {}
    further = {}
    for name, tensor in module.state_dict().items():
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.dtype)
        if tensor.numel() and first.setdefault(place, name) != name:
            further[name] = first[place]
    return further


def state_without_copies(module: nn.Module) -> dict[str, Tensor]:
    """Return a network's state on the CPU, each tensor under its first name alone, as safetensors wants it."""
    further = second_names(module)
    return {
        name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items() if name not in further
    }


def state_with_copies(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state``, as ``state_without_copies`` made it, with every name that ``module`` has for its tensors."""
    return {**state, **{name: state[first] for name, first in second_names(module).items() if first in state}}

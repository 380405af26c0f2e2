"""Networks without first random weights, for those whose weights are about to be read: drawing them takes seconds."""

from __future__ import annotations

from typing import Any

from torch.overrides import TorchFunctionMode

_DRAWS = {"uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_",
          "kaiming_normal_", "orthogonal_", "sparse_"}  # fmt: skip
"""Known by name: transformers puts functions of its own in the place of torch's."""


class Blank(TorchFunctionMode):
    """Inside this context tensors are not filled with random numbers: what they hold is left to chance.

    Every one of them has to be written afterwards, as strict loading does.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Leave out draws; call everything else."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", None) in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)

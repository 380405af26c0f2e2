"""Parts of a model through ``torch.compile``, where that pays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

import torch
from torch import nn

from mmretrieval.errors import DependencyError


def compile_parts(parts: Sequence[nn.Module], device: torch.device, backend: str = "inductor") -> None:
    """Compile parts of a model in place, each at its first use; the names of weights stay as they are.

    Args:
        parts: What is compiled.
        device: Where it trains.
        backend: What torch.compile hands its graphs to.

    Raises:
        DependencyError: torch.compile has no compiler to use here.
    """
    if missing := _missing_compiler(device):
        raise DependencyError(f"training.compile needs {missing}: install it, or leave training.compile out")
    for part in parts:
        part.compile(backend=backend)


def _missing_compiler(device: torch.device) -> str | None:
    """Return what torch.compile lacks on this machine."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton for this GPU"
    names = [os.environ.get("CXX"), "g++", "clang++"]
    return None if any(name and shutil.which(name) for name in names) else "a C++ compiler (g++ or clang++)"

"""Encoders through ``torch.compile``, where that pays."""

from __future__ import annotations

import os
import shutil

import torch

from mmretrieval.errors import DependencyError
from mmretrieval.model import RetrievalModel


def compile_encoders(model: RetrievalModel, device: torch.device, backend: str = "inductor") -> None:
    """Compile every encoder in place, at its first use; the names of weights stay as they are.

    The rest of a step (heads, codebook, losses) is small or has shapes that change.

    Args:
        model: The model.
        device: Where it trains.
        backend: What torch.compile hands its graphs to.

    Raises:
        DependencyError: torch.compile has no compiler to use here.
    """
    if missing := _missing_compiler(device):
        raise DependencyError(f"training.compile needs {missing}: install it, or leave training.compile out")
    for branch in model.branches.values():
        branch.encoder.compile(backend=backend)


def _missing_compiler(device: torch.device) -> str | None:
    """Return what torch.compile lacks on this machine."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton for this GPU"
    names = [os.environ.get("CXX"), "g++", "clang++"]
    return None if any(name and shutil.which(name) for name in names) else "a C++ compiler (g++ or clang++)"

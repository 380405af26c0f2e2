"""Checkpoints: everything a run needs to go on exactly where it was, written all or nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from mmretrieval.errors import ModelError
from mmretrieval.files import atomic_folder
from mmretrieval.layers.tied import state_with_copies, state_without_copies


@dataclass
class Progress:
    """How far a run is: the next batch to train on, and what has been measured so far."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    failures: int = 0
    history: list[dict] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def save_checkpoint(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write weights, optimiser state and progress; the previous checkpoint stays until the new one is whole.

    Raises:
        StorageError: The disk is full or cannot be written.
    """
    from safetensors.torch import save_file

    with atomic_folder(folder) as unfinished:
        save_file(state_without_copies(module), str(unfinished / "model.safetensors"))
        torch.save(optimizer.state_dict(), unfinished / "optimizer.pt")
        (unfinished / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")


def load_checkpoint(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Restore what ``save_checkpoint`` wrote and return the progress.

    Raises:
        ModelError: The checkpoint is damaged or belongs to another model.
    """
    from safetensors.torch import load_file

    try:
        module.load_state_dict(state_with_copies(module, load_file(str(folder / "model.safetensors"))))
        optimizer.load_state_dict(torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu"))
        return Progress(**json.loads((folder / "progress.json").read_text("utf-8")))
    except Exception as error:
        raise ModelError(
            f"the checkpoint {folder} cannot be used ({_first_line(error)}): train without --resume into another output"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

"""What all models share on disk: a folder with ``config.json``, ``model.safetensors`` and what else belongs to them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from mmretrieval.backbones.weights import check_fit
from mmretrieval.data.processor import Processor
from mmretrieval.errors import ModelError
from mmretrieval.files import atomic_folder
from mmretrieval.layers.blank import Blank
from mmretrieval.layers.tied import state_with_copies, state_without_copies

FORMAT = 1
_FIRST_KIND = "retrieval"
"""The kind of models that were saved before there was another."""


class SavedModel(nn.Module):
    """A network with its preprocessing, saved and loaded as one.

    A kind of model sets ``kind``, fills ``config`` with everything ``rebuild`` needs, and implements that.

    Attributes:
        kind: What this model does, as ``config.json`` names it.
        config: Plain values that describe the architecture.
        processor: The preprocessing that belongs to these weights.
    """

    kind: str
    config: dict[str, Any] | None
    processor: Processor

    @classmethod
    def rebuild(cls, config: dict[str, Any], folder: Path) -> Self:
        """Build the architecture that ``config`` describes; ``folder`` holds what ``companions`` wrote."""
        raise ModelError(f"a {cls.__name__} cannot be built from a configuration alone")

    def companions(self) -> dict[str, str]:
        """Return further text files of the folder: name → content."""
        return {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def fingerprint(self) -> str:
        """Return the SHA-256 of configuration and weights: what a collection remembers of its model."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model into a folder, all or nothing.

        Raises:
            StorageError: The disk is full or cannot be written; what was there before is untouched.
        """
        from safetensors.torch import save_file

        with atomic_folder(folder) as unfinished:
            config = {"format": FORMAT, "kind": self.kind, "model": self.config}
            (unfinished / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            for name, text in self.companions().items():
                (unfinished / name).write_text(text, encoding="utf-8")
            save_file(state_without_copies(self), str(unfinished / "model.safetensors"))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Load a saved model, strictly; it is in evaluation mode.

        Raises:
            ModelError: Not a saved model, one of another kind, damaged, or weights that do not fit the configuration.
        """
        folder = Path(folder)
        kind, config = read_config(folder)
        if kind != cls.kind:
            raise ModelError(f"'{folder}' is a model for {kind}, not for {cls.kind}")
        try:
            with Blank():
                model = cls.rebuild(config, folder)
        except (KeyError, TypeError) as error:
            raise ModelError(f"{folder}/config.json does not describe a model: {error}") from None
        state = state_with_copies(model, read_weights(folder))
        check_fit(f"{folder}: weights and config.json do not belong together", model.state_dict(), state)
        model.load_state_dict(state)
        return model.eval()


def read_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the kind of a saved model and its configuration.

    Raises:
        ModelError: Not a saved model, damaged, or of a later format.
    """
    if not folder.is_dir():
        raise ModelError(f"no model at '{folder}': give the folder that training wrote, e.g. runs/demo/model")
    try:
        saved = json.loads((folder / "config.json").read_text("utf-8"))
        written, config = saved["format"], saved["model"]
        kind = saved.get("kind", _FIRST_KIND)
    except FileNotFoundError:
        raise ModelError(f"'{folder}' is not a saved model: it has no config.json") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}/config.json is damaged: {error}") from None
    if written > FORMAT:
        raise ModelError(f"{folder} has format {written}, this version reads up to {FORMAT}: upgrade mmretrieval")
    return kind, config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of a saved model by name.

    Raises:
        ModelError: There are none, or the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    if not file.is_file():
        raise ModelError(f"'{folder}' is not a saved model: it has no {file.name}")
    try:
        return load_file(str(file))
    except SafetensorError as error:
        raise ModelError(f"{file} is not a whole safetensors file ({error}): copy it again or train again") from None

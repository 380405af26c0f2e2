"""What a run starts from: an earlier run's model, or weights from elsewhere for some of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import nn

from mmretrieval.backbones.weights import check_fit, load_weights
from mmretrieval.errors import RecipeError, did_you_mean
from mmretrieval.model import RetrievalModel

_CODE_PARTS = ("to_codes", "code_norm", "from_codes")


def start_from(model: RetrievalModel, earlier: RetrievalModel, folder: str | Path) -> None:
    """Give a new model all weights of a saved one.

    Names and shapes must be the same, with one exception: a saved model without a codebook fits one with a codebook,
    whose path is then new. That is the warm start of Cross-Modal Discrete Representation Learning.

    Args:
        model: The new model.
        earlier: The saved model.
        folder: Where it was saved, for the message.

    Raises:
        ModelError: The saved model is of another architecture.
    """
    state, expected = earlier.state_dict(), model.state_dict()
    if earlier.codebook is None:
        state |= {name: tensor for name, tensor in expected.items() if _of_the_codebook(name)}
    check_fit(f"init_from: {folder} is not the model of this recipe", expected, state)
    model.load_state_dict(state)


class PartWeights(Protocol):
    """A file of weights, and how those of images become those of video; see ``load_weights``."""

    file: str | Path
    inflate: str | None


def load_parts(model: nn.Module, weights: Mapping[str, PartWeights]) -> None:
    """Fill parts of a model with weights from elsewhere.

    Args:
        model: The model.
        weights: By the name of the part, e.g. ``branches.video.encoder.backbone.spatial``.

    Raises:
        RecipeError: The model has no such part.
        ModelError: The file is missing, or does not fit the part.
    """
    parts = {name: part for name, part in model.named_modules() if name}
    for name, given in weights.items():
        if name not in parts:
            raise RecipeError(f"weights: the model has no part '{name}'.{did_you_mean(name, parts)}")
        load_weights(parts[name], given.file, given.inflate)


def _of_the_codebook(name: str) -> bool:
    parts = name.split(".")
    return parts[0] == "codebook" or (parts[0] == "branches" and parts[2] in _CODE_PARTS)

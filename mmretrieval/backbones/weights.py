"""Weights from elsewhere: files of tensors, in the names of their authors' code, into the networks of the zoo.

The zoo's parameter names are those of torchvision (ResNets, GoogLeNet, R(2+1)D), which timm's ResNets share, and of the
framework of "Deep Analysis of CNN-based Spatio-temporal Representations" (arXiv 2010.11757). What is left to do is to
take off the wrappings of training scripts. A file tells neither its frames per clip, nor whether it was trained with
temporal pooling, nor which wiring its TAM blocks had: those are options of the network.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmretrieval.backbones.fit import State, check_fit, looks_like, with_counters
from mmretrieval.backbones.inflate import inflate as inflate_from_images
from mmretrieval.backbones.released import check_release
from mmretrieval.errors import ModelError

_CLASSIFIERS = ("fc.", "new_fc.", "last_linear.")
"""Names of classifiers, which no backbone has, in torchvision and timm, TSM and Moments in Time."""

_AUXILIARY = ("aux1.", "aux2.")
"""Classifiers half-way through GoogLeNet, for its training alone."""


_IN_SAVED_MODELS = ("encoder.backbone.", "branches.video.encoder.backbone.")
"""Where the backbone stands in a saved recognition model and in a saved retrieval model."""


class Loaded(NamedTuple):
    """What came of loading a file.

    ``stayed`` names the tensors that kept their initial values; ``classifier`` is the file's own, ``weight`` (K, D) and
    ``bias`` (K,) for K classes, for a recognition model that has as many; empty where the file has none.
    """

    stayed: list[str]
    classifier: dict[str, Tensor]


def load_weights(module: nn.Module, file: str | Path, inflate: str | None = None) -> Loaded:
    """Fill a network with the weights of a file, strictly: every tensor fits and none is left over.

    Names may have the wrappings of training scripts (``module.``, ``base_model.``, ``conv1.net.`` of TSM); a classifier
    is returned apart. A stem of three colours going into a stem of one channel is summed over colours.

    Args:
        module: The network.
        file: ``.safetensors``; a file of ``torch.save``, which is read as tensors only, never unpickled; or the folder
            of a saved model, whose video backbone is taken.
        inflate: How weights of images become weights of video, "repeat" or "mean": see ``inflate.inflate``. None takes
            weights of this very kind of network only.

    Raises:
        ModelError: No such file, a damaged one, not a file of tensors, or weights of another network.
    """
    file = Path(file)
    state, classifier = read_weights(file)
    expected = module.state_dict()
    state = {name: _grey(tensor, expected.get(name)) for name, tensor in state.items()}
    complaint = f"{file} does not fit{_kinds(state, expected)}"
    stayed: list[str] = []
    if inflate is not None:
        state, stayed = inflate_from_images(state, module, inflate, complaint)
    elif _of_images(state, module):
        raise ModelError(
            f"{file} holds weights of an image network and this one is for video: "
            "say how to inflate them, 'repeat' (as published) or 'mean'"
        )
    else:
        state = with_counters(state, expected)
        check_fit(complaint, expected, state)
    module.load_state_dict(state)
    return Loaded(stayed, classifier)


def read_weights(file: str | Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of a file under the zoo's names, and apart from them its classifier.

    Args:
        file: ``.safetensors``, a file of ``torch.save``, or the folder of a saved model.

    Returns:
        Tensors of the backbone by name, and those of the classifier, ``weight`` and ``bias``, if there is one.

    Raises:
        ModelError: No such file, a damaged one, or not a file of tensors.
    """
    file = Path(file)
    state = {_plain(name): tensor for name, tensor in _read(file).items()}
    heads = {name: tensor for name, tensor in state.items() if name.startswith(_CLASSIFIERS)}
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_CLASSIFIERS + _AUXILIARY)}
    return state, {name.split(".", 1)[1]: tensor for name, tensor in heads.items()}


def _of_saved_model(folder: Path) -> dict[str, Tensor]:
    """Return the backbone of a saved model, and the classifier of one for recognition."""
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    if not file.is_file():
        raise ModelError(f"'{folder}' is not a saved model: it has no {file.name}")
    tensors = load_file(str(file))
    prefix = next((p for p in _IN_SAVED_MODELS if any(name.startswith(p) for name in tensors)), None)
    if prefix is None:
        raise ModelError(f"'{folder}' is a model without a video backbone")
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith((prefix, *_CLASSIFIERS))}


def _kinds(got: State, wanted: State) -> str:
    """Say what network a file is of, and of what it should be, where that can be told and differs."""
    found, sought = looks_like(got), looks_like(wanted)
    return f" (it looks like {found}, the network is {sought})" if found and sought and found != sought else ""


def _of_images(state: State, module: nn.Module) -> bool:
    """Whether weights would fit only inflated."""
    try:
        inflated, stayed = inflate_from_images(state, module)
    except ModelError:
        return False
    return bool(stayed) or any(inflated[name].shape != tensor.shape for name, tensor in state.items())


def _grey(tensor: Tensor, wanted: Tensor | None) -> Tensor:
    """Sum a stem (C', 3, h, w) over colours if one channel is wanted."""
    if wanted is None or wanted.dim() != 4 or wanted.shape[1] != 1 or tensor.shape[1:2] != (3,):
        return tensor
    return tensor.sum(dim=1, keepdim=True)


def _plain(name: str) -> str:
    return re.sub(r"^((module|base_model)\.)+", "", name).replace(".conv1.net.", ".conv1.")


def _read(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, out of the wrapping of a training script if there is one."""
    check_release(file)
    if file.is_dir():
        return _of_saved_model(file)
    if not file.is_file():
        raise ModelError(
            f"no weights at '{file}': give a .safetensors file, one that torch.save wrote, or a saved model"
        )
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(file))
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{file} cannot be read as a file of tensors ({reason}): save its state_dict alone") from None
    for wrapping in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapping), dict):
            content = content[wrapping]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelError(f"{file} holds no table of tensors: save its state_dict alone")
    return content

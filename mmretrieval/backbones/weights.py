"""Weights from elsewhere: files of tensors, in the names of torchvision's residual networks, into the zoo's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mmretrieval.errors import ModelError

_CLASSIFIERS = ("fc.", "new_fc.", "last_linear.")
"""Names of classifiers, which no backbone has, in torchvision, TSM and Moments in Time."""


def load_weights(module: nn.Module, file: str | Path) -> None:
    """Fill a network with the weights of a file, strictly: every tensor fits and none is left over.

    Names may have the wrappings of training scripts (``module.``, ``base_model.``, ``conv1.net.`` of TSM); a classifier
    is dropped. A stem of three colours going into a stem of one channel is summed over colours.

    Args:
        module: The network.
        file: ``.safetensors``, or a file of ``torch.save``, which is read as tensors only, never unpickled.

    Raises:
        ModelError: No such file, not a file of tensors, or weights of another network.
    """
    file = Path(file)
    state = {_plain(name): tensor for name, tensor in _read(file).items()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_CLASSIFIERS)}
    expected = module.state_dict()
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, tensor)  # files from before torch 0.4 have none
        elif name in state and tensor.dim() == 4 and tensor.shape[1] == 1 and state[name].shape[1:2] == (3,):
            state[name] = state[name].sum(dim=1, keepdim=True)
    check_fit(f"{file} does not fit", expected, state)
    module.load_state_dict(state)


def check_fit(complaint: str, expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> None:
    """Refuse tensors whose names or shapes are not the expected ones.

    Args:
        complaint: The beginning of the message.
        expected: What a network has.
        got: What is offered to it.

    Raises:
        ModelError: They differ; the message counts the tensors that do and shows the first.
    """
    wanted, offered = ({name: tuple(tensor.shape) for name, tensor in state.items()} for state in (expected, got))
    wrong = sorted(name for name in wanted | offered if wanted.get(name) != offered.get(name))
    if wrong:
        raise ModelError(
            f"{complaint}: {len(wrong)} tensors differ, first '{wrong[0]}' "
            f"(wanted {_shape(wanted, wrong[0])}, got {_shape(offered, wrong[0])})"
        )


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return str(shapes[name]) if name in shapes else "none"


def _plain(name: str) -> str:
    return re.sub(r"^((module|base_model)\.)+", "", name).replace(".conv1.net.", ".conv1.")


def _read(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, out of the wrapping of a training script if there is one."""
    if not file.is_file():
        raise ModelError(f"no weights at '{file}': give a .safetensors file or one that torch.save wrote")
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

"""Whether tensors by name are those of a network, and what network they look like where they are not."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmretrieval.errors import ModelError

State = Mapping[str, Tensor]
"""Tensors by the names of a network's parameters and buffers."""

_COUNTER = "num_batches_tracked"
_STEMS = ("conv1.weight", "conv1.conv.weight", "stem.0.weight")


def check_fit(complaint: str, expected: State, got: State) -> None:
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


def with_counters(state: State, expected: State) -> dict[str, Tensor]:
    """Return ``state`` with the counters of batch normalisation that files from before torch 0.4.1 lack."""
    return {name: tensor for name, tensor in expected.items() if name.endswith(_COUNTER)} | dict(state)


def looks_like(state: State) -> str | None:
    """Say what network tensors belong to, in words, e.g. ``I3D-ResNet-50``; None where that cannot be told."""
    stem = next((state[name] for name in _STEMS if name in state), None)
    pieces = {piece for name in state for piece in name.split(".")}
    if stem is None or not pieces & {"inception3a", "layer1"}:
        return None
    family = "" if stem.dim() == 4 else "S3D" if any(piece.endswith("_t") for piece in pieces) else "I3D"
    if "inception3a" in pieces:
        text = family or "Inception-v1"
    elif "stem" in pieces:
        text = f"R(2+1)D-{_depth(state)}"
    else:
        text = f"{family}-ResNet-{_depth(state)}".removeprefix("-")
    return f"{text} with TAM" if any(piece.startswith("tam") for piece in pieces) else text


def _depth(state: State) -> int:
    """Count layers as their authors do: the stem, two or three convolutions per block, and the classifier."""
    blocks = {tuple(name.split(".")[:2]) for name in state if name.startswith("layer")}
    long = {tuple(name.split(".")[:2]) for name in state if name.startswith("layer") and ".conv3." in name}
    return 2 + 2 * len(blocks) + len(long)


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return str(shapes[name]) if name in shapes else "none"

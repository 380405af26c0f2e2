"""What the adapters of all modalities share: a network of transformers that is frozen or trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mmretrieval.encoders.pretrained.source import build_network, load_network
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import zero_padding
from mmretrieval.types import Features, Padded


class Adapter(nn.Module, ABC):
    """A network of transformers as an encoder.

    Args:
        network: The part of it that is used.
        frozen: Never train it: no gradient reaches it, and dropout stays off whatever ``train`` says.
        layer: Which of the network's hidden states are the features, counted as transformers does: 0 is what enters the
            first block, -1 what leaves the last one, before any closing normalisation that the network may have. None
            takes the network's output.
        remembered: What has to be saved to build this encoder without its source.
    """

    modality: str
    feature_dim: int

    def __init__(self, network: nn.Module, frozen: bool, layer: int | None, remembered: dict[str, Any]):
        super().__init__()
        self.network = network
        self.frozen = frozen
        self.layer = layer
        self.remembered = remembered
        if frozen:
            self.requires_grad_(False)
            self.eval()

    def train(self, mode: bool = True) -> Adapter:
        """Switch to training, unless it is frozen."""
        return super().train(mode and not self.frozen)

    def forward(self, inputs: Padded) -> Features:
        """Inputs of the modality, padded, to features (B, N, D), zero at padding."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.encode(inputs)

    @abstractmethod
    def encode(self, inputs: Padded) -> Features:
        """Do what ``forward`` does, with gradients as the caller has them."""

    def hidden(self, **inputs: Any) -> Tensor:
        """Return the network's output, or the hidden states that were asked for, (B, N, D)."""
        if self.layer is None:
            return self.network(**inputs).last_hidden_state
        output = self.network(**inputs, output_hidden_states=True)
        # an encoder-decoder names the states of its two halves apart
        states = output.get("hidden_states") or output.get("decoder_hidden_states")
        return states[self.layer]


def open_network(source: str | None, architecture: dict[str, Any]) -> tuple[nn.Module, list[str]]:
    """Return the network with the weights of ``source``, and the names it lacks; with new weights without a source."""
    return (build_network(architecture), []) if source is None else load_network(source, architecture)


def keep_only(network: nn.Module, parts: tuple[str, ...]) -> nn.Module:
    """Drop all children and own parameters of a network but ``parts``: one half of a dual encoder is left."""
    for name in [*dict(network.named_children()), *dict(network.named_parameters(recurse=False))]:
        if name not in parts:
            delattr(network, name)
    return network


def pooled(output: Any) -> Tensor:
    """Return the one vector per item in a network's output; some releases of transformers return it bare."""
    return output if isinstance(output, Tensor) else output.pooler_output


def one_vector(vectors: Tensor, real: Tensor, grid: tuple[int, ...] = (1,)) -> Features:
    """Return vectors (B, D) as features of one position; ``real`` (B,) says which items are."""
    mask = real.unsqueeze(1)
    return Features(zero_padding(vectors.unsqueeze(1), mask), mask, grid)


def check_complete(source: str | None, adapter: Adapter, missing: list[str], whole: nn.Module) -> None:
    """Make sure that everything the features pass through has pretrained weights.

    Raises:
        ModelError: Some have none: the checkpoint is of another kind of network.
    """
    used = {id(parameter) for parameter in adapter.parameters()}
    parameters = dict(whole.named_parameters(remove_duplicate=False))
    lacking = [name for name in missing if name in parameters and id(parameters[name]) in used]
    if lacking:
        raise ModelError(
            f"'{source}' has no weights for {len(lacking)} parts of its network, first '{lacking[0]}': "
            "it was saved from another kind of model"
        )


def check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Make sure that ``value`` of a pretrained encoder's ``option`` is one of ``allowed``.

    Raises:
        ModelError: It is not.
    """
    if value not in allowed:
        raise ModelError(f"{option} of a pretrained encoder is '{value}'; allowed: {', '.join(allowed)}")


def check_layer(layer: int | None, depth: int, output: str | None = None) -> None:
    """Make sure that a network of ``depth`` blocks has the hidden states ``layer``, and that they can be taken.

    Raises:
        ModelError: It has not, or they were asked for together with the embedding, which is made of the last.
    """
    if layer is None:
        return
    if output == "embedding":
        raise ModelError("output: embedding is made of the last layer: leave layer out, or ask for another output")
    if not -depth - 1 <= layer <= depth:
        raise ModelError(
            f"layer is {layer}; this network has hidden states 0 to {depth}, from the end -1 to {-depth - 1}"
        )


def unsupported(source: str | None, kind: str, modality: str, families: Iterable[str]) -> ModelError:
    """Say that a pretrained model is of no family that can encode ``modality``, and which ones can."""
    return ModelError(
        f"'{source}' is a '{kind}', which cannot encode {modality}; families that can: {', '.join(sorted(families))}"
    )

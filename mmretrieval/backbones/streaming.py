"""Networks that run frame by frame, for cameras and files too long for memory: the result is that of the whole clip.

Each temporal layer remembers what it needs of the frames before (see ``TemporalLayer.step``); a network that never
looks ahead then gives the features of every frame as it comes, at the cost of that frame alone.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from mmretrieval.backbones.inception import Inception
from mmretrieval.backbones.resnet import ResNet
from mmretrieval.errors import ModelError
from mmretrieval.layers.temporal import TemporalLayer
from mmretrieval.types import Features, Padded

MIXED_BY_LAYERS = (ResNet, Inception)
"""Families whose frames meet in temporal layers and nowhere else."""

_Network = TypeVar("_Network", bound=nn.Module)


class _NothingYet(Exception):
    """A temporal pooling holds a frame back: what comes behind it in the network has nothing to do."""


class Stream:
    """Run a network on B videos at once, one frame after the other.

    Frames before the first one are zeros to every temporal layer, as before the beginning of a clip. Memory stays the
    same however long the videos are. The network is shared, not copied: any number of streams, in any threads, run on
    the same weights, each with its own state, always in evaluation mode.

    Args:
        network: A 2-D backbone whose temporal layers do not look ahead (TSM and TAM built with ``causal=True``, or
            frames apart), also a deployed one; or a ``VideoEncoder`` on one, which takes frames as they are decoded.

    Raises:
        ModelError: The network looks ahead or needs whole clips.
    """

    def __init__(self, network: nn.Module):
        check_causal(network)
        self._network = _second_view(network).eval()
        self._layers = {name: part for name, part in self._network.named_modules() if isinstance(part, TemporalLayer)}
        for name, layer in self._layers.items():
            layer.forward = partial(self._through, name, layer)
        self._state: dict[str, Tensor] = {}
        self._fresh: dict[str, Tensor] = {}
        self._calls: Counter[str] = Counter()

    @property
    def state(self) -> Mapping[str, Tensor]:
        """What is remembered, by the name of the layer that remembers it; empty before the first frame.

        The last shifted channels of a ``TemporalShift``, the last inputs of a ``TemporalAggregation``, the window of a
        ``TemporalPool``; their first axis is B. A layer that the network uses several times has several entries, the
        second named ``layer:2``.
        """
        return self._state

    @torch.no_grad()
    def step(self, frame: Tensor) -> Features | None:
        """Take the next frame (B, C, H, W) of every video, as the network takes clips of them.

        Returns:
            Its features (B, h·w, D) with grid (1, h, w); or None where temporal pooling gives nothing for this frame:
            each pooling lets every other frame pass, the first one among them.

        Raises:
            ModelError: Frames of another number or size than before; the stream stays as it was.
        """
        self._fresh, self._calls = {}, Counter()
        mask = torch.ones((len(frame), 1), dtype=torch.bool, device=frame.device)
        try:
            features = self._network(Padded(frame.unsqueeze(1), mask))
        except _NothingYet:
            features = None
        self._state = self._state | self._fresh
        return features

    def reset(self) -> None:
        """Forget everything: the next frame is the first one."""
        self._state = {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return ``state`` in tensors of its own: another stream on the same weights goes on from there."""
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where the stream was that ``state`` is of, wherever its tensors lie.

        Raises:
            ModelError: It is of another network.
        """
        if unknown := [name for name in state if name.partition(":")[0] not in self._layers]:
            raise ModelError(
                f"this state of a stream is of another network: it knows '{unknown[0]}', and this one remembers in "
                f"{', '.join(self._layers) or 'no layer'}"
            )
        device = next(self._network.parameters()).device
        self._state = {name: tensor.to(device, copy=True) for name, tensor in state.items()}

    def _through(self, name: str, layer: TemporalLayer, frame: Tensor, length: int) -> Tensor:
        """What a temporal layer does instead of looking at clips."""
        self._calls[name] += 1
        key = name if self._calls[name] == 1 else f"{name}:{self._calls[name]}"
        state = self._state.get(key)
        if state is not None:
            _check_same(key, state, frame)
        result, self._fresh[key] = layer.step(frame, state)
        if result is None:
            raise _NothingYet
        return result


def check_causal(network: nn.Module) -> None:
    """Refuse a network that cannot run frame by frame.

    Raises:
        ModelError: It looks ahead or needs whole clips.
    """
    core = network
    while inner := getattr(core, "backbone", None) or getattr(core, "network", None):
        core = inner  # out of an encoder, and of what deployment puts around a network
    ahead = [name for name, part in network.named_modules() if isinstance(part, TemporalLayer) and part.looks_ahead]
    if not isinstance(core, MIXED_BY_LAYERS):
        reason = f"{type(core).__name__} needs whole clips"
    elif ahead:
        reason = f"'{ahead[0]}' looks at frames to come"
    else:
        return
    raise ModelError(
        f"this network cannot run frame by frame: {reason}; train a TSM or TAM network built with causal=True"
    )


def _check_same(name: str, state: Tensor, frame: Tensor) -> None:
    before, now = ((len(maps), *maps.shape[-2:]) for maps in (state, frame))
    if before != now:
        raise ModelError(
            f"frames of another number or size than before: '{name}' remembers maps of {before} (videos, height, "
            f"width), got {now}: reset() the stream, or begin one for each size"
        )


def _second_view(network: _Network) -> _Network:
    """Return a network of new modules that hold the very parameters and buffers of the old ones."""
    copies: dict[nn.Module, nn.Module] = {}

    def view(module: nn.Module) -> nn.Module:
        if module not in copies:
            copies[module] = new = copy.copy(module)
            new.__dict__["_modules"] = {name: child and view(child) for name, child in module._modules.items()}
        return copies[module]

    return view(network)

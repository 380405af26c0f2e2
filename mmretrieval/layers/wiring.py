"""What follows what in a network, seen by watching it run once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from mmretrieval.layers.temporal import TemporalAggregation, TemporalShift

SAME_NUMBERS = (nn.MaxPool2d, TemporalShift)
"""Layers whose results are numbers they were given, or zeros."""

WATCHED = (nn.Conv2d, nn.Conv3d, _BatchNorm, nn.ReLU, *SAME_NUMBERS)

ADDITIONS = ("add", "__add__", "__radd__")


@dataclass(frozen=True)
class Chain:
    """A convolution of a network and what alone reads its result, one after the other.

    Blending of frames by one weight per channel is a convolution over time, with a ReLU.

    Attributes:
        conv: Its name in the network.
        norm: The batch normalisation that follows, if one does.
        relu: A ReLU follows: on the result, or on its sum with ``addend``.
        readers: Layers that read what is behind the ReLU, directly or through layers of ``SAME_NUMBERS``, if nothing
            else does: convolutions, and convolutions to whose result it is added. Without a
            ReLU, the convolution to whose result this one's is added, if it is put to no other use.
        addend: The convolution whose result, behind its ReLU if it has one, is added to this one's.
    """

    conv: str
    norm: str | None
    relu: bool
    readers: tuple[str, ...]
    addend: str | None = None


class Wiring(NamedTuple):
    """What was seen of a network.

    ``chains`` are those of convolutions that were called exactly once, in order; ``rest`` names the convolutions and
    normalisations that were called and are in none of them.
    """

    chains: list[Chain]
    rest: tuple[str, ...]


class _Call(NamedTuple):
    """``module`` is None for a sum of two tensors of one shape."""

    name: str
    module: nn.Module | None
    given: tuple[Tensor, ...]
    made: Tensor


class _Watch(TorchFunctionMode):
    """Remembers, while a network runs, who made each tensor and who read it."""

    def __init__(self):
        super().__init__()
        self.inside = 0
        self.calls: list[_Call] = []
        # tensors are told apart by identity, so all of them have to stay alive
        self.reads: list[tuple[Tensor, _Call | None]] = []

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not self.inside and any(True for _ in _tensors(made)):
            call = None
            if _is_sum(func, args, kwargs):
                call = _Call("", None, args, made)
                self.calls.append(call)
            self.reads += [(tensor, call) for tensor in _tensors((args, list((kwargs or {}).values())))]
        return made

    @contextmanager
    def over(self, network: nn.Module) -> Iterator[None]:
        """Watch the layers of a network that are known here, and every function outside of them."""

        def enter(module: nn.Module, given: tuple) -> None:
            self.inside += 1

        def leave(name: str) -> Callable:
            def hook(module: nn.Module, given: tuple, made: Tensor) -> None:
                self.inside -= 1
                call = _Call(name, module, given[:1], made)
                self.calls.append(call)
                self.reads.append((given[0], call))

            return hook

        hooks = []
        rectifiers = [module for module in network.modules() if isinstance(module, nn.ReLU) and module.inplace]
        for module in rectifiers:
            module.inplace = False  # or the tensors before and behind it were one
        for name, module in network.named_modules():
            if isinstance(module, WATCHED) or is_blending(module):
                hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave(name))]
        try:
            with self:
                yield
        finally:
            for module in rectifiers:
                module.inplace = True
            for hook in hooks:
                hook.remove()


def follow(network: nn.Module, run: Callable[[], Any]) -> Wiring:
    """Return what follows what when ``run`` runs the network.

    Nothing is assumed of how a network holds its layers: a normalisation follows a convolution if it, and nothing else,
    reads the very tensor that the convolution made. The network is in evaluation mode. Convolutions whose padding is
    not a number of zeros are in no chain.
    """
    watch = _Watch()
    with torch.no_grad(), watch.over(network):
        run()
    chains = _Threads(watch).chains()
    used = {name for chain in chains for name in (chain.conv, chain.norm)}
    foldable = (nn.Conv2d, nn.Conv3d, _BatchNorm)
    rest = [call.name for call in watch.calls if isinstance(call.module, foldable) and call.name not in used]
    return Wiring(chains, tuple(dict.fromkeys(rest)))


class _Threads:
    """What was watched, followed from tensor to tensor."""

    def __init__(self, watch: _Watch):
        self.readers: dict[int, list[_Call | None]] = {}
        for tensor, reader in watch.reads:
            self.readers.setdefault(id(tensor), []).append(reader)
        self.times = Counter(call.name for call in watch.calls)
        self.convs = {call.name: call for call in watch.calls if self._once(call) and _is_chained(call.module)}
        self.norms = {name: self._norm_behind(call) for name, call in self.convs.items()}
        # what a convolution makes: with its normalisation, and what is behind the ReLU after it or after its sum
        self.results = {name: (self.norms[name] or call).made for name, call in self.convs.items()}
        self.wires: dict[str, Tensor] = {}
        self.sums: dict[str, _Call] = {}
        self.addends: dict[str, str] = {}
        self.makers: dict[int, str] = {}
        self.overwritten: set[int] = set()
        for call in watch.calls:
            self._trace(call)

    def chains(self) -> list[Chain]:
        """Return the chain of every convolution, in the order of calls."""
        made = []
        for name, norm in self.norms.items():
            relu = name in self.wires
            readers = self._readers(self.wires[name] if relu else self.results[name], name) or []
            if not relu and not set(readers) <= set(self.addends):
                readers = []
            norm_name = None if norm is None else norm.name
            made.append(Chain(name, norm_name, relu, tuple(dict.fromkeys(readers)), self.addends.get(name)))
        return made

    def _once(self, call: _Call) -> bool:
        return self.times[call.name] == 1

    def _norm_behind(self, conv: _Call) -> _Call | None:
        norm = self._only_reader(conv.made, _BatchNorm)
        return norm if norm is not None and self._once(norm) and norm.module.track_running_stats else None

    def _only_reader(self, made: Tensor, kind: type[nn.Module]) -> _Call | None:
        found = self.readers.get(id(made), [])
        alone = len(found) == 1 and found[0] is not None and isinstance(found[0].module, kind)
        return found[0] if alone else None

    def _trace(self, call: _Call) -> None:
        """Note who made the result of a call, if its numbers are those of a convolution behind a ReLU."""
        if call.module is None:
            self._join(call)
        elif isinstance(call.module, nn.ReLU) and self._only_reader(call.given[0], nn.ReLU) is not None:
            ends = {name: self.sums[name].made if name in self.sums else made for name, made in self.results.items()}
            maker = next((name for name, made in ends.items() if made is call.given[0]), None)
            if maker is not None:
                self.makers[id(call.made)], self.wires[maker] = maker, call.made
        elif call.name in self.convs and is_blending(call.module):
            self.makers[id(call.made)], self.wires[call.name] = call.name, call.made
        elif isinstance(call.module, SAME_NUMBERS) and id(call.given[0]) in self.makers:
            self.makers[id(call.made)] = self.makers[id(call.given[0])]

    def _join(self, call: _Call) -> None:
        """Let the last convolution before a sum make it, if nothing else reads its result, and the other is known.

        The sum may be written over what is added, so nothing may read that afterwards, nor a convolution that waits.
        """
        alone = [given for given in call.given if self.readers[id(given)] == [call]]
        ready = [name for name, made in self.results.items() if any(made is given for given in alone)]
        if not ready or not isinstance(self.convs[ready[-1]].module, nn.Conv2d):
            return
        waiting = ready[-1]
        (other,) = (given for given in call.given if given is not self.results[waiting])
        addend = self.makers.get(id(other)) or (ready[0] if len(ready) == 2 else None)
        if addend is None or self.readers[id(other)][-1] is not call:
            return
        if id(self.convs[waiting].given[0]) not in self.overwritten:
            self.sums[waiting], self.addends[waiting] = call, addend
            self.overwritten.add(id(other))

    def _readers(self, wire: Tensor, maker: str) -> list[str] | None:
        """Return the layers that read a tensor, through layers of the same numbers; None if anything else does."""
        found: list[str] = []
        for reader in self.readers.get(id(wire), []):
            joined = [conv for conv, call in self.sums.items() if call is reader and self.addends[conv] == maker]
            if joined:
                found += joined
            elif reader is None or reader.module is None or not self._once(reader):
                return None
            elif isinstance(reader.module, SAME_NUMBERS):
                further = self._readers(reader.made, maker)
                if not further:
                    return None
                found += further
            elif reader.name in self.convs:
                found.append(reader.name)
            else:
                return None
        return found


def _is_sum(func: Callable, args: tuple, kwargs: dict | None) -> bool:
    two = len(args) == 2 and not kwargs and all(isinstance(value, Tensor) for value in args)
    return two and getattr(func, "__name__", "") in ADDITIONS and args[0].shape == args[1].shape


def is_blending(module: nn.Module) -> bool:
    """Return whether a layer is a weighted sum of frames with one weight per channel and frame."""
    one_each = isinstance(module, TemporalAggregation) and all(scale.depthwise for scale in module.taps.values())
    return one_each and module.method == "sum"


def _is_chained(module: nn.Module | None) -> bool:
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return is_blending(module)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)

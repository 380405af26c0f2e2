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

WATCHED = (nn.Conv2d, nn.Conv3d, _BatchNorm, nn.ReLU)


@dataclass(frozen=True)
class Chain:
    """A convolution of a network and what alone reads its result, one after the other.

    Attributes:
        conv: Its name in the network.
        norm: The batch normalisation that follows, if one does.
        relu: A ReLU follows.
        readers: Convolutions that read the result behind the ReLU, if nothing else does.
    """

    conv: str
    norm: str | None
    relu: bool
    readers: tuple[str, ...]


class Wiring(NamedTuple):
    """What was seen of a network.

    ``chains`` are those of convolutions that were called exactly once, in order; ``rest`` names the convolutions and
    normalisations that were called and are in none of them.
    """

    chains: list[Chain]
    rest: tuple[str, ...]


class _Call(NamedTuple):
    name: str
    module: nn.Module
    given: Tensor
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
            self.reads += [(tensor, None) for tensor in _tensors((args, list((kwargs or {}).values())))]
        return made

    @contextmanager
    def over(self, network: nn.Module) -> Iterator[None]:
        """Watch the convolutions, normalisations and ReLUs of a network, and every function outside of them."""

        def enter(module: nn.Module, given: tuple) -> None:
            self.inside += 1

        def leave(name: str) -> Callable:
            def hook(module: nn.Module, given: tuple, made: Tensor) -> None:
                self.inside -= 1
                call = _Call(name, module, given[0], made)
                self.calls.append(call)
                self.reads.append((given[0], call))

            return hook

        hooks = []
        rectifiers = [module for module in network.modules() if isinstance(module, nn.ReLU) and module.inplace]
        for module in rectifiers:
            module.inplace = False  # or the tensors before and behind it were one
        for name, module in network.named_modules():
            if isinstance(module, WATCHED):
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
    readers: dict[int, list[_Call | None]] = {}
    for tensor, reader in watch.reads:
        readers.setdefault(id(tensor), []).append(reader)
    times = Counter(call.name for call in watch.calls)
    convs = [call for call in watch.calls if times[call.name] == 1 and _is_plain(call.module)]
    names = {call.name for call in convs}

    chains = [_chain(call, readers, times, names) for call in convs]
    used = {name for chain in chains for name in (chain.conv, chain.norm)}
    rest = [call.name for call in watch.calls if not isinstance(call.module, nn.ReLU) and call.name not in used]
    return Wiring(chains, tuple(dict.fromkeys(rest)))


def _chain(call: _Call, readers: dict[int, list[_Call | None]], times: Counter[str], convs: set[str]) -> Chain:
    """Return the chain that begins with the call of a convolution."""

    def only_reader(made: Tensor, kind: type[nn.Module]) -> _Call | None:
        found = readers.get(id(made), [])
        alone = len(found) == 1 and found[0] is not None and isinstance(found[0].module, kind)
        return found[0] if alone else None

    made = call.made
    norm = only_reader(made, _BatchNorm)
    if norm is not None and (times[norm.name] > 1 or not norm.module.track_running_stats):
        norm = None
    if norm is not None:
        made = norm.made
    relu = only_reader(made, nn.ReLU)
    found = [] if relu is None else readers.get(id(relu.made), [])
    next_convs = tuple(reader.name for reader in found if reader is not None and reader.name in convs)
    alone = len(next_convs) == len(found)
    return Chain(call.name, norm and norm.name, relu is not None, next_convs if alone else ())


def _is_plain(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d | nn.Conv3d)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)

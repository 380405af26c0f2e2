"""Deployed backbones in 8-bit integers: which tensor is on which grid, by what clips of calibration show."""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmretrieval.layers.fused import Waiting
from mmretrieval.layers.int8 import Grid, Int8Kernel, Int8MaxPool, top_level
from mmretrieval.layers.wiring import Chain
from mmretrieval.types import Padded

SAMPLED = 1 << 20
"""Values of a tensor from which a percentile is taken."""


def quantize(network: nn.Module, chains: list[Chain], clips: list[Padded], percentile: float) -> int:
    """Put int8 kernels in the place of all float kernels, in place; return how many results stay in integers.

    What only layers that know integers read stays in them, sums of two branches included.

    Args:
        network: Its convolutions are ``FusedConv``, its blending of frames is ``FusedBlend``.
        chains: What follows what in it.
        clips: Batches like those to come.
        percentile: Share of the values of a batch, in percent, that a grid has to hold.
    """
    addends = {chain.conv: chain.addend for chain in chains}
    # that a result is added to another one's is no reading of it by the convolution
    reading = {chain.conv: [name for name in chain.readers if addends[name] != chain.conv] for chain in chains}
    given, made = _calibrate(network, list(addends), clips, percentile)
    passed: dict[str, Grid] = {}
    for chain in chains:
        readers = reading[chain.conv]
        if readers:
            # all of them read one tensor
            passed[chain.conv] = max((given[name] for name in readers), key=lambda grid: grid.scale)
            given.update(dict.fromkeys(readers, passed[chain.conv]))
        elif not chain.relu and any(reading[name] for name in chain.readers):
            passed[chain.conv] = made[chain.conv]
    for name, addend in addends.items():
        layer = network.get_submodule(name)
        layer.kernel = Int8Kernel(layer.kernel, given[name], passed.get(name), passed.get(addend))
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            put(network, name, Int8MaxPool(module))
    return len(passed)


def put(network: nn.Module, name: str, module: nn.Module) -> None:
    """Let a module stand where the one called ``name`` stood."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def _calibrate(
    network: nn.Module, names: list[str], clips: list[Padded], percentile: float
) -> tuple[dict[str, Grid], dict[str, Grid]]:
    """Return the grids of what layers are given, and of the tensors they make."""
    given: dict[str, tuple[float, float]] = {}
    made: dict[str, tuple[float, float]] = {}

    def widen(known: dict[str, tuple[float, float]], name: str, values: Tensor) -> None:
        low, high = _range(values, percentile)
        before = known.get(name, (low, high))
        known[name] = (min(before[0], low), max(before[1], high))

    def watch(name: str) -> RemovableHandle:
        def see(module: nn.Module, arguments: tuple, result: Tensor | Waiting) -> None:
            widen(given, name, arguments[0])
            if isinstance(result, Tensor):
                widen(made, name, result)

        return network.get_submodule(name).register_forward_hook(see)

    hooks = [watch(name) for name in names]
    try:
        for clip in clips:
            network(clip)
    finally:
        for hook in hooks:
            hook.remove()
    top = top_level()
    grids = ({name: Grid.spanning(*limits, top) for name, limits in known.items()} for known in (given, made))
    return next(grids), next(grids)


def _range(values: Tensor, percentile: float) -> tuple[float, float]:
    """Return the least and the largest value, or the percentiles that many lie between."""
    if percentile == 100:
        low, high = values.aminmax()
        return float(low), float(high)
    flat = values.flatten()
    sample = flat[:: -(-flat.numel() // SAMPLED)].float()
    share = percentile / 100
    low, high = sample.quantile(sample.new_tensor([1 - share, share])).tolist()
    return low, high

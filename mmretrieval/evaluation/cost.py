"""What a backbone costs: parameters, multiply-adds (MACs), memory and time; MACs by one counter with named rules.

``conv-only`` counts as the tables of "Deep Analysis of CNN-based Spatio-temporal Representations" (arXiv 2010.11757):
one multiply-add per weight and output position of every convolution, and the weights of temporal aggregation alike,
which the paper computes as convolutions: b per output for b blended frames, C · b if they are dense. ``all`` adds
linear layers and all other matrix products, the two of attention included, and one per element of every normalisation
that is not folded into a convolution. Neither counts biases, activations, pooling, or sums of two branches. Both are of
one clip in one view, and without a classifier, which no backbone has.

On the ``meta`` device shapes are computed and numbers are not, so that counting a large network takes a moment.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from mmretrieval.backbones import backbones, create_backbone
from mmretrieval.backbones.published import parse, published_name
from mmretrieval.errors import UnknownNameError, did_you_mean
from mmretrieval.layers.blank import Blank
from mmretrieval.layers.temporal import TemporalAggregation
from mmretrieval.types import Features, Padded

RULES = ("conv-only", "all")


def count_macs(backbone: nn.Module, rule: str = "conv-only") -> int:
    """Return the multiply-adds of one clip at the backbone's own clip spec.

    Args:
        backbone: A backbone on any device, best on ``meta``; it is put into evaluation mode.
        rule: ``conv-only`` or ``all``, as above.

    Raises:
        UnknownNameError: No such rule.
    """
    return _count(backbone, clips(backbone), rule)[1]


def conv_macs(backbone: nn.Module) -> int:
    """Return the multiply-adds of one clip as published tables count: ``count_macs`` by the rule ``conv-only``."""
    return count_macs(backbone)


def executed_macs(backbone: nn.Module, frames: Padded, rule: str = "conv-only") -> float:
    """Return the multiply-adds per clip that a network needs for these very clips.

    An adaptive network decides by what it sees, and may compute even what it then drops. What it needs it reports
    itself, as ``costs["macs"]`` of its features: a scalar, per clip, averaged over the batch. That is taken where it is
    there; of any other network the operations are counted.

    Args:
        backbone: A backbone; it is put into evaluation mode.
        frames: Clips (B, T, 3, H, W), normalised by its spec, on its device.
        rule: For networks that report nothing; see ``count_macs``.
    """
    features, counted = _count(backbone, frames, rule)
    reported = features.costs.get("macs")
    return counted / len(frames.mask) if reported is None else float(reported)


def count_parameters(backbone: nn.Module) -> int:
    """Return how many parameters a network has; running statistics are none."""
    return sum(parameter.numel() for parameter in backbone.parameters())


def peak_activations(backbone: nn.Module, batch: int = 1) -> int:
    """Return the most bytes of activations that are alive at once, without gradients.

    The rule: after each operation the sizes of all tensors that still exist are summed, the clips included, parameters
    and what a kernel uses inside itself left out. A view counts once, with what it looks at.

    Args:
        backbone: A backbone on any device, best on ``meta``; it is put into evaluation mode.
        batch: Clips at once, at its own clip spec.
    """
    frames = clips(backbone, batch)
    with torch.no_grad(), _Living(backbone, frames.values) as living:
        backbone.eval()(frames)
    return living.peak


class Timing(NamedTuple):
    """How fast a network is: ``latency`` in seconds for one clip, ``throughput`` in clips per second at ``batch``."""

    latency: float
    throughput: float
    batch: int
    threads: int


def measure(networks: Mapping[str, nn.Module], batch: int = 8, rounds: int = 5) -> dict[str, Timing]:
    """Time networks on the CPU at their own clip specs: medians over rounds in which each takes its turn.

    Rounds are interleaved so that whatever else the machine does meets all networks alike. Compare what one call
    returns, not what two do.

    Args:
        networks: What to time, by name; each is put into evaluation mode and warmed up.
        batch: Clips at once for the throughput.
        rounds: Passes of each kind that are timed.
    """
    runs = {(name, size): clips(net.eval(), size) for name, net in networks.items() for size in (1, batch)}
    seconds: dict[tuple[str, int], list[float]] = {run: [] for run in runs}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for (name, size), frames in runs.items():
                start = time.perf_counter()
                networks[name](frames)
                if turn:
                    seconds[name, size].append(time.perf_counter() - start)
    median = {run: statistics.median(times) for run, times in seconds.items()}
    threads = torch.get_num_threads()
    return {name: Timing(median[name, 1], batch / median[name, batch], batch, threads) for name in networks}


def cost_report(backbone: nn.Module, rounds: int = 9) -> dict[str, float]:
    """Return what one trained network costs on this CPU, as its run reports it: plain values.

    ``params``, ``macs`` (by the rule conv-only), ``latency`` in seconds for one clip, ``throughput`` in clips per
    second of eight at once, and the ``threads`` both were measured with; in fp32, as ``measure`` does it.
    """
    timing = measure({"": backbone}, rounds=rounds)[""]
    return {
        "params": count_parameters(backbone),
        "macs": count_macs(backbone),
        "latency": timing.latency,
        "throughput": timing.throughput,
        "threads": timing.threads,
    }


def zoo_table(names: Sequence[str] = (), rule: str = "conv-only") -> list[dict[str, Any]]:
    """Return one row per backbone: name, family, params, macs, frames, size and published (a name, or None).

    Args:
        names: Which backbones, also by published names, which may say more than ours: ``i3d-resnet-18-ts``; all of the
            registry if empty.
        rule: What ``macs`` counts; see ``count_macs``.

    Raises:
        UnknownNameError: No such backbone, or no such rule.
    """
    return [_row(name, rule) for name in names or backbones.names()]


def _row(name: str, rule: str) -> dict[str, Any]:
    with Blank(), torch.device("meta"):
        backbone = create_backbone(name)
    return {
        "name": name,
        "family": type(backbone).__module__.rsplit(".", 1)[-1],
        "params": count_parameters(backbone),
        "macs": count_macs(backbone, rule),
        "frames": backbone.spec.frames,
        "size": backbone.spec.size,
        "published": published_name(name) if name in backbones else published_name(*(parse(name) or (name,))),
    }


def clips(backbone: nn.Module, batch: int = 1) -> Padded:
    """Return clips of noise, (B, T, 3, S, S), always the same, at the backbone's own spec and on its device."""
    spec = backbone.spec
    device = next(iter(backbone.parameters())).device
    random = torch.Generator().manual_seed(0)
    frames = torch.randn(batch, spec.frames, 3, spec.size, spec.size, generator=random, device="cpu").to(device)
    # what a mask says is looked at, so on the meta device it has to be real
    where = "cpu" if frames.is_meta else device
    return Padded(frames, torch.ones(batch, spec.frames, dtype=torch.bool, device=where))


def _count(backbone: nn.Module, frames: Padded, rule: str) -> tuple[Features, int]:
    """Return a backbone's features and the multiply-adds that led to them."""
    if rule not in RULES:
        raise UnknownNameError(f"unknown rule '{rule}'.{did_you_mean(rule, RULES)} Known: {', '.join(RULES)}.")
    blends = _Blends()
    hooks = [m.register_forward_hook(blends) for m in backbone.modules() if isinstance(m, TemporalAggregation)]
    try:
        with torch.no_grad(), _Norms() as norms, _Products() as products:
            features = backbone.eval()(frames)
    finally:
        for hook in hooks:
            hook.remove()
    if rule == "conv-only":
        return features, products.macs[torch.ops.aten.convolution] + blends.macs
    return features, products.macs.total() + blends.macs + norms.macs


class _Products(TorchDispatchMode):
    """Count convolutions and matrix products by operation, with torch's own formulas."""

    def __init__(self):
        super().__init__()
        self.macs: Counter = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Call an operation and count it."""
        result = function(*args, **(kwargs or {}))
        operation = function.overloadpacket
        if operation in flop_registry:
            # these are two per multiply-add
            self.macs[operation] += flop_registry[operation](*args, **(kwargs or {}), out_val=result) // 2
        return result


class _Blends:
    """A hook that counts temporal aggregation with one weight per channel, which is computed as plain products."""

    def __init__(self):
        self.macs = 0

    def __call__(self, module: TemporalAggregation, inputs: tuple, output: Tensor) -> None:
        self.macs += sum(scale.depthwise for scale in module.taps.values()) * output.numel()


class _Norms(TorchFunctionMode):
    """Count the elements of everything that is normalised.

    On the meta device, where only shapes matter and a normalisation changes none, it is left out: working out its shape
    takes longer than all other layers together.
    """

    def __init__(self):
        super().__init__()
        self.macs = 0

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Count normalisations; call everything else."""
        if function not in (F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm):
            return function(*args, **(kwargs or {}))
        self.macs += args[0].numel()
        return args[0] if args[0].is_meta else function(*args, **(kwargs or {}))


class _Living(TorchDispatchMode):
    """Follow which results of operations are alive, and how many bytes they have together at most."""

    def __init__(self, backbone: nn.Module, *given: Tensor):
        super().__init__()
        # kept, so that the identity of a storage stays its own
        self.weights = [tensor.untyped_storage() for tensor in chain(backbone.parameters(), backbone.buffers())]
        self.ignored = {id(storage) for storage in self.weights}
        self.alive: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self.peak = 0
        self._follow(given)

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Call an operation and follow its results."""
        results = function(*args, **(kwargs or {}))
        self._follow(tree_leaves(results))
        return results

    def _follow(self, results: Sequence[Any]) -> None:
        for storage in (result.untyped_storage() for result in results if isinstance(result, Tensor)):
            if id(storage) not in self.ignored:
                self.alive[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self.alive.values()))

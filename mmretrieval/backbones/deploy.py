"""Backbones made for inference alone: fewer and faster operations, the same features.

``deploy`` works at load time on what is trained and saved in fp32, in seconds; its result is not saved. Batch
normalisation goes into the convolution before it and ReLU into its kernel; then precision is lowered. Which layer
follows which is seen by watching the network run once (``layers.wiring``) and not written down per family: networks of
the zoo choose their path while they run and so cannot be traced symbolically, and a pairing by names would have to know
every block. Whatever was changed, the features are compared with those of the original, and a difference is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from mmretrieval.allocator import keep_freed_memory
from mmretrieval.backbones.quantize import put, quantize
from mmretrieval.errors import ModelError, UnknownNameError, did_you_mean
from mmretrieval.layers.fused import FusedBlend, FusedConv, Rectifier, has_bf16_kernels
from mmretrieval.layers.int8 import has_int8_kernels, top_level
from mmretrieval.layers.wiring import Chain, follow, is_blending
from mmretrieval.types import Backbone, Features, Padded

BOUNDS = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.15}
"""The precisions, and how far features may be from those of the original, as a share of their norm."""

REMEDIES = {
    "fp32": "the network does something between its layers that fusing them breaks; use it as it is",
    "bf16": "use fp32, or raise the bound",
    "int8": "calibrate with more clips or a percentile of 99.99, use bf16, or raise the bound",
}
"""What to do about features that are too far."""

PROBE_SIZE = 64
"""Pixels of the frames on which a network is watched and checked: what follows what does not depend on them."""


@dataclass(frozen=True)
class Deployment:
    """What was done to a backbone, and how close its features stayed.

    Attributes:
        precision: "fp32", "bf16" or "int8".
        folded: Normalisations that became part of a convolution.
        kept: Convolutions and normalisations that stayed as they were.
        quantized: Convolutions in int8.
        chained: Those among them whose result stays in uint8 for the next one.
        levels: Numbers an activation can be in int8; 128 where the CPU has no VNNI.
        error: ‖features − original‖ / ‖original‖.
        cosine: Between the two, all features as one vector.
    """

    precision: str
    folded: int
    kept: tuple[str, ...]
    quantized: int = 0
    chained: int = 0
    levels: int | None = None
    error: float = 0.0
    cosine: float = 1.0

    def __str__(self) -> str:
        lines = [f"{self.precision}, {self.folded} batch normalisations folded"]
        if self.precision == "int8":
            lines.append(
                f"{self.quantized} convolutions in int8, activations of {self.levels} levels, "
                f"{self.chained} results stay in uint8"
            )
        if self.kept:
            lines.append(f"as before: {', '.join(self.kept)}")
        lines.append(f"features differ by {self.error:.2%} of their norm, cosine {self.cosine:.5f}")
        return "\n".join(lines)


class Deployed(nn.Module):
    """A backbone for inference; it keeps the contract of one, and takes and gives fp32 whatever it computes in.

    Args:
        network: The changed network.
        dtype: What its input is cast to.
        report: What was done.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, report: Deployment):
        super().__init__()
        self.network, self.dtype, self.report = network, dtype, report
        self.spec, self.feature_dim = network.spec, network.feature_dim
        self.feature_groups = getattr(network, "feature_groups", (network.feature_dim,))
        self.eval()

    def train(self, mode: bool = True) -> Deployed:
        """Stay in evaluation mode, whatever a model around it does."""
        return super().train(False)

    def forward(self, frames: Padded) -> Features:
        """Clips (B, T, C, H, W), normalised by ``spec``, to features (B, N, D) in fp32, without gradients."""
        with torch.no_grad():
            features = self.network(frames._replace(values=frames.values.to(self.dtype)))
        return features._replace(values=features.values.float())


def deploy(
    backbone: Backbone,
    precision: str = "fp32",
    calibration: Iterable[Padded] | None = None,
    percentile: float = 100.0,
    bound: float | None = None,
) -> Deployed:
    """Return a copy of a trained backbone that does the same, faster; ``report`` of it says what was done.

    Not every precision is fast on every machine: see ``fast_precisions``. All of them work everywhere, but for int8,
    which is for CPUs. From now on the process keeps memory that it frees, for the next layer: ``keep_freed_memory``.

    In int8 each convolution reads integers, and so does blending of frames. What is behind a ReLU stays in them where
    these, sums, shifts in time and max-pooling alone read it; a sum is then made by the convolution before it. Other
    poolings and concatenations see fp32.

    Args:
        backbone: Any network of the zoo, also one made of others.
        precision: "fp32"; "bf16", weights and activations; or "int8".
        calibration: Some batches of clips like those to come, normalised by the backbone's ``spec``. int8 takes the
            ranges of activations from them; a few dozen clips are enough. bf16 and int8 are compared with fp32 on
            them; without any, bf16 on a clip of noise.
        percentile: Activations beyond so much of a batch do not widen the range in int8 and are cut off; 100 cuts none.
        bound: Largest relative error of the features in bf16 or int8 that is accepted; None takes that of ``BOUNDS``,
            ``math.inf`` accepts any.

    Raises:
        UnknownNameError: An unknown precision.
        ModelError: Not a backbone, or a deployed one; int8 without calibration, convolutions or a CPU that runs it; or
            features too far from the original's.
    """
    if precision not in BOUNDS:
        known = ", ".join(BOUNDS)
        raise UnknownNameError(f"unknown precision '{precision}'.{did_you_mean(precision, BOUNDS)} Use one of {known}.")
    _check(backbone)
    keep_freed_memory()
    clips = [] if calibration is None else list(calibration)
    if precision == "int8":
        _check_int8(backbone, clips, percentile)
    network = copy.deepcopy(backbone).eval().requires_grad_(False)
    chains, report = _fuse(network, precision)
    if precision == "fp32":
        return Deployed(network, torch.float32, report)
    with torch.no_grad():
        clips = clips or [_probe(network)]
        exact = [network(clip) for clip in clips]
        if precision == "bf16":
            deployed = Deployed(network.to(torch.bfloat16), torch.bfloat16, report)
        else:
            if not chains:
                raise ModelError("the backbone has no convolution that int8 could compute: use fp32 or bf16")
            chained = quantize(network, chains, clips, percentile)
            convs = sum(isinstance(layer, FusedConv) for layer in network.modules())
            report = replace(report, quantized=convs, chained=chained, levels=top_level() + 1)
            deployed = Deployed(network, torch.float32, report)
        deployed.report = _compared(deployed.report, exact, [deployed(clip) for clip in clips], bound)
    return deployed


def fast_precisions() -> tuple[str, ...]:
    """Return the precisions that this machine's CPU computes faster than the one before, fp32 first.

    bf16 takes AVX-512 or newer; elsewhere it is emulated, many times slower than fp32. int8 takes VNNI or AMX;
    elsewhere it runs, and in 7 bits, but with hardly fewer instructions than fp32.
    """
    bf16 = ("bf16",) if has_bf16_kernels() else ()
    int8 = ("int8",) if has_int8_kernels() and top_level() == 255 else ()
    return ("fp32", *bf16, *int8)


def _check(backbone: Backbone) -> None:
    if isinstance(backbone, Deployed):
        raise ModelError("the backbone is deployed already: deploy the one it was made from")
    if not isinstance(backbone, nn.Module) or not hasattr(backbone, "spec") or not hasattr(backbone, "feature_dim"):
        raise ModelError(
            f"cannot deploy a {type(backbone).__name__}: give a video backbone, as a video encoder has inside"
        )


def _check_int8(backbone: nn.Module, clips: list[Padded], percentile: float) -> None:
    if not has_int8_kernels():
        raise ModelError("this PyTorch has no int8 convolutions (oneDNN is missing): use fp32 or bf16")
    if any(parameter.device.type != "cpu" for parameter in backbone.parameters()):
        raise ModelError("int8 runs on the CPU alone: move the backbone there, or use bf16")
    if not clips:
        raise ModelError("int8 needs calibration: give some batches of clips like those to come, a few dozen clips")
    if not all(clip.values.is_floating_point() for clip in clips):
        raise ModelError("calibration clips are integers: normalise them as the backbone's spec says")
    if not 50 < percentile <= 100:
        raise ModelError(f"percentile {percentile} is out of range: use more than 50, up to 100, which cuts nothing")


def _probe(network: Backbone) -> Padded:
    """Return one clip of noise."""
    size = min(network.spec.size, PROBE_SIZE)
    values = torch.randn(1, network.spec.frames, 3, size, size, generator=torch.Generator().manual_seed(0))
    device = next(network.parameters()).device
    return Padded(values.to(device), torch.ones(1, network.spec.frames, dtype=torch.bool, device=device))


def _fuse(network: nn.Module, precision: str) -> tuple[list[Chain], Deployment]:
    """Fuse what follows convolutions into them, in place.

    Raises:
        ModelError: The network then computes something else.
    """
    probe = _probe(network)
    rectifiers = {name: module for name, module in network.named_modules() if isinstance(module, nn.ReLU)}
    with torch.no_grad():
        before = network(probe)
        wiring = follow(network, lambda: network(probe))
        for chain in wiring.chains:
            conv = network.get_submodule(chain.conv)
            if is_blending(conv):
                put(network, chain.conv, FusedBlend(conv))
                continue
            norm = None if chain.norm is None else network.get_submodule(chain.norm)
            waits = chain.addend is not None
            put(network, chain.conv, FusedConv(conv, norm, chain.relu and not waits, waits))
            if chain.norm is not None:
                put(network, chain.norm, nn.Identity())
        for name, module in rectifiers.items():
            put(network, name, Rectifier(module.inplace))
        after = network(probe)
    report = Deployment(precision, sum(chain.norm is not None for chain in wiring.chains), wiring.rest)
    return wiring.chains, replace(_compared(replace(report, precision="fp32"), [before], [after]), precision=precision)


def _compared(
    report: Deployment, exact: list[Features], close: list[Features], bound: float | None = None
) -> Deployment:
    """Return the report with the difference of two lists of features, over their real positions.

    Raises:
        ModelError: They are too far apart.
    """
    first, second = (torch.cat([f.values[f.mask].flatten() for f in features]).double() for features in (exact, close))
    error = float((first - second).norm() / first.norm().clamp_min(1e-30))
    cosine = float(nn.functional.cosine_similarity(first, second, dim=0, eps=1e-30))
    bound = BOUNDS[report.precision] if bound is None else bound
    if not error <= bound:
        raise ModelError(
            f"deployed in {report.precision}, features differ by {error:.2%} of their norm, {bound:.2%} is accepted: "
            f"{REMEDIES[report.precision]}"
        )
    return replace(report, error=error, cosine=cosine)

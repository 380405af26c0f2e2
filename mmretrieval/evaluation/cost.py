"""What a backbone costs: parameters and multiply-adds (MACs), counted without computing a number.

The rule is ``conv-only``, as the tables of "Deep Analysis of CNN-based Spatio-temporal Representations" (arXiv
2010.11757) count: one multiply-add per weight and output position of every convolution, and the multiplications of
temporal aggregation; no linear layers, normalisation, activations or pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmretrieval.backbones import backbones, create_backbone
from mmretrieval.layers.temporal import TemporalAggregation
from mmretrieval.types import Padded

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def conv_macs(backbone: nn.Module) -> int:
    """Return the convolution multiply-adds of one clip at the backbone's own clip spec.

    Args:
        backbone: A backbone on the ``meta`` device, where shapes are computed and numbers are not.
    """
    total = 0

    def count_convolution(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    def count_blend(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        nonlocal total
        total += 3 * output.numel()

    hooks = [m.register_forward_hook(count_convolution) for m in backbone.modules() if isinstance(m, CONVOLUTIONS)]
    hooks += [m.register_forward_hook(count_blend) for m in backbone.modules() if isinstance(m, TemporalAggregation)]
    spec = backbone.spec
    frames = torch.empty(1, spec.frames, 3, spec.size, spec.size, device="meta")
    try:
        backbone.eval()(Padded(frames, torch.ones(1, spec.frames, dtype=torch.bool)))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def zoo_table() -> list[dict]:
    """Return one row per registered backbone: name, family, params, macs (``conv-only``), frames and size."""
    rows = []
    for name in backbones.names():
        with torch.device("meta"):
            backbone = create_backbone(name)
        rows.append(
            {
                "name": name,
                "family": type(backbone).__module__.rsplit(".", 1)[-1],
                "params": sum(parameter.numel() for parameter in backbone.parameters()),
                "macs": conv_macs(backbone),
                "frames": backbone.spec.frames,
                "size": backbone.spec.size,
            }
        )
    return rows

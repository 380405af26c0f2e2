"""Weights of image networks into video networks: kernels repeated over time, as I3D began from ImageNet."""

from __future__ import annotations

import re

from torch import Tensor, nn

from mmretrieval.backbones.fit import State, check_fit, with_counters
from mmretrieval.errors import ModelError

MODES = ("repeat", "mean")

_TEMPORAL = re.compile(r"(^|\.)(tam\w*|\w+_t)\.")
"""Names of what only video networks have: TAM, and the temporal halves of S3D with their normalisations."""


def inflate(
    state: State, module: nn.Module, mode: str = "repeat", complaint: str = "these weights do not fit"
) -> tuple[dict[str, Tensor], list[str]]:
    """Turn the weights of an image network into those of a video network with the same names.

    A kernel (C', C, h, w) becomes (C', C, t, h, w): repeated t times along time, everything else stays as it is. Layers
    that only the video network has keep their initial values: the temporal convolutions of S3D and S3D-ResNet with
    their normalisations, and temporal aggregation (a 2-D network with TAM takes image weights in the same way).

    Args:
        state: The image network's tensors, without its classifier.
        module: The video network.
        mode: "repeat" leaves repeated kernels as large as they were, as "Deep Analysis of CNN-based Spatio-temporal
            Representations" (arXiv 2010.11757) does: activations then begin t times as large, until normalisation has
            seen them. "mean" divides them by t (Carreira & Zisserman 2017): where frames do not differ, the network
            says what the image network says, but for frames near the ends of a clip, which see the zeros beyond.
        complaint: The beginning of the message where names or shapes are wrong.

    Returns:
        All tensors of the video network, and the names of those that kept their initial values.

    Raises:
        ModelError: An unknown mode, or tensors that are not those of such an image network.
    """
    if mode not in MODES:
        raise ModelError(f"inflate is '{mode}': use 'repeat' (as published) or 'mean'")
    expected = module.state_dict()
    temporal = [name for name in expected if _TEMPORAL.search(name)]
    stayed = [] if any(name in state for name in temporal) else temporal
    inflated = {name: _stretch(tensor, expected.get(name), mode) for name, tensor in state.items()}
    inflated = with_counters(inflated, expected) | {name: expected[name] for name in stayed}
    check_fit(complaint, expected, inflated)
    return inflated, stayed


def _stretch(kernel: Tensor, wanted: Tensor | None, mode: str) -> Tensor:
    """Repeat a kernel (C', C, h, w) along time if (C', C, t, h, w) is wanted; other tensors come back as they are."""
    if wanted is None or kernel.dim() != 4 or wanted.dim() != 5:
        return kernel
    span = wanted.shape[2]
    kernel = kernel.unsqueeze(2).repeat(1, 1, span, 1, 1)
    return kernel / span if mode == "mean" else kernel

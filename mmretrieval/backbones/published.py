"""Networks by the names they have in published tables.

They are those of "Deep Analysis of CNN-based Spatio-temporal Representations" (arXiv 2010.11757) and its code:
``TAM-b3-sum-resnet-50-ts-max``, ``i3d-resnet-18-ts``, ``s3d-dw-t-conv-ts-max``; also as its runs were called, with data
set and frames: ``kinetics400-rgb-i3d_v2-f32``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmretrieval.backbones.released import RELEASES
from mmretrieval.backbones.resnet import DEPTHS

FLAT = {"inception_v1": "inception-v1"} | {f"resnet{depth}": f"resnet-{depth}" for depth in DEPTHS}
"""The 2-D networks, which TAM may be part of: our name → the published one."""

RESIDUAL = {f"{kind}_resnet{depth}": f"{kind}-resnet-{depth}" for kind in ("i3d", "s3d") for depth in DEPTHS}
"""The 3-D residual networks, which shorten time by strides, so that there is no choice of maximum or average."""

VOLUME = RESIDUAL | {"i3d": "i3d_v2", "s3d": "s3d"}
"""All 3-D networks."""

_OURS = {theirs: ours for ours, theirs in (FLAT | VOLUME).items()} | {"i3d": "i3d"}

_DEFAULTS = {"blending_frames": 3, "blending_method": "sum", "depthwise": True}
_SHOWN = {*_DEFAULTS, "depthwise_time", "temporal_pool", "frames"}
_NOT_SHOWN = {"size", "aggregated_shortcut"}
"""Options that the published code has, or could have been run with, but its names do not tell."""

_NAME = re.compile(
    r"""
    ([a-z0-9_]+-rgb-)?
    (tam-b(?P<blended>\d+)-(?P<blending>sum|max)(?P<dense>-allc)?-)?
    (?P<network>[a-z0-9]+-resnet-\d+|resnet-\d+|inception-v1|i3d_v2|i3d|s3d)
    (?P<separate>-dw-t-conv)?
    (?P<pool>-t[sp](-(?P<pooling>max|avg))?)?
    (-f(?P<frames>\d+)(-(step|multisteps|cosine|plateau)(-syncbn)?-bs\d+-e\d+)?)?
    """,
    re.VERBOSE | re.IGNORECASE,
)


def parse(name: str) -> tuple[str, dict[str, Any]] | None:
    """Return the network of the zoo that a published name means, and its options; None for any other name.

    Upper and lower case are the same. ``-ts`` and the benchmark page's ``-tp`` both mean temporal pooling, by the
    maximum unless it says ``-avg``; the page's ``i3d`` is ``i3d_v2``. The name of a released file, with or without its
    ending, means the network it was made for.

    Args:
        name: As in the tables, alone or with ``{dataset}-rgb-`` before it and ``-f{frames}`` behind it, also with what
            the name of a training run adds: ``-cosine-bs72-e75``.
    """
    for release in RELEASES.values():
        if name in (release.file, release.file.split(".")[0]):
            return release.network, dict(release.options)
    found = _NAME.fullmatch(name)
    network = _OURS.get(found["network"].lower()) if found else None
    if found is None or network is None:
        return None
    if (found["blended"] and network in VOLUME) or (found["separate"] and not network.startswith("s3d")):
        return None
    options: dict[str, Any] = {}
    if found["blended"]:
        options = {"blending_frames": int(found["blended"]), "blending_method": found["blending"].lower()}
        options["depthwise"] = not found["dense"]
    if found["separate"]:
        options["depthwise_time"] = True
    if found["pool"]:
        options["temporal_pool"] = network in RESIDUAL or (found["pooling"] or "max").lower()
    if found["frames"]:
        options["frames"] = int(found["frames"])
    options = {key: value for key, value in options.items() if value != _DEFAULTS.get(key)}
    return ("tam_" if found["blended"] else "") + network, options


def published_name(name: str, options: Mapping[str, Any] | None = None) -> str | None:
    """Return the published name of a network of the zoo, ``-f{frames}`` included if the options say how many frames.

    None for what the published framework does not have: TSM, true R(2+1)D, small variants, causal blending.

    Args:
        name: Our name, e.g. ``tam_resnet50``.
        options: What it is built with.
    """
    options = dict(options or {})
    network = name.removeprefix("tam_")
    blended = network != name
    theirs = (FLAT if blended else FLAT | VOLUME).get(network)
    if theirs is None or options.keys() - _SHOWN - _NOT_SHOWN:
        return None
    given = _DEFAULTS | options
    parts = [theirs]
    if blended:
        blending = f"TAM-b{given['blending_frames']}-{given['blending_method']}"
        parts.insert(0, blending if given["depthwise"] else f"{blending}-allc")
    if given.get("depthwise_time"):
        parts.append("dw-t-conv")
    if pool := given.get("temporal_pool"):
        parts.append("ts" if network in RESIDUAL else f"ts-{pool}")
    if "frames" in given:
        parts.append(f"f{given['frames']}")
    return "-".join(parts)

"""The zoo of video backbones: pixels to features, each built by its name.

One family per file, one registered function per variant; its name is the model's name.
"""

from __future__ import annotations

import inspect
from typing import Any

from mmretrieval.backbones import (  # noqa: F401 (importing a family registers its variants)
    inception,
    inception3d,
    r2plus1d,
    resnet,
    resnet3d,
    two_trunk,
)
from mmretrieval.backbones.names import backbones
from mmretrieval.backbones.published import parse
from mmretrieval.errors import UnknownNameError, did_you_mean
from mmretrieval.registry import Registry
from mmretrieval.types import Backbone

__all__ = ["backbones", "build", "create_backbone"]


def create_backbone(name: str, **options: Any) -> Backbone:
    """Build a video backbone by its name, for example ``create_backbone("tam_resnet50", frames=8)``.

    Names of published tables are understood too, e.g. ``TAM-b3-sum-resnet-50-ts-max``: see ``published.parse``.
    ``options`` come before what such a name says.

    Raises:
        UnknownNameError: No backbone of that name, or it does not know one of the options.
    """
    if name not in backbones and (ours := parse(name)):
        name, options = ours[0], ours[1] | options
    return build(backbones, name, options)


def build(registry: Registry, name: str, options: dict[str, Any]) -> Any:
    """Call the builder registered under ``name`` with ``options``, after checking that it knows each of them.

    Raises:
        UnknownNameError: No such name or no such option; the message offers the nearest one.
    """
    builder = registry.get(name)
    parameters = inspect.signature(builder).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return builder(**options)  # it passes options on to a builder that checks them
    for option in options:
        if option not in parameters:
            raise UnknownNameError(
                f"{registry.kind} '{name}' has no option '{option}'.{did_you_mean(option, parameters)} "
                f"Its options: {', '.join(parameters) or 'none'}."
            )
    return builder(**options)

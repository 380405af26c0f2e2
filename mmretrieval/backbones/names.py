"""The table of backbones, apart from the families so that they can import it."""

from __future__ import annotations

from collections.abc import Callable

from mmretrieval.registry import Registry
from mmretrieval.types import Backbone

backbones: Registry[Callable[..., Backbone]] = Registry("backbone", "'mmretrieval models' lists")


def register_variant(builder: Callable[..., Backbone], name: str, text: str) -> None:
    """Register a builder that a family makes in a loop, under the name and with the docstring of its variant."""
    builder.__name__, builder.__doc__ = name, text
    backbones.register()(builder)

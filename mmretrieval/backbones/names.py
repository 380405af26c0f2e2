"""The table of backbones, apart from the families so that they can import it."""

from __future__ import annotations

from collections.abc import Callable

from mmretrieval.registry import Registry
from mmretrieval.types import Backbone

backbones: Registry[Callable[..., Backbone]] = Registry("backbone", "'mmretrieval models' lists")

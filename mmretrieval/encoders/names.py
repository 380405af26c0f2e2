"""The table of encoders, apart from the families so that they can import it."""

from __future__ import annotations

from collections.abc import Callable

from mmretrieval.registry import Registry
from mmretrieval.types import Encoder

encoders: Registry[Callable[..., Encoder]] = Registry("encoder")

"""A rendered, narrated little world with ground truth: the corpus that comes with the package."""

from mmretrieval.toyworld.corpus import build

__all__ = ["build"]

"""Pictures of things: vector drawings in any colour, rasterised once per process and size."""

from mmretrieval.toyworld.sprites.raster import Sprite, sprite

__all__ = ["Sprite", "sprite"]

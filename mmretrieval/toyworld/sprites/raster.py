"""From drawings to pixels, with a memory: the same thing at the same size is drawn once per process."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

from PIL import Image, ImageFilter

from mmretrieval.toyworld.sprites import creatures, objects
from mmretrieval.toyworld.sprites.pen import FINER, MASTER, Pen
from mmretrieval.toyworld.vocabulary import COLOURS

DRAWINGS = {**creatures.DRAWINGS, **objects.DRAWINGS}

OUTLINE = 3
"""Width of the outline in pixels of the master drawing."""

TURN_STEP = 6
"""Sprites are turned in steps of so many degrees."""


class Sprite(NamedTuple):
    """Pixels of a thing, cropped to what is visible: RGB and coverage."""

    colours: Image.Image
    mask: Image.Image


@cache
def _master(kind: str, colour: str) -> Image.Image:
    """Draw a thing large, give it an outline that stands out from any background, and crop it."""
    pen = Pen(COLOURS[colour])
    DRAWINGS[kind](pen)
    drawing = pen.image.reduce(FINER)
    bordered = Image.new("RGBA", (MASTER + 2 * OUTLINE, MASTER + 2 * OUTLINE))
    bordered.paste(drawing, (OUTLINE, OUTLINE))
    outline = Image.new("RGBA", bordered.size, (206, 206, 214) if colour == "black" else (26, 26, 34))
    grown = bordered.getchannel("A")
    for _ in range(OUTLINE):
        grown = grown.filter(ImageFilter.MaxFilter(3))
    outline.putalpha(grown)
    outline.alpha_composite(bordered)
    return outline.crop(outline.getbbox())


@lru_cache(maxsize=6000)
def sprite(kind: str, colour: str, size: int, flipped: bool = False, turn: int = 0) -> Sprite:
    """Return a thing with its longest side ``size`` pixels, turned clockwise by ``turn`` degrees.

    Its colours keep their value where the mask is partial, so it can be pasted on anything.
    """
    master = _master(kind, colour)
    scale = size / max(master.size)
    image = master.resize(tuple(max(1, round(side * scale)) for side in master.size), Image.Resampling.BOX)
    if flipped:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if turn:
        image = image.rotate(-turn, Image.Resampling.BILINEAR, expand=True)
        image = image.crop(image.getchannel("A").point(lambda a: 255 if a > 24 else 0).getbbox())
    return Sprite(image.convert("RGB"), image.getchannel("A"))

"""The eight settings, painted.

Each look of a setting is painted from its own random generator, its frames once for all clips that show it.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from PIL import Image

from mmretrieval.toyworld.scenery import elsewhere, land
from mmretrieval.toyworld.scenery.parts import MARGIN, Scenery, Strip
from mmretrieval.toyworld.vocabulary import SETTINGS

__all__ = ["MARGIN", "REEL", "paint_setting", "reel"]

REEL = 48
"""Frames of scenery painted in one go."""

PAINTERS = {
    painter.__name__: painter
    for painter in (
        land.beach,
        land.snow,
        land.meadow,
        land.desert,
        elsewhere.street,
        elsewhere.room,
        elsewhere.underwater,
        elsewhere.space,
    )
}


@cache
def paint_setting(setting: str, look: int) -> Scenery:
    """Return the scenery of one look of a setting."""
    number = list(SETTINGS).index(setting)
    scenery = PAINTERS[setting](np.random.default_rng((number, look)))
    strips = tuple(
        Strip(tuple(_doubled(i, s.drift[1] != 0) for i in s.images), s.top, s.drift, s.sway, s.beat, s.hold)
        for s in scenery.strips
    )
    return Scenery(scenery.backdrop, strips, scenery.cover)


@lru_cache(maxsize=6)
def reel(setting: str, look: int, part: int) -> tuple[Image.Image, ...]:
    """Return ``REEL`` frames of scenery (WIDE × WIDE) from frame ``part · REEL`` on.

    Painting is the dearest part of a frame, so it is kept for the next clips of the same look.
    """
    scenery = paint_setting(setting, look)
    frames = []
    for frame in range(part * REEL, (part + 1) * REEL):
        canvas = scenery.backdrop.copy()
        for strip in scenery.strips:
            strip.paste(canvas, frame)
        frames.append(canvas)
    return tuple(frames)


def _doubled(image: Image.Image, down: bool) -> Image.Image:
    double = Image.new("RGBA", (image.width * 2, image.height * (2 if down else 1)))
    for x in (0, image.width):
        for y in (0, image.height) if down else (0,):
            double.paste(image, (x, y))
    return double

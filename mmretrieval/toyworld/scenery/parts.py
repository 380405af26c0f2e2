"""What scenery is made of: a still backdrop, strips that drift, sway and fall over it, and an object in front."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

from mmretrieval.toyworld.scene import SIZE

MARGIN = 16
WIDE = SIZE + 2 * MARGIN
"""Side of a backdrop: the frame plus room for the camera on all sides."""
PERIOD = 192
"""Strips repeat after so many pixels."""


@dataclass(frozen=True)
class Strip:
    """A moving part of the scenery that repeats sideways, and downwards too when it falls or rises.

    Attributes:
        images: RGBA pictures shown in turn, one PERIOD wide (the painter doubles them).
        top: Where its upper edge is in the world; unused when it falls.
        drift: Pixels per frame, right and down; downward drift makes it repeat downwards.
        sway: Pixels to either side, right and down.
        beat: Frames of one sway.
        hold: Frames each picture is shown.
    """

    images: tuple[Image.Image, ...]
    top: int = 0
    drift: tuple[float, float] = (0.0, 0.0)
    sway: tuple[float, float] = (0.0, 0.0)
    beat: float = 32.0
    hold: int = 8

    def paste(self, canvas: Image.Image, frame: int) -> None:
        """Paste the part that is seen in a frame, over the whole width of a backdrop."""
        image = self.images[(frame // self.hold) % len(self.images)]
        wave = math.sin(2 * math.pi * frame / self.beat)
        x = round(-MARGIN - self.drift[0] * frame - self.sway[0] * wave) % PERIOD
        y = -MARGIN - self.sway[1] * wave
        if self.drift[1]:
            y = round(y - self.drift[1] * frame) % PERIOD
            part = image.crop((x, y, x + WIDE, y + WIDE))
            canvas.paste(part, (0, 0), part)
        else:
            part = image.crop((x, 0, x + WIDE, image.height))
            canvas.paste(part, (0, round(self.top - y)), part)


@dataclass(frozen=True)
class Scenery:
    """A painted setting: backdrop (WIDE × WIDE), strips from back to front, and the foreground object."""

    backdrop: Image.Image
    strips: tuple[Strip, ...]
    cover: Image.Image

"""A pen for drawing things on a square of 100 × 100 units, in one body colour and its shades."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]

MASTER = 128
"""Side of the finished drawing in pixels."""
FINER = 3
"""Drawn this many times larger, then averaged down: smooth edges."""

INK: Colour = (22, 22, 28)
CHALK: Colour = (250, 250, 250)
GLASS: Colour = (176, 220, 240)
GREY: Colour = (120, 124, 132)
SKIN: Colour = (240, 196, 160)
BROWN: Colour = (122, 80, 46)
LEAF: Colour = (60, 140, 60)
SUN: Colour = (255, 206, 60)
ROSE: Colour = (246, 150, 170)


def blend(a: Colour, b: Colour, share: float) -> Colour:
    """Return ``a`` with a share of ``b`` mixed in."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))


class Pen:
    """Draws shapes, later ones over earlier ones.

    Attributes:
        body: The thing's colour.
        dark: A darker shade of it, for far legs, ears, stripes.
        light: A lighter shade, for bellies and highlights.
        mark: A thin line that is seen on the body: ink, or grey on black.
    """

    def __init__(self, body: Colour):
        self.body = body
        black = sum(body) < 180
        self.dark = blend(body, (96, 96, 104), 0.45) if black else blend(body, (0, 0, 0), 0.3)
        self.light = blend(body, CHALK, 0.4 if not black else 0.3)
        self.mark = (190, 190, 198) if black else INK
        self.image = Image.new("RGBA", (MASTER * FINER, MASTER * FINER))
        self._draw = ImageDraw.Draw(self.image)
        self._unit = MASTER * FINER / 104

    def _at(self, points: Sequence[Point]) -> list[Point]:
        return [((x + 2) * self._unit, (y + 2) * self._unit) for x, y in points]

    def poly(self, points: Sequence[Point], fill: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._at(points), fill=fill)

    def oval(self, x: float, y: float, rx: float, ry: float | None = None, fill: Colour = INK, turn: float = 0) -> None:
        """Fill an ellipse with centre (x, y), turned clockwise by some degrees."""
        ry = rx if ry is None else ry
        c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
        ring = [(rx * math.cos(a * math.pi / 24), ry * math.sin(a * math.pi / 24)) for a in range(48)]
        self.poly([(x + c * u - s * v, y + s * u + c * v) for u, v in ring], fill)

    def wedge(self, x: float, y: float, r: float, start: float, end: float, fill: Colour) -> None:
        """Fill a slice of a disc between two angles in degrees, clockwise from three o'clock."""
        (x0, y0), (x1, y1) = self._at([(x - r, y - r), (x + r, y + r)])
        self._draw.pieslice((x0, y0, x1, y1), start, end, fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, round: float = 0) -> None:  # noqa: A002
        """Fill a rectangle with rounded corners."""
        (a, b), (c, d) = self._at([(x0, y0), (x1, y1)])
        self._draw.rounded_rectangle((a, b, c, d), radius=round * self._unit, fill=fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Draw a line with round joints and ends."""
        at = self._at(points)
        self._draw.line(at, fill=fill, width=max(1, int(width * self._unit)), joint="curve")
        r = width * self._unit / 2
        for x, y in (at[0], at[-1]):
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def curve(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Draw a smooth line through the points (Catmull–Rom)."""
        p = [points[0], *points, points[-1]]
        smooth = []
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
            for i in range(8):
                t = i / 8
                smooth.append(
                    tuple(
                        0.5
                        * (
                            2 * b[k]
                            + (c[k] - a[k]) * t
                            + (2 * a[k] - 5 * b[k] + 4 * c[k] - d[k]) * t**2
                            + (3 * b[k] - a[k] - 3 * c[k] + d[k]) * t**3
                        )
                        for k in (0, 1)
                    )
                )
        self.line([*smooth, points[-1]], width, fill)

    def hole(self, x: float, y: float, r: float) -> None:
        """Cut a round hole."""
        (x0, y0), (x1, y1) = self._at([(x - r, y - r), (x + r, y + r)])
        self._draw.ellipse((x0, y0, x1, y1), fill=(0, 0, 0, 0))

    def eye(self, x: float, y: float, r: float = 4) -> None:
        """Draw an eye that is seen on every colour."""
        self.oval(x, y, r, fill=CHALK)
        self.oval(x + r * 0.25, y, r * 0.6, fill=INK)

    def wheel(self, x: float, y: float, r: float) -> None:
        """Draw a tyre with a bright hub."""
        self.oval(x, y, r, fill=(44, 44, 50))
        self.oval(x, y, r * 0.5, fill=(214, 214, 220))

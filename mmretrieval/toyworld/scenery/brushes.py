"""Brushes for painting scenery: gradients, grain, dots, clouds, waves, grass, hills."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from mmretrieval.toyworld.scenery.parts import PERIOD, WIDE

Colour = tuple[int, int, int]
ACROSS = np.arange(-12, WIDE + 13, 4)
"""Pixels across a backdrop at which the outline of a hill is computed."""


def gradient(top: Colour, bottom: Colour, height: int = WIDE) -> np.ndarray:
    """Return (height, WIDE, 3) float, one colour fading into another."""
    share = np.linspace(0, 1, height)[:, None, None]
    return np.broadcast_to(np.array(top) * (1 - share) + np.array(bottom) * share, (height, WIDE, 3)).copy()


def grain(rng: np.random.Generator, height: int, cells: tuple[int, int], strength: float) -> np.ndarray:
    """Return (height, WIDE, 1) smooth noise; ``cells`` is how many blobs down and across."""
    coarse = Image.fromarray(rng.random(cells).astype(np.float32))
    return (np.asarray(coarse.resize((WIDE, height), Image.Resampling.BICUBIC))[..., None] - 0.5) * 2 * strength


def to_image(pixels: np.ndarray) -> Image.Image:
    """Turn (height, WIDE, 3) numbers into a picture."""
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def blank_strip(height: int = PERIOD) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty strip and something to draw on it with."""
    image = Image.new("RGBA", (PERIOD, height))
    return image, ImageDraw.Draw(image)


def dots(rng: np.random.Generator, count: int, radius: tuple[float, float], fill: tuple[int, ...]) -> Image.Image:
    """Return a tile of dots that joins itself on all sides."""
    image, draw = blank_strip()
    for _ in range(count):
        r = rng.uniform(*radius)
        x, y = rng.uniform(r, PERIOD - r, 2)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    return image


def cloud(rng: np.random.Generator, height: int, count: int, fill: tuple[int, ...]) -> Image.Image:
    """Return a strip of clouds."""
    image, draw = blank_strip(height)
    for i in range(count):
        x, y = (i + rng.uniform(0.3, 0.7)) * PERIOD / count, rng.uniform(0.4, 0.65) * height
        for dx, dy, r in ((-11, 2, 6), (-3, -3, 8), (6, -1, 7), (13, 3, 5)):
            r = r * rng.uniform(0.8, 1.1)
            draw.ellipse((x + dx - 1.4 * r, y + dy - r, x + dx + 1.4 * r, y + dy + r), fill=fill)
    return image


def waves(height: int, crest: float, count: int, fill: tuple[int, ...], foam: tuple[int, ...]) -> Image.Image:
    """Return a band of water whose upper edge is a wave."""
    image, draw = blank_strip(height)
    edge = [(x, crest + crest * math.sin(2 * math.pi * count * x / PERIOD)) for x in range(PERIOD + 1)]
    draw.polygon([(0, height), *edge, (PERIOD, height)], fill=fill)
    draw.line(edge, fill=foam, width=2)
    return image


def blades(rng: np.random.Generator, height: int, colours: list[Colour], count: int, lean: float = 5) -> Image.Image:
    """Return a strip of grass, or of anything that grows in blades."""
    image, draw = blank_strip(height)
    for i in range(count):
        x = (i + rng.random()) * PERIOD / count
        top = rng.uniform(0, height * 0.5)
        draw.polygon(
            [(x - 2, height), (x + rng.uniform(-lean, lean), top), (x + 2, height)],
            fill=colours[int(rng.integers(len(colours)))],
        )
    return image


def mountains(rng: np.random.Generator, base: float, height: float, peaks: int) -> list[tuple[float, float]]:
    """Return the outline of mountains across a backdrop; every second point is a peak."""
    xs = np.linspace(-10, WIDE + 10, 2 * peaks + 1)
    return [
        (float(x), base - (height * rng.uniform(0.7, 1.0) if i % 2 else height * rng.uniform(0, 0.25)))
        for i, x in enumerate(xs)
    ]


def hill(x: np.ndarray, base: float, height: float, waves: float, phase: float) -> list[tuple[float, float]]:
    """Return the outline of gentle hills."""
    return [(float(v), base - height * math.sin(waves * v / WIDE * 2 * math.pi + phase)) for v in x]


def ground(draw: ImageDraw.ImageDraw, outline: list[tuple[float, float]], fill: Colour) -> None:
    """Fill everything below an outline."""
    draw.polygon([(-12, WIDE + 2), *outline, (WIDE + 12, WIDE + 2)], fill=fill)

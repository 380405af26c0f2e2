"""Settings on land and under the open sky."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from mmretrieval.toyworld.scene import SIZE
from mmretrieval.toyworld.scenery.brushes import (
    ACROSS,
    blades,
    blank_strip,
    cloud,
    dots,
    gradient,
    grain,
    ground,
    hill,
    mountains,
    to_image,
    waves,
)
from mmretrieval.toyworld.scenery.parts import PERIOD, WIDE, Scenery, Strip


def beach(rng: np.random.Generator) -> Scenery:
    pixels = gradient((120, 196, 240), (214, 238, 250))
    pixels[78:] = (236, 214, 160) + grain(rng, WIDE - 78, (50, 90), 12)
    pixels[52:78] = gradient((40, 130, 180), (70, 176, 200), 26)
    image = to_image(pixels)
    draw = ImageDraw.Draw(image)
    x = int(rng.integers(30, WIDE - 30))
    draw.ellipse((x - 11, 18, x + 11, 40), fill=(255, 236, 150))
    for _ in range(12):  # shells and pebbles
        x, y = int(rng.integers(WIDE)), int(rng.integers(100, WIDE))
        draw.ellipse((x, y, x + 3, y + 2), fill=(200, 168, 120) if rng.random() < 0.6 else (252, 240, 226))
    cover, pen = Image.new("RGBA", (30, 90)), None
    pen = ImageDraw.Draw(cover)
    pen.polygon([(12, 90), (18, 90), (17, 20), (14, 20)], fill=(150, 108, 66))  # a palm
    for dx, dy in ((-14, 12), (-10, -2), (0, -10), (10, -2), (14, 12)):
        pen.polygon([(15, 18), (15 + dx * 0.5 - 2, 14 + dy * 0.5), (15 + dx, 18 + dy)], fill=(60, 130, 70))
    return Scenery(
        image,
        (
            Strip((cloud(rng, 34, 3, (255, 255, 255, 210)),), 2, drift=(0.35, 0)),
            Strip((waves(14, 2.0, 8, (58, 150, 196, 255), (150, 214, 230, 255)),), 42, drift=(0.7, 0)),
            Strip((waves(16, 3.0, 5, (76, 180, 206, 255), (240, 252, 255, 255)),), 53, (-0.9, 0), (0, 3), 26),
        ),
        cover,
    )


def snow(rng: np.random.Generator) -> Scenery:
    pixels = gradient((150, 170, 196), (206, 216, 230)) + grain(rng, WIDE, (6, 6), 8)
    image = to_image(pixels)
    draw = ImageDraw.Draw(image)
    ridge = mountains(rng, 92, 66, 3)
    draw.polygon([(-12, 100), *ridge, (WIDE + 12, 100)], fill=(112, 126, 156))
    for (x, y), (_, base) in zip(ridge[1::2], ridge[::2], strict=False):
        h = (base - y) * 0.4
        draw.polygon([(x - h * 0.6, y + h), (x, y), (x + h * 0.6, y + h), (x, y + h * 0.6)], fill=(244, 248, 255))
    snowfield = hill(ACROSS, 94, 5, rng.uniform(0.6, 1.2), rng.uniform(0, 6))
    ground(draw, snowfield, (226, 234, 246))
    for _ in range(5):  # firs
        x, y, h = rng.uniform(0, WIDE), rng.uniform(90, 104), rng.uniform(16, 28)
        for k in (0, 0.3, 0.6):
            w = h * (0.16 + 0.2 * k)
            draw.polygon(
                [(x - w, y - h + h * (k + 0.4)), (x, y - h + h * k), (x + w, y - h + h * (k + 0.4))], (48, 84, 84)
            )
    for _ in range(30):
        x, y = int(rng.integers(WIDE)), int(rng.integers(106, WIDE))
        draw.line((x, y, x + 8, y), fill=(204, 216, 234))
    cover = Image.new("RGBA", (34, 84))
    pen = ImageDraw.Draw(cover)
    pen.rectangle((15, 74, 19, 84), fill=(90, 64, 48))
    for y in (2, 22, 44):
        pen.polygon([(17 - 8 - y / 6, y + 30), (17, y), (17 + 8 + y / 6, y + 30)], fill=(40, 76, 76))
        pen.polygon([(17 - 4, y + 10), (17, y), (17 + 4, y + 10)], fill=(238, 244, 252))
    return Scenery(
        image,
        (
            Strip((dots(rng, 60, (0.7, 1.2), (255, 255, 255, 200)),), drift=(0.4, 1.4)),
            Strip((dots(rng, 26, (1.3, 2.1), (255, 255, 255, 240)),), drift=(-0.5, 2.4), sway=(3, 0)),
        ),
        cover,
    )


def meadow(rng: np.random.Generator) -> Scenery:
    image = to_image(gradient((128, 190, 244), (206, 232, 250)))
    draw = ImageDraw.Draw(image)
    ground(draw, hill(ACROSS, 84, 10, rng.uniform(0.7, 1.4), rng.uniform(0, 6)), (146, 196, 106))
    ground(draw, hill(ACROSS, 100, 6, rng.uniform(0.6, 1.1), rng.uniform(0, 6)), (126, 182, 84))
    pixels = np.asarray(image).astype(float)
    pixels[104:] += grain(rng, WIDE - 104, (28, 60), 16)
    image = to_image(pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(34):
        x, y = int(rng.integers(WIDE)), int(rng.integers(108, WIDE))
        draw.ellipse(
            (x, y, x + 2, y + 2), fill=((255, 250, 240), (250, 220, 100), (240, 150, 180))[int(rng.integers(3))]
        )
    greens = [(84, 150, 58), (104, 170, 66), (70, 132, 54)]
    cover = Image.new("RGBA", (52, 40))
    pen = ImageDraw.Draw(cover)
    for i in range(16):
        x = 4 + i * 3
        pen.polygon([(x - 3, 40), (x + int(rng.integers(-6, 7)), int(rng.integers(0, 16))), (x + 3, 40)], greens[i % 3])
    return Scenery(
        image,
        (
            Strip((cloud(rng, 40, 3, (255, 255, 255, 235)),), 4, drift=(0.5, 0)),
            Strip((cloud(rng, 26, 2, (255, 255, 255, 150)),), 26, drift=(0.9, 0)),
            Strip((blades(rng, 16, greens, 70),), SIZE - 8, sway=(3.5, 0), beat=22),
        ),
        cover,
    )


def desert(rng: np.random.Generator) -> Scenery:
    image = to_image(gradient((248, 196, 130), (252, 230, 186)))
    draw = ImageDraw.Draw(image)
    x = int(rng.integers(30, WIDE - 30))
    draw.ellipse((x - 13, 22, x + 13, 48), fill=(255, 246, 214))
    for base, height, fill in ((82, 12, (222, 166, 104)), (100, 10, (210, 148, 86)), (124, 8, (196, 132, 72))):
        ground(draw, hill(ACROSS, base, height, rng.uniform(0.7, 1.3), rng.uniform(0, 6)), fill)
    for k in range(9):  # ripples
        y = 128 + k * 5
        draw.line([(v, y + 2 * math.sin(v / 9 + k)) for v in range(0, WIDE, 3)], fill=(178, 116, 62))
    for _ in range(3):
        x, y = rng.uniform(4, WIDE - 4), rng.uniform(92, 112)
        draw.rounded_rectangle((x - 3, y - 24, x + 3, y), 3, fill=(92, 124, 80))
        draw.line((x - 8, y - 17, x - 8, y - 11, x, y - 11), fill=(92, 124, 80), width=3)
    haze, pen = blank_strip(70)
    for _ in range(26):
        x, y, n = rng.uniform(0, PERIOD - 30), rng.uniform(0, 70), rng.uniform(10, 28)
        pen.line((x, y, x + n, y), fill=(255, 236, 196, 120))
    cover = Image.new("RGBA", (34, 84))
    pen = ImageDraw.Draw(cover)
    pen.rounded_rectangle((12, 2, 22, 86), 5, fill=(78, 112, 70))
    pen.line((4, 24, 4, 44, 14, 44), fill=(78, 112, 70), width=6)
    pen.line((30, 16, 30, 34, 20, 34), fill=(78, 112, 70), width=6)
    return Scenery(image, (Strip((haze,), 58, drift=(2.6, 0)), Strip((haze,), 40, drift=(1.3, 0), sway=(0, 3))), cover)

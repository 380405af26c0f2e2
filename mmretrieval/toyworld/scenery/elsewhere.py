"""Settings in town, indoors, under water and in space."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from mmretrieval.toyworld.scenery.brushes import ACROSS, blades, blank_strip, dots, gradient, grain, ground, to_image
from mmretrieval.toyworld.scenery.parts import MARGIN, PERIOD, WIDE, Scenery, Strip


def street(rng: np.random.Generator) -> Scenery:
    image = to_image(gradient((84, 92, 108), (132, 136, 146)))
    draw = ImageDraw.Draw(image)
    x = -6
    while x < WIDE:
        width, top = int(rng.integers(22, 38)), int(rng.integers(14, 56))
        shade = int(rng.integers(-14, 14))
        wall = ((128, 92, 82), (104, 100, 112), (140, 122, 104), (92, 106, 112))[int(rng.integers(4))]
        draw.rectangle((x, top, x + width, 104), fill=tuple(c + shade for c in wall), outline=(58, 58, 66))
        for wx in range(x + 5, x + width - 5, 8):
            for wy in range(top + 6, 98, 11):
                lit = rng.random() < 0.4
                draw.rectangle((wx, wy, wx + 3, wy + 5), fill=(246, 218, 130) if lit else (52, 58, 74))
        x += width
    draw.rectangle((0, 104, WIDE, 111), fill=(158, 156, 152))
    draw.rectangle((0, 112, WIDE, WIDE), fill=(66, 68, 74))
    for x in range(int(rng.integers(0, 20)), WIDE, 30):
        draw.rectangle((x, 132, x + 15, 135), fill=(226, 222, 200))
    lights = []
    at = int(rng.integers(40, 150))
    for lit in range(3):
        sheet, pen = blank_strip(56)
        pen.rectangle((at + 4, 18, at + 6, 56), fill=(40, 42, 46))
        pen.rounded_rectangle((at, 0, at + 10, 24), 3, fill=(30, 32, 36))
        for i, colour in enumerate(((250, 60, 50), (250, 200, 60), (70, 220, 110))):
            pen.ellipse((at + 2, 1 + 8 * i, at + 8, 7 + 8 * i), fill=colour if i == lit else (66, 66, 70))
        lights.append(sheet)
    rain, pen = blank_strip()
    for _ in range(110):
        x, y, n = rng.uniform(4, PERIOD - 4), rng.uniform(0, PERIOD - 10), rng.uniform(5, 9)
        pen.line((x, y, x - n * 0.25, y + n), fill=(206, 220, 236, 150))
    cover = Image.new("RGBA", (16, 112))
    pen = ImageDraw.Draw(cover)
    pen.rectangle((6, 8, 9, 112), fill=(44, 48, 54))
    pen.rounded_rectangle((1, 0, 14, 12), 4, fill=(250, 226, 150), outline=(44, 48, 54))
    return Scenery(
        image,
        (Strip((lights[0], lights[2], lights[1]), 40, hold=16), Strip((rain,), drift=(-1.6, 7.0))),
        cover,
    )


def room(rng: np.random.Generator) -> Scenery:
    wall = ((206, 180, 172), (196, 190, 164), (184, 186, 200))[int(rng.integers(3))]
    pixels = np.broadcast_to(np.array(wall, float), (WIDE, WIDE, 3)).copy()
    pixels[:, (np.arange(WIDE) // 8) % 2 == 0] -= 12
    image = to_image(pixels)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 106, WIDE, 112), fill=(240, 234, 222))
    draw.rectangle((0, 112, WIDE, WIDE), fill=(156, 112, 74))
    for i in range(-14, 16):  # floor boards towards a vanishing point
        draw.line((80 + i * 9, 112, 80 + i * 24, WIDE), fill=(122, 84, 54))
    for y in (122, 136):
        draw.line((0, y, WIDE, y), fill=(132, 92, 60))
    x = int(rng.integers(20, 96))
    draw.rectangle((x - 3, 23, x + 47, 73), fill=(250, 246, 238))
    draw.rectangle((x, 26, x + 44, 70), fill=(156, 206, 240))
    draw.ellipse((x + 5, 54, x + 40, 88), fill=(120, 170, 110))
    draw.rectangle((x - 3, 70, x + 47, 76), fill=(250, 246, 238))
    draw.line((x + 22, 26, x + 22, 70), fill=(250, 246, 238), width=2)
    draw.line((x, 48, x + 44, 48), fill=(250, 246, 238), width=2)
    image = to_image(np.asarray(image) + grain(rng, WIDE, (80, 40), 7))  # plaster and wood
    at = (x + 88) % 150 + 10 - MARGIN
    clocks = []
    for swing in (-5, -3, 0, 3, 5, 3, 0, -3):
        sheet, pen = blank_strip(52)
        pen.rounded_rectangle((at, 0, at + 20, 52), 5, fill=(104, 66, 40))
        pen.ellipse((at + 3, 3, at + 17, 17), fill=(250, 246, 230))
        pen.line((at + 10, 10, at + 10, 5), fill=(30, 30, 30))
        pen.line((at + 10, 10, at + 14, 11), fill=(30, 30, 30))
        pen.rectangle((at + 3, 21, at + 17, 48), fill=(64, 40, 24))
        pen.line((at + 10, 21, at + 10 + swing, 42), fill=(240, 206, 110))
        pen.ellipse((at + 7 + swing, 38, at + 13 + swing, 44), fill=(240, 206, 110))
        clocks.append(sheet)
    curtain, pen = blank_strip(64)
    for side in (x - MARGIN - 8, x - MARGIN + 38):
        for k in range(4):
            fill = (178, 92, 96) if k % 2 else (160, 80, 86)
            left = (side + 4 * k) % (PERIOD - 6)
            pen.polygon([(left, 0), (left + 4, 0), (left + 5, 64), (left + 1, 64)], fill=fill)
    cover = Image.new("RGBA", (40, 66))
    pen = ImageDraw.Draw(cover)
    pen.polygon([(10, 46), (30, 46), (27, 66), (13, 66)], fill=(190, 110, 74))
    for dx, dy in ((-18, 10), (-12, -10), (-4, -24), (6, -22), (13, -8), (18, 12)):
        pen.polygon([(17, 46), (20 + dx, 26 + dy), (23, 46)], fill=(66, 124, 72))
    return Scenery(image, (Strip(tuple(clocks), 20, hold=2), Strip((curtain,), 8, sway=(2, 0), beat=24)), cover)


def underwater(rng: np.random.Generator) -> Scenery:
    pixels = gradient((52, 160, 182), (14, 66, 104)) + grain(rng, WIDE, (7, 9), 10)
    pixels[128:] = (150, 140, 104) + grain(rng, WIDE - 128, (14, 60), 18)
    image = to_image(pixels)
    draw = ImageDraw.Draw(image)
    for _ in range(6):  # rocks and corals
        x, r = rng.uniform(0, WIDE), rng.uniform(5, 12)
        fill = ((86, 92, 104), (196, 110, 120), (176, 128, 156))[int(rng.integers(3))]
        draw.ellipse((x - r, 132 - r, x + r, 132 + r), fill=fill)
    rays, pen = blank_strip(150)
    for x in range(8, PERIOD - 30, 46):
        w = int(rng.integers(6, 14))
        pen.polygon([(x, 0), (x + w, 0), (x + w + 16, 150), (x + 4, 150)], fill=(200, 240, 240, 34))
    kelp = blades(rng, 56, [(34, 104, 84), (44, 124, 92)], 16, lean=9)
    bubbles, pen = blank_strip()
    for _ in range(26):
        r = rng.uniform(1.4, 3.4)
        x, y = rng.uniform(r, PERIOD - r, 2)
        pen.ellipse((x - r, y - r, x + r, y + r), outline=(220, 246, 250, 230), fill=(190, 232, 242, 90))
    cover = Image.new("RGBA", (40, 96))
    pen = ImageDraw.Draw(cover)
    for x, top in ((8, 18), (20, 0), (31, 28)):
        curve = [(x + 4 * math.sin(y / 9), y) for y in range(top, 97, 3)]
        pen.line(curve, fill=(28, 92, 76), width=6)
    return Scenery(
        image,
        (
            Strip((rays,), -12, sway=(9, 0), beat=40),
            Strip((kelp,), 66, sway=(4, 0), beat=28),
            Strip((bubbles,), drift=(0.2, -1.7), sway=(2, 0), beat=16),
        ),
        cover,
    )


def space(rng: np.random.Generator) -> Scenery:
    cloud = np.clip(grain(rng, WIDE, (5, 5), 1.0), 0, 1)
    pixels = gradient((16, 14, 44), (30, 18, 58)) + cloud * (70, 26, 88)
    image = to_image(pixels)
    draw = ImageDraw.Draw(image)
    x, y, r = rng.uniform(30, WIDE - 30), rng.uniform(34, 64), rng.uniform(13, 19)
    tint = ((112, 96, 150), (96, 124, 140), (150, 112, 104))[int(rng.integers(3))]
    draw.ellipse((x - r, y - r, x + r, y + r), fill=tint)
    draw.chord((x - r, y - r, x + r, y + r), 20, 160, fill=tuple(int(c * 0.72) for c in tint))
    draw.ellipse((x - 1.7 * r, y - 4, x + 1.7 * r, y + 4), outline=(214, 196, 170), width=2)
    moon = [(float(v), 140 + 5 * math.sin(v / 17)) for v in ACROSS]
    ground(draw, moon, (104, 102, 116))
    for _ in range(7):
        x, y, r = rng.uniform(0, WIDE), rng.uniform(148, WIDE), rng.uniform(3, 7)
        draw.ellipse((x - r, y - r * 0.4, x + r, y + r * 0.4), fill=(80, 78, 92))
    far = tuple(dots(rng, 46, (0.5, 0.9), (220, 224, 255, level)) for level in (255, 150))
    cover = Image.new("RGBA", (36, 44))
    pen = ImageDraw.Draw(cover)
    pen.polygon([(4, 44), (0, 20), (12, 4), (27, 2), (36, 22), (30, 44)], fill=(84, 80, 92))
    pen.ellipse((8, 12, 16, 19), fill=(64, 60, 72))
    pen.ellipse((20, 22, 29, 30), fill=(64, 60, 72))
    return Scenery(
        image,
        (
            Strip((far[0].crop((0, 0, PERIOD, 120)), far[1].crop((0, 0, PERIOD, 120))), 0, drift=(-0.4, 0), hold=5),
            Strip((dots(rng, 14, (1.0, 1.7), (255, 255, 240, 255)).crop((0, 0, PERIOD, 116)),), 0, drift=(-1.1, 0)),
        ),
        cover,
    )

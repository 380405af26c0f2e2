"""Drawings of vehicles, plants and household things, all facing right."""

from __future__ import annotations

import math

from mmretrieval.toyworld.sprites.pen import BROWN, CHALK, GLASS, GREY, INK, LEAF, SUN, Pen


def plane(p: Pen) -> None:
    p.poly([(6, 52), (0, 18), (14, 18), (32, 46)], p.body)
    p.poly([(46, 46), (64, 46), (46, 22), (36, 22)], p.dark)
    p.oval(52, 54, 49, 13, p.body)
    p.poly([(40, 56), (66, 56), (40, 94), (26, 94)], p.dark)
    for x in range(32, 78, 9):
        p.oval(x, 50, 2.8, fill=GLASS)
    p.poly([(84, 45), (97, 50), (86, 52)], GLASS)
    p.box(2, 46, 18, 52, p.light, 3)


def helicopter(p: Pen) -> None:
    p.poly([(48, 44), (6, 42), (4, 50), (48, 60)], p.body)
    p.poly([(2, 28), (10, 28), (14, 56), (4, 56)], p.dark)
    p.oval(66, 54, 29, 23, p.body)
    p.wedge(70, 52, 20, 270, 360, GLASS)
    p.box(44, 44, 62, 58, GLASS, 3)
    p.box(62, 22, 67, 34, GREY)
    p.box(22, 18, 104, 24, GREY, 3)
    p.line([(54, 74), (50, 88)], 3, GREY)
    p.line([(78, 74), (82, 88)], 3, GREY)
    p.line([(38, 89), (92, 89), (97, 85)], 4, GREY)


def rocket(p: Pen) -> None:
    p.poly([(40, 78), (50, 104), (60, 78)], (255, 120, 30))
    p.poly([(44, 78), (50, 94), (56, 78)], SUN)
    p.poly([(36, 50), (14, 84), (38, 76)], p.dark)
    p.poly([(64, 50), (86, 84), (62, 76)], p.dark)
    p.poly([(50, 0), (62, 16), (67, 36), (66, 60), (60, 80), (40, 80), (34, 60), (33, 36), (38, 16)], p.body)
    p.poly([(50, 0), (60, 13), (63, 20), (37, 20), (40, 13)], p.light)
    p.oval(50, 38, 10, fill=CHALK if p.body != (246, 246, 246) else GREY)
    p.oval(50, 38, 7, fill=GLASS)
    p.line([(50, 58), (50, 80)], 5, p.dark)


def balloon(p: Pen) -> None:
    p.curve([(50, 74), (44, 82), (56, 90), (50, 101)], 2.5, GREY)
    p.poly([(50, 66), (42, 77), (58, 77)], p.dark)
    p.oval(50, 36, 31, 36, p.body)
    p.oval(38, 24, 7, 11, p.light, 24)


def boat(p: Pen) -> None:
    p.box(47, 2, 51, 66, BROWN)
    p.poly([(53, 6), (53, 58), (90, 58)], p.light)
    p.poly([(45, 14), (45, 58), (16, 58)], p.body)
    p.poly([(2, 64), (99, 64), (84, 90), (16, 90)], p.body)
    p.poly([(2, 64), (99, 64), (96, 71), (6, 71)], p.dark)
    for x in (32, 50, 68):
        p.oval(x, 79, 4, fill=CHALK if sum(p.body) < 700 else GREY)


def car(p: Pen) -> None:
    p.poly([(18, 54), (32, 26), (66, 26), (84, 54)], p.body)
    p.box(2, 48, 99, 76, p.body, 9)
    p.poly([(27, 50), (36, 32), (48, 32), (48, 50)], GLASS)
    p.poly([(53, 50), (53, 32), (63, 32), (75, 50)], GLASS)
    p.box(2, 62, 99, 67, p.dark)
    p.oval(95, 56, 4, 4.5, SUN)
    p.wheel(24, 76, 13)
    p.wheel(77, 76, 13)


def bus(p: Pen) -> None:
    p.box(1, 14, 99, 80, p.body, 7)
    for x in (6, 24, 42, 60):
        p.box(x, 22, x + 14, 44, GLASS, 2)
    p.box(79, 22, 96, 70, GLASS, 2)
    p.line([(87.5, 24), (87.5, 68)], 2, p.dark)
    p.box(1, 52, 76, 59, p.dark)
    p.wheel(24, 80, 12)
    p.wheel(70, 80, 12)


def truck(p: Pen) -> None:
    p.box(1, 18, 66, 74, p.body, 2)
    for x in (16, 33, 50):
        p.line([(x, 22), (x, 70)], 3, p.dark)
    p.poly([(69, 36), (86, 36), (99, 54), (99, 76), (69, 76)], p.light)
    p.poly([(75, 41), (84, 41), (93, 55), (75, 55)], GLASS)
    p.box(1, 73, 99, 79, GREY)
    for x in (16, 38, 83):
        p.wheel(x, 80, 11)


def bicycle(p: Pen) -> None:
    for x in (23, 77):
        p.oval(x, 66, 23, fill=(44, 44, 50))
        p.oval(x, 66, 18.5, fill=p.body)
        p.hole(x, 66, 12)
        for turn in range(3):
            c, s = 14 * math.cos(turn * math.pi / 3), 14 * math.sin(turn * math.pi / 3)
            p.line([(x - c, 66 - s), (x + c, 66 + s)], 1.6, GREY)
    frame = [(23, 66), (38, 36), (68, 36), (50, 66), (23, 66)]
    p.line(frame, 6, p.body)
    p.line([(50, 66), (36, 30)], 6, p.body)
    p.line([(77, 66), (64, 22)], 6, p.body)
    p.line([(62, 21), (76, 18)], 5, INK if p.mark == INK else GREY)
    p.box(26, 24, 46, 31, INK if p.mark == INK else GREY, 3)
    p.oval(50, 66, 6, fill=GREY)


def ball(p: Pen) -> None:
    p.oval(50, 50, 46, fill=p.body)
    other = CHALK if sum(p.body) < 700 else (170, 176, 190)
    for start in (20, 140, 260):
        p.wedge(50, 50, 45, start, start + 44, other)
    p.oval(50, 50, 11, fill=p.dark)


def tree(p: Pen) -> None:
    p.poly([(43, 58), (57, 58), (62, 99), (38, 99)], BROWN)
    for x, y, r in ((28, 44, 23), (72, 44, 23), (50, 24, 24), (50, 48, 24)):
        p.oval(x, y, r, fill=p.body)
    for x, y, r in ((38, 22, 8), (24, 40, 7), (60, 40, 8), (76, 36, 5)):
        p.oval(x, y, r, fill=p.light)
    for x, y in ((50, 58), (76, 54), (34, 56)):
        p.oval(x, y, 6, fill=p.dark)


def flower(p: Pen) -> None:
    p.line([(50, 48), (50, 100)], 6, LEAF)
    p.oval(33, 80, 17, 7, LEAF, 28)
    p.oval(67, 74, 17, 7, LEAF, -28)
    for turn in range(6):
        a = turn * math.pi / 3 + math.pi / 6
        p.oval(50 + 21 * math.cos(a), 31 + 21 * math.sin(a), 14, 11, p.body if turn % 2 else p.light, math.degrees(a))
    p.oval(50, 31, 11, fill=SUN if p.body[:2] != (250, 224) else BROWN)


def mushroom(p: Pen) -> None:
    p.box(36, 48, 64, 97, (240, 228, 200), 11)
    p.box(36, 54, 64, 62, (206, 190, 160), 2)
    p.wedge(50, 52, 47, 180, 360, p.body)
    p.box(3, 49, 97, 58, p.dark, 4)
    spots = CHALK if sum(p.body) < 700 else (186, 140, 120)
    for x, y, r in ((50, 22, 9), (25, 38, 7), (76, 36, 8), (48, 42, 4)):
        p.oval(x, y, r, fill=spots)


def umbrella(p: Pen) -> None:
    p.line([(50, 4), (50, 86)], 4, BROWN)
    p.curve([(50, 84), (54, 96), (66, 97), (70, 86)], 5, BROWN)
    p.wedge(50, 52, 48, 180, 360, p.body)
    for x0, x1 in ((18, 34), (66, 82)):
        p.poly([(x0, 52), (50, 5), (x1, 52)], p.light)
    for x in (10, 26, 42, 58, 74, 90):
        p.oval(x, 53, 8, 6, (0, 0, 0, 0))
    p.line([(50, 46), (50, 70)], 4, BROWN)


def cup(p: Pen) -> None:
    p.oval(78, 58, 20, 19, p.body)
    p.hole(78, 58, 11)
    p.box(16, 32, 74, 97, p.body, 9)
    p.oval(45, 33, 29, 8, p.dark)
    p.oval(45, 34, 24, 5.5, (96, 60, 36))
    p.box(16, 58, 74, 66, p.light)
    for x in (32, 46, 60):
        p.curve([(x, 22), (x - 4, 15), (x + 3, 8), (x, 1)], 3, (222, 226, 232))


def star(p: Pen) -> None:
    tips = []
    for i in range(10):
        r, a = (51 if i % 2 == 0 else 23), -math.pi / 2 + i * math.pi / 5
        tips.append((50 + r * math.cos(a), 54 + r * math.sin(a)))
    p.poly(tips, p.body)
    p.eye(42, 48, 5)
    p.eye(58, 48, 5)
    p.curve([(41, 60), (50, 67), (59, 60)], 3.5, p.mark)


def guitar(p: Pen) -> None:
    p.box(46, 10, 54, 56, BROWN)
    p.box(42, 0, 58, 14, p.dark, 3)
    p.oval(50, 52, 20, 17, p.body)
    p.oval(50, 77, 28, 23, p.body)
    p.box(34, 54, 66, 70, p.body)
    p.oval(50, 63, 9, fill=INK if p.mark == INK else GREY)
    p.box(38, 82, 62, 87, BROWN)
    for x in (47.5, 52.5):
        p.line([(x, 10), (x, 84)], 1.4, (236, 230, 210))


def key(p: Pen) -> None:
    p.oval(24, 50, 24, fill=p.body)
    p.hole(21, 50, 11)
    p.box(44, 44, 100, 56, p.body, 3)
    for x in (72, 87):
        p.box(x, 52, x + 9, 74, p.body, 2)
    p.line([(50, 47), (96, 47)], 2.5, p.light)


DRAWINGS = {
    draw.__name__: draw
    for draw in (
        plane,
        helicopter,
        rocket,
        balloon,
        boat,
        car,
        bus,
        truck,
        bicycle,
        ball,
        tree,
        flower,
        mushroom,
        umbrella,
        cup,
        star,
        guitar,
        key,
    )
}

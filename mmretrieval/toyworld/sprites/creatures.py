"""Drawings of the living (and of one robot), all facing right."""

from __future__ import annotations

from mmretrieval.toyworld.sprites.pen import BROWN, CHALK, GREY, INK, ROSE, SKIN, SUN, Pen


def dog(p: Pen) -> None:
    p.curve([(16, 50), (6, 40), (5, 24)], 8, p.body)
    for x, fill in ((26, p.dark), (54, p.dark), (16, p.body), (64, p.body)):
        p.box(x, 56, x + 10, 94, fill, 4)
    p.box(12, 44, 74, 70, p.body, 12)
    p.oval(72, 34, 18, 17, p.body)
    p.box(76, 32, 99, 49, p.light, 7)
    p.oval(96, 36, 4.5, 4, INK)
    p.line([(84, 46), (96, 45)], 2, INK)
    p.oval(60, 37, 8, 18, p.dark, 12)
    p.eye(77, 27, 4.5)
    p.line([(62, 54), (76, 56)], 5, GREY)


def cat(p: Pen) -> None:
    p.curve([(66, 90), (90, 88), (96, 68), (86, 54)], 8, p.body)
    p.oval(50, 74, 25, 25, p.body)
    p.oval(50, 80, 12, 17, p.light)
    for side in (-1, 1):
        x = 50 + side * 20
        p.poly([(x - 12, 28), (x + side * 6, 0), (x + 12, 30)], p.body)
        p.poly([(x - 6, 24), (x + side * 4, 8), (x + 6, 24)], ROSE)
    p.oval(50, 36, 29, 23, p.body)
    for side in (-1, 1):
        p.oval(50 + side * 12, 33, 6.5, 7, (150, 240, 130))
        p.oval(50 + side * 12, 33, 2.4, 6.5, INK)
        for rise in (-3, 2, 7):
            p.line([(50 + side * 12, 44 + rise / 2), (50 + side * 36, 41 + rise * 1.6)], 1.8, p.mark)
        p.box(50 + side * 11 - 6, 88, 50 + side * 11 + 6, 99, p.light, 5)
    p.poly([(45, 41), (55, 41), (50, 47)], ROSE)


def rabbit(p: Pen) -> None:
    p.oval(11, 72, 10, 10, CHALK if p.body != CHALK else p.dark)
    p.oval(56, 20, 7, 22, p.dark, -16)
    p.oval(70, 19, 8, 22, p.body, 6)
    p.oval(70, 20, 3.5, 15, ROSE, 6)
    p.oval(38, 70, 30, 24, p.body)
    p.oval(70, 50, 19, 17, p.body)
    p.oval(34, 92, 18, 6, p.light)
    p.box(56, 74, 67, 97, p.body, 5)
    p.eye(75, 45, 5)
    p.oval(88, 52, 3.5, 3, ROSE)
    p.oval(30, 76, 15, 14, p.dark)


def elephant(p: Pen) -> None:
    for x, fill in ((24, p.dark), (50, p.dark), (10, p.body), (58, p.body)):
        p.box(x, 56, x + 15, 95, fill, 4)
    p.oval(40, 50, 36, 27, p.body)
    p.line([(5, 44), (2, 62)], 3, p.dark)
    p.oval(75, 40, 19, 19, p.body)
    p.curve([(86, 42), (94, 56), (93, 76), (98, 88)], 11, p.body)
    p.curve([(82, 54), (86, 64), (92, 64)], 4.5, (255, 250, 230))
    p.oval(58, 40, 16, 21, p.dark)
    p.oval(57, 40, 11, 15, p.light)
    p.eye(82, 34, 4)


def giraffe(p: Pen) -> None:
    for x, fill in ((28, p.dark), (50, p.dark), (18, p.body), (58, p.body)):
        p.box(x, 58, x + 7, 99, fill, 3)
    p.line([(18, 54), (10, 72)], 3, p.dark)
    p.oval(40, 57, 26, 13, p.body)
    p.poly([(48, 58), (66, 58), (82, 14), (70, 10)], p.body)
    p.line([(73, 10), (72, 1)], 3, p.mark)
    p.line([(79, 10), (80, 1)], 3, p.mark)
    p.oval(82, 14, 15, 8, p.body, 14)
    p.oval(92, 18, 6, 5, p.light)
    p.eye(80, 12, 3.2)
    for x, y in ((26, 54), (38, 60), (48, 52), (58, 60), (63, 46), (66, 34), (72, 24), (34, 50), (56, 50)):
        p.oval(x, y, 4.2, 3.8, p.dark)


def person(p: Pen) -> None:
    p.line([(44, 62), (38, 90)], 13, p.dark)
    p.line([(56, 62), (62, 90)], 13, p.dark)
    p.box(28, 90, 44, 98, INK, 3)
    p.box(58, 90, 74, 98, INK, 3)
    p.line([(36, 38), (20, 58)], 9, p.body)
    p.line([(64, 38), (82, 50)], 9, p.body)
    p.oval(19, 60, 5, fill=SKIN)
    p.oval(84, 52, 5, fill=SKIN)
    p.box(33, 32, 67, 68, p.body, 9)
    p.line([(50, 36), (50, 64)], 2, p.dark)
    p.oval(50, 17, 15, 15, SKIN)
    p.wedge(50, 15, 16, 170, 350, BROWN)
    p.oval(55, 18, 2.2, fill=INK)
    p.oval(62, 18, 2, fill=INK)
    p.line([(54, 25), (61, 24)], 2, (180, 60, 60))


def robot(p: Pen) -> None:
    p.line([(50, 12), (50, 3)], 3, GREY)
    p.oval(50, 4, 4.5, fill=SUN)
    for x in (12, 78):
        p.box(x, 46, x + 10, 76, p.dark, 5)
    p.box(30, 78, 44, 98, p.dark, 2)
    p.box(56, 78, 70, 98, p.dark, 2)
    p.box(24, 44, 76, 82, p.body, 5)
    p.box(26, 10, 74, 42, p.body, 5)
    p.box(32, 17, 68, 31, INK, 4)
    p.oval(41, 24, 5, fill=(110, 255, 255))
    p.oval(59, 24, 5, fill=(110, 255, 255))
    p.box(38, 34, 62, 38, p.light)
    p.box(34, 52, 66, 74, (225, 228, 232), 3)
    for x, fill in ((41, (230, 60, 60)), (50, SUN), (59, (70, 190, 90))):
        p.oval(x, 60, 3.4, fill=fill)
    p.line([(39, 68), (61, 68)], 3, GREY)


def turtle(p: Pen) -> None:
    skin = (176, 190, 110)
    for x in (14, 56):
        p.box(x, 62, x + 15, 84, skin, 5)
    p.poly([(8, 62), (0, 72), (14, 70)], skin)
    p.oval(88, 54, 12, 10, skin)
    p.box(66, 52, 84, 68, skin, 6)
    p.wedge(42, 66, 40, 180, 360, p.body)
    p.box(2, 61, 82, 71, p.light, 4)
    p.poly([(30, 34), (54, 34), (62, 48), (42, 58), (22, 48)], p.dark)
    for a, b in (((30, 34), (24, 30)), ((54, 34), (60, 30)), ((62, 48), (80, 54)), ((22, 48), (4, 54))):
        p.line([a, b], 3, p.dark)
    p.eye(92, 51, 3.4)


def snail(p: Pen) -> None:
    skin = (226, 200, 150)
    p.poly([(2, 92), (20, 78), (70, 76), (80, 52), (95, 52), (96, 70), (86, 92)], skin)
    p.oval(88, 54, 9, 10, skin)
    p.line([(84, 48), (80, 30)], 3, skin)
    p.line([(92, 48), (96, 30)], 3, skin)
    p.oval(80, 29, 3.5, fill=INK)
    p.oval(96, 29, 3.5, fill=INK)
    p.oval(42, 54, 34, 32, p.body)
    p.curve([(42, 54), (50, 50), (48, 64), (34, 64), (28, 50), (40, 38), (58, 42), (64, 58), (54, 76)], 4.5, p.mark)


def crab(p: Pen) -> None:
    for side in (-1, 1):
        for i, (dx, dy) in enumerate(((42, 66), (40, 82), (30, 92))):
            p.line([(50 + side * 20, 60 + 6 * i), (50 + side * dx, dy - 8), (50 + side * (dx + 4), dy)], 5, p.dark)
        p.line([(50 + side * 24, 54), (50 + side * 40, 42)], 8, p.body)
        p.oval(50 + side * 38, 26, 13, 16, p.body, side * 14)
        x = 50 + side * 36
        p.poly([(x, 26), (x - side * 8, 2), (x + side * 7, 6)], (0, 0, 0, 0))
        p.line([(50 + side * 10, 44), (50 + side * 11, 30)], 4, p.body)
    p.oval(50, 62, 31, 22, p.body)
    p.oval(50, 57, 22, 11, p.light)
    for side in (-1, 1):
        p.eye(50 + side * 11, 28, 6)
    p.curve([(40, 70), (50, 75), (60, 70)], 3, p.mark)


def snake(p: Pen) -> None:
    path = [(4, 86), (16, 70), (30, 84), (44, 92), (56, 76), (48, 60), (58, 46), (74, 50), (84, 34)]
    p.curve(path, 14, p.body)
    for x, y in ((16, 73), (30, 83), (45, 89), (54, 76), (50, 60), (60, 49), (74, 48)):
        p.oval(x, y, 4.2, fill=p.dark)
    p.line([(94, 26), (101, 25)], 2.5, (230, 40, 70))
    p.oval(84, 27, 14, 11, p.body, -8)
    p.eye(87, 23, 4)


def bird(p: Pen) -> None:
    p.poly([(30, 50), (0, 38), (4, 54), (0, 66), (32, 62)], p.dark)
    p.oval(50, 56, 30, 17, p.body, -8)
    p.oval(56, 63, 18, 9, p.light, -8)
    p.oval(78, 42, 15, 14, p.body)
    p.poly([(90, 36), (103, 44), (90, 49)], (250, 150, 30) if p.body != (246, 136, 22) else SUN)
    p.poly([(38, 54), (64, 50), (52, 26), (32, 4), (22, 6), (28, 22), (24, 28)], p.dark)
    p.line([(30, 14), (46, 42)], 3, p.light)
    p.eye(81, 38, 4)


def butterfly(p: Pen) -> None:
    for side in (-1, 1):
        p.oval(50 + side * 24, 32, 26, 20, p.body, side * -38)
        p.oval(50 + side * 21, 72, 20, 16, p.dark, side * 40)
        p.oval(50 + side * 28, 28, 10, 8, p.light, side * -38)
        p.oval(50 + side * 24, 75, 7, fill=p.light)
        p.curve([(50, 26), (50 + side * 6, 12), (50 + side * 14, 5)], 3, INK if p.mark == INK else GREY)
    p.oval(50, 54, 6, 32, INK if p.mark == INK else GREY)
    p.oval(50, 24, 7, fill=INK if p.mark == INK else GREY)


def fish(p: Pen) -> None:
    p.poly([(30, 50), (2, 22), (10, 50), (2, 78)], p.dark)
    p.poly([(38, 32), (50, 10), (72, 32)], p.dark)
    p.poly([(44, 68), (50, 86), (62, 70)], p.dark)
    p.oval(60, 50, 38, 25, p.body)
    p.oval(62, 59, 26, 12, p.light)
    for x in (40, 52, 64):
        p.curve([(x, 33), (x - 5, 48), (x, 64)], 4, p.dark)
    p.poly([(62, 52), (48, 60), (60, 66)], p.dark)
    p.eye(81, 42, 6)
    p.curve([(97, 54), (90, 58), (84, 57)], 2.5, p.mark)


DRAWINGS = {
    draw.__name__: draw
    for draw in (
        dog,
        cat,
        rabbit,
        elephant,
        giraffe,
        person,
        robot,
        turtle,
        snail,
        crab,
        snake,
        bird,
        butterfly,
        fish,
    )
}

"""How a thing moves: the pose of a thing at any moment of its action.

A pose is a pure function of the thing and of time. The second action of an order-sensitive pair is, by construction,
the first one with time running backwards, so nothing but the order of frames can tell the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from mmretrieval.toyworld.vocabulary import ACTIONS, STAY


class Pose(NamedTuple):
    """Where a thing is (centre, pixels of the world), how large (1 = its size), how turned (degrees) and how opaque."""

    x: float
    y: float
    scale: float = 1.0
    angle: float = 0.0
    opacity: float = 1.0


class Course(NamedTuple):
    """What an action needs to know: its first and last place, its centre, and how much of it there is.

    ``amount`` means what the action makes of it: the size a growing thing starts from, the height of a jump, turns of
    a spin, beats of a shake, the radius of a circle.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    amount: float = 0.0
    direction: int = 1


Motion = Callable[[Course, float], Pose]


def _mix(a: float, b: float, u: float) -> float:
    return a + (b - a) * u


def _travel(course: Course, u: float) -> Pose:
    return Pose(_mix(course.start[0], course.end[0], u), _mix(course.start[1], course.end[1], u))


def _grow(course: Course, u: float) -> Pose:
    return Pose(*course.start, scale=_mix(course.amount, 1.0, u))


def _appear(course: Course, u: float) -> Pose:
    return Pose(*course.start, opacity=min(max((u - 0.35) / 0.25, 0.0), 1.0))


def _clockwise(course: Course, u: float) -> Pose:
    return Pose(*course.start, angle=360.0 * course.amount * u)


def _tip_over(course: Course, u: float) -> Pose:
    tilt = min(max((u - 0.2) / 0.5, 0.0), 1.0) ** 2
    return Pose(course.start[0], course.start[1] + course.amount * tilt, angle=90.0 * tilt * course.direction)


def _jump(course: Course, u: float) -> Pose:
    hop = abs(math.sin(3 * math.pi * u))
    return Pose(course.start[0], course.start[1] - course.amount * hop)


def _shake(course: Course, u: float) -> Pose:
    beat = math.sin(2 * math.pi * course.amount * u) if 0 < u < 1 else 0.0
    return Pose(course.start[0] + 5 * beat, course.start[1], angle=14 * beat)


def _flash(course: Course, u: float) -> Pose:
    return Pose(*course.start, opacity=1.0 if (u * course.amount) % 1.0 < 0.55 else 0.0)


def _jump_over(course: Course, u: float) -> Pose:
    pose = _travel(course, u)
    return pose._replace(y=pose.y - course.amount * 4 * u * (1 - u))


def _circle(course: Course, u: float) -> Pose:
    turn = course.direction * 2 * math.pi * u + math.atan2(
        course.start[1] - course.end[1], course.start[0] - course.end[0]
    )
    return Pose(course.end[0] + course.amount * math.cos(turn), course.end[1] + course.amount * math.sin(turn))


def _stay(course: Course, u: float) -> Pose:
    return Pose(*course.start)


def backwards(motion: Motion) -> Motion:
    """Return the motion that, on the course from end to start, is this one with time running the other way."""
    return lambda course, u: motion(course._replace(start=course.end, end=course.start), 1.0 - u)


MOTIONS: dict[str, Motion] = {
    "move_left": backwards(_travel),
    "move_right": _travel,
    "rise": _travel,
    "fall": backwards(_travel),
    "grow": _grow,
    "shrink": backwards(_grow),
    "appear": _appear,
    "disappear": backwards(_appear),
    "approach": _travel,
    "leave": backwards(_travel),
    "spin_clockwise": _clockwise,
    "spin_counterclockwise": backwards(_clockwise),
    "tip_over": _tip_over,
    "stand_up": backwards(_tip_over),
    "jump": _jump,
    "shake": _shake,
    "flash": _flash,
    "jump_over": _jump_over,
    "circle": _circle,
    "chase": _travel,
    STAY: _stay,
}

assert set(MOTIONS) == {*ACTIONS, STAY}

"""What happens in a clip, as data: nothing here is drawn, written or spoken yet.

A scene is a pure function of a random generator, so a clip can be made alone, in any order, on any core.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mmretrieval.toyworld.actions import MOTIONS, Course, Pose
from mmretrieval.toyworld.vocabulary import ACTIONS, COLOURS, KINDS, SETTINGS, STAY

SIZE = 128
"""Height and width of a frame in pixels."""
FPS = 16
FRAMES = 48
LOOKS = 10
"""Variants of each setting."""

KIND_NAMES = tuple(KINDS)
COLOUR_NAMES = tuple(COLOURS)
ROW_ACTIONS = tuple(a for a in ACTIONS if not ACTIONS[a].linked and a not in ("rise", "fall"))
COLUMN_ACTIONS = tuple(a for a in ACTIONS if not ACTIONS[a].linked and a not in ("move_left", "move_right"))
ROUND = frozenset({"ball", "star", "balloon", "flower", "butterfly", "snake", "key", "crab"})
"""Things whose falling over nobody would see; they never tip over or stand up."""


@dataclass(frozen=True)
class Thing:
    """One thing of a scene.

    Attributes:
        kind: Which kind of thing, a key of ``KINDS``.
        colour: A key of ``COLOURS``.
        action: What it does, a key of ``ACTIONS`` or ``stay``.
        role: "main", "other" (mentioned in the caption) or "distractor" (not mentioned).
        size: Longest side in pixels.
        facing: 1 = right, −1 = left.
        course: Where the action leads.
        begins: When the action begins, as a fraction of the scene.
        ends: When it ends, as a fraction of the scene.
    """

    kind: str
    colour: str
    action: str
    role: str
    size: int
    facing: int
    course: Course
    begins: float = 0.0
    ends: float = 1.0

    def pose(self, moment: float) -> Pose:
        """Return the pose at a moment, 0 = the scene's first frame, 1 = its last."""
        u = min(max((moment - self.begins) / (self.ends - self.begins), 0.0), 1.0)
        return MOTIONS[self.action](self.course, u)


@dataclass(frozen=True)
class Scene:
    """One shot: a setting, the things in it, and how the camera looks at it.

    Attributes:
        setting: A key of ``SETTINGS``.
        look: Which of the setting's ``LOOKS`` variants.
        things: From back to front; the main thing is last.
        relation: How the other thing relates to the main one: "" (none), "beside", "above", "below" (the other thing
            is above, or below), "linked" (the main thing's action is done to it) or "while" (it has its own action).
        camera: Top-left corner of the frame in the world, pixels, per frame.
        light: Gain of red, green and blue.
        cover: Where a foreground object stands, pixels from the left; None for none.
        first: Which frame of the scenery's own movement the scene begins with.
    """

    setting: str
    look: int
    things: tuple[Thing, ...]
    relation: str
    camera: tuple[tuple[int, int], ...]
    light: tuple[float, float, float]
    cover: int | None
    first: int

    @property
    def frames(self) -> int:
        """How many frames the scene lasts."""
        return len(self.camera)

    @property
    def main(self) -> Thing:
        """The thing the caption is about."""
        return self.things[-1]

    @property
    def other(self) -> Thing | None:
        """The second thing the caption mentions, if any."""
        return next((thing for thing in self.things if thing.role == "other"), None)


def draw_scene(rng: np.random.Generator, frames: int = FRAMES, setting: str | None = None) -> Scene:
    """Draw a scene.

    Args:
        rng: Where all chance comes from.
        frames: How long the scene lasts.
        setting: Where it takes place; drawn when not given.
    """
    setting = setting or _pick(rng, SETTINGS)
    action = _pick(rng, ACTIONS)
    kinds = [KIND_NAMES[i] for i in rng.permutation(len(KIND_NAMES))]
    colours = [COLOUR_NAMES[i] for i in rng.permutation(len(COLOUR_NAMES))]
    if action in ("tip_over", "stand_up"):
        kinds.sort(key=lambda kind: kind in ROUND)  # stable: still random among those that can
    if ACTIONS[action].linked:
        main, other, relation = *_linked(rng, action, kinds, colours), "linked"
    elif rng.random() < 0.3:
        main, other, relation = _side_by_side(rng, action, kinds, colours)
    else:
        main, other, relation = _alone(rng, action, kinds[0], colours[0]), None, ""
    things = [other, main] if other else [main]
    for i in range(min(int(rng.choice((0, 0, 0, 1, 1))), 3 - len(things))):
        things.insert(0, _distractor(rng, kinds[2 + i], colours[2 + i]))
    return Scene(
        setting=setting,
        look=int(rng.integers(LOOKS)),
        things=tuple(things),
        relation=relation,
        camera=draw_camera(rng, frames),
        light=tuple(float(g) for g in rng.uniform(0.86, 1.1) * rng.uniform(0.96, 1.04, 3)),
        cover=int(rng.integers(8, SIZE - 8)) if rng.random() < 0.35 else None,
        first=0,
    )


def draw_camera(rng: np.random.Generator, frames: int) -> tuple[tuple[int, int], ...]:
    """Draw a camera path: a slow pan plus the unrest of a hand, at most 8 pixels from the middle."""
    pan = np.linspace(-0.5, 0.5, frames)[:, None] * rng.uniform(-9, 9, 2) * (1.0, 0.5)
    unrest = rng.normal(0, 1, (frames, 2))
    smooth = np.stack([np.convolve(unrest[:, i], np.ones(4) / 4, mode="same") for i in (0, 1)], 1)
    path = np.clip(np.rint(pan + rng.uniform(0.2, 1.6) * smooth), -8, 8).astype(int)
    return tuple((int(x), int(y)) for x, y in path)


def _pick(rng: np.random.Generator, options: Iterable[str]) -> str:
    options = tuple(options)
    return options[int(rng.integers(len(options)))]


def _timing(rng: np.random.Generator) -> dict[str, float]:
    return {"begins": float(rng.uniform(0, 0.1)), "ends": float(rng.uniform(0.88, 1.0))}


def _facing(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _act(rng: np.random.Generator, action: str, size: int, centre: tuple[float, float], reach: tuple[float, float]):
    """Return the course and the facing of an action around a centre; ``reach`` is half the room it has, (x, y)."""
    (x, y), facing, amount, direction = centre, _facing(rng), 0.0, 1
    start = end = centre
    if action in ("move_left", "move_right"):
        facing = 1 if action == "move_right" else -1
        start, end = (x - facing * reach[0], y), (x + facing * reach[0], y)
    elif action in ("rise", "fall"):
        sign = 1 if action == "rise" else -1
        start, end = (x, y + sign * reach[1]), (x, y - sign * reach[1])
    elif action in ("grow", "shrink"):
        amount = float(rng.uniform(0.25, 0.4))
    elif action in ("spin_clockwise", "spin_counterclockwise"):
        amount = float(rng.uniform(0.9, 1.3))
    elif action in ("tip_over", "stand_up"):
        amount, direction = size * 0.12, facing
    elif action == "jump":
        amount = float(min(rng.uniform(16, 24), reach[1]))
    elif action == "shake":
        amount = float(rng.uniform(8, 11))
    elif action == "flash":
        amount = float(rng.uniform(4, 6))
    return Course(start, end, amount, direction), facing


def _alone(rng: np.random.Generator, action: str, kind: str, colour: str) -> Thing:
    size = int(rng.integers(70, 96) if action in ("grow", "shrink") else rng.integers(58, 80))
    if action in ("move_left", "move_right"):
        centre, reach = (64 + rng.uniform(-6, 6), rng.uniform(44, 94)), (rng.uniform(28, 42), 0.0)
    elif action in ("rise", "fall"):
        centre, reach = (rng.uniform(34, 94), 64 + rng.uniform(-5, 5)), (0.0, rng.uniform(26, 38))
    else:
        centre, reach = (rng.uniform(38, 90), rng.uniform(52, 88)), (0.0, 30.0)
    course, facing = _act(rng, action, size, (float(centre[0]), float(centre[1])), (float(reach[0]), float(reach[1])))
    return Thing(kind, colour, action, "main", size, facing, course, **_timing(rng))


def _side_by_side(rng: np.random.Generator, action: str, kinds: list[str], colours: list[str]):
    """Two things, each in its own half of the frame: left and right, or upper and lower."""
    rows = action in ROW_ACTIONS and (action not in COLUMN_ACTIONS or rng.random() < 0.4)
    upright = kinds[1] not in ROUND
    able = [a for a in (ROW_ACTIONS if rows else COLUMN_ACTIONS) if upright or a not in ("tip_over", "stand_up")]
    second = _pick(rng, able) if rng.random() < 0.4 else STAY
    first_half = rng.random() < 0.5
    things = []
    for i, (act, role) in enumerate(((action, "main"), (second, "other"))):
        sign = -1 if first_half == (i == 0) else 1
        size = int(rng.integers(56, 68) if act in ("grow", "shrink") else rng.integers(46, 60))
        if rows:
            centre, reach = (64 + rng.uniform(-8, 8), 66 + sign * rng.uniform(27, 32)), (rng.uniform(26, 40), 14.0)
        else:
            centre, reach = (64 + sign * rng.uniform(28, 33), 66 + rng.uniform(-10, 10)), (0.0, rng.uniform(22, 32))
        course, facing = _act(rng, act, size, (float(centre[0]), float(centre[1])), (float(reach[0]), float(reach[1])))
        things.append(Thing(kinds[i], colours[i], act, role, size, facing, course, **_timing(rng)))
    if second != STAY:
        relation = "while"
    else:
        relation = ("below" if first_half else "above") if rows else "beside"
    return things[0], things[1], relation


def _linked(rng: np.random.Generator, action: str, kinds: list[str], colours: list[str]) -> tuple[Thing, Thing]:
    """Two things, the first doing something to the second."""
    way, y, timing = _facing(rng), float(rng.uniform(56, 88)), _timing(rng)
    sizes = [int(s) for s in rng.integers(40, 51, 2)]
    touching = 0.5 * sum(sizes) * 0.9
    other_action, facing = STAY, [way, _facing(rng)]
    if action in ("approach", "leave"):
        target = (64 + way * float(rng.uniform(38, 45)), y)
        near, far = (target[0] - way * touching, y), (64 - way * float(rng.uniform(42, 50)), y)
        course = Course(far, near) if action == "approach" else Course(near, far)
        facing[0] = way if action == "approach" else -way
        other_course = Course(target, target)
    elif action == "jump_over":
        target = (64 + float(rng.uniform(-5, 5)), 92.0)
        height = 0.5 * sum(sizes) + float(rng.uniform(8, 16))
        course = Course((target[0] - way * 44, 90.0), (target[0] + way * 44, 90.0), height)
        other_course = Course(target, target)
    elif action == "circle":
        sizes = [int(s) for s in rng.integers(34, 43, 2)]
        target, radius, angle = (64.0, 66.0), float(rng.uniform(38, 43)), float(rng.uniform(0, 2 * math.pi))
        first = (target[0] + radius * math.cos(angle), target[1] + radius * math.sin(angle))
        course, other_course = Course(first, target, radius, way), Course(target, target)
    else:  # chase: both run, the one behind the other
        gap, half = touching + float(rng.uniform(2, 8)), float(rng.uniform(26, 34))
        back = 64 - way * gap / 2
        course = Course((back - way * half, y), (back + way * half, y))
        other_course = Course((back + way * (gap - half), y), (back + way * (gap + half), y))
        other_action, facing[1] = ("move_right" if way > 0 else "move_left"), way
    main = Thing(kinds[0], colours[0], action, "main", sizes[0], facing[0], course, **timing)
    other = Thing(kinds[1], colours[1], other_action, "other", sizes[1], facing[1], other_course, **timing)
    return main, other


def _distractor(rng: np.random.Generator, kind: str, colour: str) -> Thing:
    """A small still thing near the edge that no caption mentions."""
    corner = (float(rng.choice((14, 114)) + rng.uniform(-5, 5)), float(rng.choice((16, 114)) + rng.uniform(-5, 5)))
    return Thing(kind, colour, STAY, "distractor", int(rng.integers(14, 20)), _facing(rng), Course(corner, corner))

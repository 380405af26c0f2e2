"""Pictures: boxes are where things are, and order-sensitive actions differ in nothing but order."""

from dataclasses import replace

import numpy as np
import pytest

from mmretrieval.toyworld.render import render
from mmretrieval.toyworld.scene import Scene, Thing, draw_scene
from mmretrieval.toyworld.sprites import sprite
from mmretrieval.toyworld.sprites.raster import DRAWINGS
from mmretrieval.toyworld.vocabulary import ACTIONS, KINDS, PAIRS, SETTINGS

FRAMES = 13


def scene_of(action: str, seed: int = 0) -> Scene:
    """Return a scene in which the main thing does something, seen by a camera that stands still."""
    for attempt in range(2000):
        scene = draw_scene(np.random.default_rng((seed, attempt)), FRAMES, "meadow")
        if scene.main.action == action:
            return replace(scene, camera=((0, 0),) * FRAMES, cover=None, look=0)
    raise AssertionError(action)


def centres(track) -> np.ndarray:
    return np.array([((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in track])


def test_every_kind_has_a_drawing():
    assert set(DRAWINGS) == set(KINDS)


@pytest.mark.parametrize("action", ACTIONS)
def test_boxes_enclose_exactly_the_pixels_of_the_thing(action):
    scene = replace(scene_of(action), light=(1.0, 1.0, 1.0))
    alone = replace(scene, things=(scene.main,))
    frames, (track,) = render(alone)
    empty, _ = render(replace(scene, things=()))
    assert any(track)
    for with_it, without, box in zip(frames, empty, track, strict=True):
        ys, xs = np.nonzero((with_it != without).any(-1))
        if box is None:
            assert not len(xs)
            continue
        x0, y0, x1, y1 = box
        assert 0 <= x0 < x1 <= 128 and 0 <= y0 < y1 <= 128
        assert x0 <= xs.min() and xs.max() < x1 and y0 <= ys.min() and ys.max() < y1
        slack = 3  # the outermost pixels are nearly transparent
        assert xs.min() - x0 <= slack and x1 - 1 - xs.max() <= slack
        assert ys.min() - y0 <= slack and y1 - 1 - ys.max() <= slack


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_pair_of_actions_is_one_film_run_both_ways(first, second):
    scene = scene_of(first, seed=1)
    thing = replace(scene.main, begins=0.0, ends=1.0)
    there = replace(scene, things=(thing,))
    course = thing.course._replace(start=thing.course.end, end=thing.course.start)
    back = replace(scene, things=(replace(thing, action=second, course=course),))
    (_, (forwards,)), (_, (backwards,)) = render(there), render(back)
    for a, b in zip(forwards, reversed(backwards), strict=True):
        assert (a is None) == (b is None)
        assert a is None or np.abs(np.subtract(a, b)).max() <= 1


@pytest.mark.parametrize(
    ("action", "axis", "sign"), [("move_left", 0, -1), ("move_right", 0, 1), ("rise", 1, -1), ("fall", 1, 1)]
)
def test_things_go_where_the_words_say(action, axis, sign):
    scene = scene_of(action)
    _, tracks = render(scene)
    steps = sign * np.diff(centres(tracks[-1])[:, axis])
    assert (steps >= -1).all() and steps.sum() > 25


@pytest.mark.parametrize(("action", "sign"), [("grow", 1), ("shrink", -1)])
def test_things_grow_and_shrink(action, sign):
    _, tracks = render(scene_of(action))
    widths = sign * np.diff([box[2] - box[0] for box in tracks[-1]])
    assert (widths >= 0).all() and widths.sum() > 12


def test_things_appear_and_disappear():
    (_, appear), (_, disappear) = render(scene_of("appear")), render(scene_of("disappear"))
    assert appear[-1][0] is None and appear[-1][-1] is not None
    assert disappear[-1][0] is not None and disappear[-1][-1] is None


@pytest.mark.parametrize(("action", "sign"), [("approach", -1), ("leave", 1)])
def test_things_come_and_go(action, sign):
    scene = scene_of(action)
    _, tracks = render(scene)
    target = next(track for thing, track in zip(scene.things, tracks, strict=True) if thing.role == "other")
    distance = np.linalg.norm(centres(tracks[-1]) - centres(target), axis=1)
    assert sign * (distance[-1] - distance[0]) > 20


def test_clockwise_is_clockwise():
    """A key points right; a quarter turn clockwise makes it point down, its ring on top."""
    ring_left = np.asarray(sprite("key", "red", 40).mask)
    ring_up = np.asarray(sprite("key", "red", 40, turn=90).mask)
    assert ring_left.shape == ring_up.shape[::-1]
    third = len(ring_up) // 3
    assert ring_up[:third].sum() > 1.2 * ring_up[-third:].sum()
    poses = {a: scene_of(a).main.pose(0.5).angle - scene_of(a).main.pose(0.3).angle for a in PAIRS[5]}
    assert PAIRS[5] == ("spin_clockwise", "spin_counterclockwise")
    assert poses["spin_clockwise"] > 20 and poses["spin_counterclockwise"] < -20


@pytest.mark.parametrize("action", ["move_left", "move_right"])
def test_things_look_where_they_go(action):
    assert scene_of(action).main.facing == (1 if action == "move_right" else -1)
    right, left = (np.asarray(sprite("dog", "red", 40, flipped=flip).colours) for flip in (False, True))
    assert (right == left[:, ::-1]).all() and (right != left).any()


def test_no_two_kinds_look_alike_at_the_size_a_model_sees():
    shapes = [np.asarray(sprite(kind, "red", 20).mask.resize((20, 20))).astype(float) / 255 for kind in KINDS]
    for i, a in enumerate(shapes):
        for b in shapes[:i]:
            assert np.abs(a - b).mean() > 0.05


def test_colours_fill_the_bodies():
    for kind in KINDS:
        colours, mask = sprite(kind, "red", 40)
        seen = np.asarray(mask) > 200
        differ = np.abs(np.subtract(colours, sprite(kind, "blue", 40).colours, dtype=int))[seen].max(-1) > 60
        assert differ.mean() > 0.15, kind


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_move_and_differ(setting):
    still = ((0, 0),) * FRAMES
    frames, _ = render(Scene(setting, 0, (), "", still, (1.0, 1.0, 1.0), None, 0))
    assert (frames[0] != frames[-1]).any(-1).mean() > 0.002
    assert len(np.unique(frames[0].reshape(-1, 3), axis=0)) > 20
    for other in SETTINGS:
        if other != setting:
            seen, _ = render(Scene(other, 0, (), "", still[:1], (1.0, 1.0, 1.0), None, 0))
            assert np.abs(frames[0].astype(int) - seen[0]).mean() > 20


def test_a_foreground_object_covers_a_part():
    scene = replace(scene_of("shake"), light=(1.0, 1.0, 1.0))
    open_view, tracks = render(scene)
    x0, _, x1, _ = tracks[-1][0]
    covered, same = render(replace(scene, cover=(x0 + x1) // 2))
    assert same == tracks
    assert (open_view[0] != covered[0]).any()


def test_things_are_data():
    thing = scene_of("jump").main
    assert isinstance(thing, Thing) and thing == replace(thing) and hash(thing) == hash(replace(thing))

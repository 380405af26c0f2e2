from __future__ import annotations

import numpy as np
import pytest
from fakes import video
from makers import pictures, write_video

from mmretrieval.collection.cutting import Cutting, cut
from mmretrieval.collection.shots import find_cuts, find_shots, picture_differences
from mmretrieval.collection.stillness import is_black, repeats
from mmretrieval.errors import CollectionError
from mmretrieval.media.video import open_video


@pytest.mark.parametrize(
    ("duration", "spans"),
    [
        (0.5, [(0, 0.5)]),
        (4.0, [(0, 4.0)]),
        (4.5, [(0, 3), (3, 4.5)]),
        (6.0, [(0, 3), (3, 6)]),
        (6.9, [(0, 3), (3, 6)]),
        (7.0, [(0, 3), (3, 6), (6, 7.0)]),
    ],
)
def test_windows(duration, spans):
    assert cut(duration, 3.0) == spans


@pytest.mark.parametrize(
    ("duration", "stride", "spans"),
    [
        (6.0, 1.5, [(0, 3), (1.5, 4.5), (3, 6)]),
        (5.0, 1.0, [(0, 3), (1, 4), (2, 5)]),
        (5.5, 1.0, [(0, 3), (1, 4), (2, 5), (3, 5.5)]),
        (12.0, 5.0, [(0, 3), (5, 8), (10, 12)]),
        (3.5, 0.5, [(0, 3.5)]),
    ],
)
def test_windows_with_a_stride(duration, stride, spans):
    assert cut(duration, 3.0, stride) == spans


@pytest.mark.parametrize("stride", [None, 0.1, 0.7, 1.5, 3.0])
def test_windows_leave_out_less_than_the_shortest_end(stride):
    for duration in np.arange(0.3, 30, 0.37):
        spans = cut(duration, 3.0, stride)
        assert spans[0][0] == 0 and duration - spans[-1][1] < 1
        assert all(later[0] <= earlier[1] for earlier, later in zip(spans, spans[1:]))
        assert all(end <= duration and end > start for start, end in spans)


def test_shots_are_cut_by_themselves_and_short_ones_join_their_neighbour():
    cutting = Cutting(window=3.0, shots=True)
    assert cutting.spans(12.0, [2.0, 7.5]) == [(0, 2), (2, 5), (5, 7.5), (7.5, 10.5), (10.5, 12)]
    assert cutting.spans(6.0, [0.4, 2.0, 2.5, 5.5]) == [(0, 2), (2, 6)]
    assert cutting.spans(6.0) == [(0, 3), (3, 6)]


def test_the_name_tells_ways_of_cutting_apart():
    ways = [Cutting(), Cutting(4), Cutting(stride=1), Cutting(shots=True), Cutting(keep_still=True)]
    assert len({way.name for way in ways}) == len(ways)
    assert Cutting().name == Cutting(stride=3.0).name == "3 s every 3 s"
    assert Cutting(3, 1.5, True, True).name == "3 s every 1.5 s, inside shots, still ones kept"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0.2}, "a window lasts at least 1 s, got 0.2 s"),
        ({"window": float("nan")}, "a window lasts at least 1 s, got nan s"),
        ({"stride": 0.0}, "moments start at least 0.1 s apart, got a stride of 0 s"),
    ],
)
def test_what_nothing_can_be_cut_by(options, message):
    with pytest.raises(CollectionError) as caught:
        Cutting(**options)
    assert str(caught.value) == message


# --- shots


def scene(seed: int, frames: int, speed: int = 2) -> list[np.ndarray]:
    """A camera that pans over a coloured scene of its own."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 24, 3)).astype(np.uint8)
    wide = np.repeat(np.repeat(coarse, 16, axis=0), 16, axis=1)
    return [np.roll(wide, -speed * number, axis=1)[:, :128].copy() for number in range(frames)]


def test_cuts_are_found_where_they_are(tmp_path):
    frames = [*scene(0, 40), *scene(1, 33), *scene(2, 50)]
    path = write_video(tmp_path / "cuts.mp4", frames, fps=20)
    with open_video(path, "pyav") as reader:
        found = find_shots(reader)
    assert len(found) == 2
    np.testing.assert_allclose(found, [40 / 20, 73 / 20], atol=0.101)


@pytest.mark.parametrize("speed", [0, 1, 6])
def test_motion_is_no_cut(tmp_path, speed):
    path = write_video(tmp_path / "pan.mp4", scene(3, 80, speed), fps=20)
    with open_video(path, "pyav") as reader:
        assert find_shots(reader) == []


def test_a_fade_is_no_cut(tmp_path):
    one, other = scene(4, 1)[0].astype(float), scene(5, 1)[0].astype(float)
    mixed = [(one * (1 - share) + other * share).astype(np.uint8) for share in np.linspace(0, 1, 60)]
    path = write_video(tmp_path / "fade.mp4", [*scene(4, 20, 0), *mixed, *scene(5, 20, 0)], fps=20)
    with open_video(path, "pyav") as reader:
        assert find_shots(reader) == []


def test_a_video_longer_than_what_is_compared_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("mmretrieval.collection.shots.AT_ONCE", 7)
    path = write_video(tmp_path / "cuts.mp4", [*scene(0, 28), *scene(1, 28)], fps=20)
    with open_video(path, "pyav") as reader:
        np.testing.assert_allclose(find_shots(reader), [1.4], atol=0.101)


def test_differences_are_none_between_equals_and_large_between_others():
    same = np.stack([scene(0, 1)[0][:24, :24]] * 2)
    assert picture_differences(same).tolist() == [0.0]
    black_white = np.stack([np.zeros((24, 24, 3), np.uint8), np.full((24, 24, 3), 255, np.uint8)])
    assert picture_differences(black_white).tolist() == [1.0]


def test_a_cut_stands_out_from_what_is_around_it():
    assert find_cuts(np.array([0.01, 0.02, 0.5, 0.02])) == [2]
    assert find_cuts(np.array([0.4, 0.5, 0.45, 0.5])) == []
    assert find_cuts(np.array([0.6])) == [0]
    assert find_cuts(np.array([])) == []


# --- stillness


def clip(*frames: np.ndarray) -> np.ndarray:
    return np.stack(frames).transpose(0, 3, 1, 2)


def test_black_is_black_and_a_lamp_at_night_is_not():
    dark = np.random.default_rng(0).integers(0, 20, (32, 32, 3)).astype(np.uint8)
    assert is_black(clip(dark, dark))
    lamp = dark.copy()
    lamp[3:5, 3:6] = 200
    assert not is_black(clip(dark, lamp))
    assert not is_black(clip(*pictures(3, 32, 32)))


def test_a_still_picture_repeats_the_frame_before_it():
    picture = pictures(1, 32, 32)[0]
    noisy = np.clip(picture.astype(int) + np.random.default_rng(0).integers(-6, 7, picture.shape), 0, 255)
    frames = clip(picture, noisy.astype(np.uint8))
    assert repeats(frames, frames[0])
    moved = picture.copy()
    moved[10, 10] = 255 - moved[10, 10]
    assert not repeats(clip(picture, moved), frames[0])
    assert not repeats(frames, clip(moved)[0])


def test_shaping_frames_as_they_are_read_is_reading_them_and_then_shaping(tmp_path):
    path = video(tmp_path / "a.mp4", "red", "green")
    for backend in ("pyav", "decord"):
        with open_video(path, backend) as reader:
            whole = reader.read([3, 1, 1, 9], at_most=24)
            shaped = reader.read([3, 1, 1, 9], at_most=24, shape=lambda frame: frame[:5, :7, 0])
            assert (shaped == whole[:, :5, :7, 0]).all() and shaped.shape == (4, 5, 7)
            assert (reader.read([1, 3, 9]) == reader.read([9, 3, 1])[::-1]).all()

import numpy as np
import pytest

from mmretrieval.media.sampling import (
    Sampling,
    dense_clips,
    dense_indices,
    span_indices,
    uniform_clips,
    uniform_indices,
)

CASES = [(48, 8), (48, 7), (5, 8), (1, 4), (8, 8), (9, 8), (1000, 3)]


@pytest.mark.parametrize(("total", "frames"), CASES)
def test_uniform_takes_the_centre_of_each_segment(total, frames):
    expected = []
    for segment in range(frames):
        first, last = segment * total / frames, (segment + 1) * total / frames
        expected.append(int((first + last) / 2 + 1e-9))
    assert uniform_indices(total, frames).tolist() == expected


@pytest.mark.parametrize(("total", "frames"), CASES)
def test_uniform_training_draws_inside_each_segment_and_reaches_all_frames(total, frames):
    rng = np.random.default_rng(0)
    draws = np.stack([uniform_indices(total, frames, rng) for _ in range(4000 if total < 100 else 20)])
    edges = np.arange(frames + 1) * total / frames
    assert (draws >= np.floor(edges[:-1])).all() and (draws < np.maximum(edges[1:], 1)).all()
    assert (np.diff(draws, axis=1) >= 0).all()
    if total < 100:
        assert set(draws.ravel()) == set(range(total))


def test_uniform_is_repeatable_and_random():
    draw = [uniform_indices(48, 8, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert draw[0] == draw[1] != draw[2]


@pytest.mark.parametrize("stride", [1, 2, 3.5, 0.5])
@pytest.mark.parametrize(("total", "frames"), CASES)
def test_dense_steps_by_the_stride_and_stays_inside(total, frames, stride):
    reach = int((frames - 1) * stride)
    starts = set()
    for rng in [None, *map(np.random.default_rng, range(60))]:
        indices = dense_indices(total, frames, stride, rng)
        first = int(indices[0])
        assert indices.tolist() == [min(total - 1, first + int(step * stride)) for step in range(frames)]
        assert first == 0 or first + reach <= total - 1
        starts.add(first)
    assert len(starts) > 1 or reach >= total - 1


def test_dense_middle():
    assert dense_indices(48, 8, 2).tolist() == list(range(16, 32, 2))
    assert dense_indices(5, 8, 1).tolist() == [0, 1, 2, 3, 4, 4, 4, 4]


@pytest.mark.parametrize("call", [lambda: uniform_indices(0, 8), lambda: dense_indices(8, 0, 1)])
def test_nothing_to_choose(call):
    with pytest.raises(ValueError, match="frames were asked for; both must be at least 1"):
        call()


def test_stride_must_be_positive():
    with pytest.raises(ValueError) as caught:
        dense_indices(8, 2, 0)
    assert str(caught.value) == "a stride of 0 frames was asked for; it must be above 0"


def test_span_takes_the_frames_inside():
    times = np.cumsum([0, *np.random.default_rng(0).uniform(0.02, 0.15, 39)])
    for start, end in [(None, None), (0.5, None), (None, 1.0), (0.3, 2.2), (times[3], times[7])]:
        expected = [i for i, t in enumerate(times) if (start or 0) <= t < (np.inf if end is None else end)]
        assert span_indices(times, start, end).tolist() == expected


def test_span_between_two_frames_shows_the_one_on_screen():
    times = np.array([0.0, 1.0, 2.0])
    assert span_indices(times, 1.2, 1.7).tolist() == [1]
    assert span_indices(times, 2.5, 2.9).tolist() == [2]


def test_span_written_as_a_decimal_hits_its_frame():
    times = np.arange(90) / 30
    assert span_indices(times, 0.033333, 0.066667).tolist() == [1]


class TestPublished:
    """The samplers of arXiv 2010.11757: golden vectors made with the published code, which counts from 1."""

    def test_uniform_clips(self):
        one = [19, 57, 94, 132, 169, 207, 244, 282]
        for clips, shifts in ((1, [0]), (2, [0, 1]), (3, [-1, 0, 1])):
            expected = [[place + shift for place in one] for shift in shifts]
            assert (uniform_clips(300, 8, clips) + 1).tolist() == expected

    def test_uniform_clips_of_a_short_video(self):
        assert (uniform_clips(5, 8)[0] + 1).tolist() == [1, 2, 3, 4, 4, 4, 4, 5]

    def test_dense_clips(self):
        chosen = dense_clips(300, 8, 2, 3) + 1
        assert chosen.tolist() == [list(range(start, start + 16, 2)) for start in (1, 143, 285)]
        assert (dense_clips(10, 8, 2)[0] + 1).tolist() == [1, 3, 5, 7, 9, 1, 3, 5]

    def test_uniform_training(self):
        drawn = uniform_indices(300, 8, np.random.RandomState(0), shared=True)
        assert (drawn + 1).tolist() == [23, 60, 97, 134, 171, 208, 245, 282]

    def test_the_global_generator_is_never_touched(self):
        before = np.random.get_state()[1].copy()
        uniform_clips(5, 8, 10)
        dense_clips(5, 8, 2, 3)
        for total in (5, 300):
            uniform_indices(total, 8, np.random.default_rng(0), shared=True)
            dense_indices(total, 8, 2, np.random.default_rng(0), wrap=True)
        assert (np.random.get_state()[1] == before).all()

    def test_a_range_that_starts_late_is_capped_at_its_own_end(self):
        # the published code caps the numbers of files at the length of the range: 101–200 would all become 100
        span = span_indices(np.arange(300) / 25, 100 / 25, 200 / 25)
        for sampling in (Sampling("uniform", 8), Sampling("dense", 8, stride=16, clips=3)):
            chosen = span[sampling.evaluate(len(span))]
            assert chosen.min() >= 100 and 180 < chosen.max() < 200 and len(np.unique(chosen)) >= 8


def published_uniform(total, frames, clips):
    """The rule as it is told, one frame at a time."""
    tick = total / frames
    result = []
    for shift in range(-clips // 2 + 1, clips // 2 + 1):
        shift = tick / 2 - 1e-4 if shift >= tick / 2 else max(shift, -tick / 2)
        result.append([int(tick / 2 + shift + tick * j) for j in range(frames)])
    return result


@pytest.mark.parametrize("clips", [1, 2, 3, 10])
@pytest.mark.parametrize(("total", "frames"), [(48, 8), (9, 8), (17, 8), (33, 16), (1000, 3)])
def test_uniform_clips_stay_in_their_segments(total, frames, clips):
    chosen = uniform_clips(total, frames, clips)
    assert chosen.tolist() == published_uniform(total, frames, clips)
    edges = np.arange(frames + 1) * total / frames
    assert (chosen >= np.floor(edges[:-1])).all() and (chosen < edges[1:]).all()


@pytest.mark.parametrize("total", [1, 5, 8])
def test_clips_of_a_short_video_differ_and_are_always_the_same(total):
    chosen = uniform_clips(total, 8, 3)
    assert chosen.shape == (3, 8) and chosen.min() >= 0 and chosen.max() < total
    assert (chosen == uniform_clips(total, 8, 3)).all() and (np.diff(chosen, axis=1) >= 0).all()
    assert total == 1 or len({tuple(clip) for clip in chosen}) == 3


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
@pytest.mark.parametrize(("total", "frames", "per_group"), [(300, 8, 1), (300, 8, 2), (17, 8, 4), (64, 8, 8)])
def test_shared_training_draws_one_place_for_all_segments(total, frames, per_group, kind):
    groups = frames // per_group
    length = total // groups
    seen = set()
    for seed in range(300):
        drawn = uniform_indices(total, frames, kind(seed), shared=True, per_group=per_group).reshape(groups, per_group)
        places = drawn - np.arange(groups)[:, None] * length
        assert (places == places[0]).all() and places.min() >= 0 and places.max() < length
        assert (np.diff(drawn.ravel()) > 0).all()
        seen |= set(places[0].tolist())
    assert seen == set(range(length))


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
def test_shared_training_on_a_short_video_draws_any_of_its_frames(kind):
    drawn = np.stack([uniform_indices(5, 8, kind(seed), shared=True) for seed in range(200)])
    assert drawn.shape == (200, 8) and (np.diff(drawn, axis=1) >= 0).all()
    assert set(drawn.ravel()) == set(range(5)) and any(0 not in draw for draw in drawn)
    # eight frames are enough for eight single ones, not for four groups of three different ones
    assert len(set(uniform_indices(8, 8, kind(0), shared=True))) == 8
    assert len(set(uniform_indices(8, 12, kind(0), shared=True, per_group=3))) < 12


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
def test_dense_training_draws_windows_that_wrap(kind):
    starts = set()
    for seed in range(400):
        drawn = dense_indices(40, 8, 2, kind(seed), wrap=True)
        assert drawn.tolist() == list(range(drawn[0], drawn[0] + 16, 2))
        starts.add(int(drawn[0]))
    assert starts == set(range(24))
    for total in (1, 3, 10, 16):
        assert dense_indices(total, 8, 2, kind(0), wrap=True).tolist() == [2 * step % total for step in range(8)]


def test_frames_per_group_must_divide_the_frames():
    for arguments in ({"shared": True, "per_group": 3}, {"per_group": 2}):
        with pytest.raises(ValueError) as caught:
            uniform_indices(300, 8, np.random.default_rng(0), **arguments)
        assert str(caught.value) == (
            f"{arguments['per_group']} frames per group of 8 were asked for; "
            "it must divide them, and be 1 unless shared"
        )


def test_clips_must_be_some():
    for choose in (lambda: uniform_clips(8, 8, 0), lambda: dense_clips(8, 8, 1, 0)):
        with pytest.raises(ValueError) as caught:
            choose()
        assert str(caught.value) == "0 clips were asked for; at least 1 is needed"


class TestSampling:
    def test_it_chooses_as_the_functions_do(self):
        uniform, dense = Sampling(per_group=2, clips=3), Sampling("dense", 8, stride=4, clips=3)
        assert (uniform.evaluate(100) == uniform_clips(100, 8, 3)).all()
        assert (dense.evaluate(100) == dense_clips(100, 8, 4, 3)).all()
        expected = uniform_indices(100, 8, np.random.default_rng(1), shared=True, per_group=2)
        assert (uniform.train(100, np.random.default_rng(1)) == expected).all()
        expected = dense_indices(100, 8, 4, np.random.default_rng(1), wrap=True)
        assert (dense.train(100, np.random.default_rng(1)) == expected).all()

    @pytest.mark.parametrize(
        ("sampling", "total", "expected"),
        [
            (
                Sampling("uniform", 8),
                300,
                "uniform, 1 clip of 8 frames: 8 of 300 frames, counted from 0: 18, 56, 93, 131, 168, 206, 243, 281",
            ),
            (
                Sampling("dense", 32, stride=2, clips=10),
                300,
                "dense, 10 clips of 32 frames, 2 apart: 187 of 300 frames, counted from 0: "
                "0, 2, 4, … 62; 26, 28, 30, … 88; …; 236, 238, 240, … 298",
            ),
            (
                Sampling("uniform", 8),
                5,
                "uniform, 1 clip of 8 frames: 5 of 5 frames, counted from 0: 0, 1, 2, 3, 3, 3, 3, 4 "
                "(so short a video that frames repeat)",
            ),
            (
                Sampling("dense", 4, stride=2),
                3,
                "dense, 1 clip of 4 frames, 2 apart: 3 of 3 frames, counted from 0: 0, 2, 1, 0 "
                "(so short a video that frames repeat)",
            ),
        ],
    )
    def test_it_says_which_frames_are_looked_at(self, sampling, total, expected):
        assert sampling.describe(total) == expected

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"kind": "random"}, "the sampling is 'random'; 'uniform' and 'dense' are allowed"),
            ({"stride": 2}, "uniform sampling has no stride, got 2; 'dense' has one"),
            (
                {"kind": "dense", "per_group": 2},
                "dense sampling has no groups, got 2 frames per group; 'uniform' has them",
            ),
        ],
    )
    def test_what_cannot_be(self, values, expected):
        with pytest.raises(ValueError) as caught:
            Sampling(**values)
        assert str(caught.value) == expected

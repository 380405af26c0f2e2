import numpy as np
import pytest

from mmretrieval.media.sampling import dense_indices, span_indices, uniform_indices

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

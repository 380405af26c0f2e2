import numpy as np
import pytest
import torch

from mmretrieval.media.transforms import (
    CROP_SCALES,
    fit,
    jittered_crop,
    multi_scale_crop,
    normalize,
    resize,
    resize_shorter_side,
)


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)


def reference(frames, size):
    values = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    return torch.nn.functional.interpolate(values, (size, size), mode="bilinear", antialias=True)


@pytest.mark.parametrize("size", [16, 40, 56])
def test_evaluation_takes_the_middle_square(frames, size):
    result = fit(frames, size)
    assert result.shape == (3, 3, size, size) and result.dtype == torch.uint8 and result.is_contiguous()
    assert (result.float() - reference(frames[:, :, 10:50], size)).abs().max() <= 1


def test_right_size_is_left_alone(frames):
    square = frames[:, :, 10:50]
    assert torch.equal(fit(square, 40), torch.from_numpy(square).permute(0, 3, 1, 2))


def test_training_draws_squares_of_80_to_100_percent_everywhere():
    # pixels that hold their own position tell which square was taken
    y, x = np.mgrid[:200, :240]
    frames = np.stack([y, x, np.zeros_like(x)], axis=-1)[None].astype(np.uint8)
    tops, lefts, sides = [], [], []
    for seed in range(200):
        square = fit(frames, 100, np.random.default_rng(seed))[0].float()
        top, bottom = square[0, 0].mean(), square[0, -1].mean()
        left, right = square[1, :, 0].mean(), square[1, :, -1].mean()
        side = float(bottom - top) * 100 / 99
        assert left < right  # never mirrored
        assert side == pytest.approx(float(right - left) * 100 / 99, abs=2)
        tops.append(float(top)), lefts.append(float(left)), sides.append(side)
    assert 200 * 0.8**0.5 - 3 < min(sides) < 185 and 195 < max(sides) < 203
    assert min(tops) < 3 and max(tops) > 12 and min(lefts) < 3 and max(lefts) > 45


def test_flip_only_when_asked(frames):
    drawn = [fit(frames, 16, np.random.default_rng(seed), flip=True) for seed in range(20)]
    plain = [fit(frames, 16, np.random.default_rng(seed)) for seed in range(20)]
    same = [torch.equal(a, b) for a, b in zip(drawn, plain)]
    mirrored = [(a.flip(-1).float() - b.float()).abs().max() <= 1 for a, b in zip(drawn, plain)]
    assert any(same) and any(mirrored) and all(s != m for s, m in zip(same, mirrored))


def test_normalize_ints_and_floats(frames):
    values = resize(frames, 8, 8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    for result in (normalize(values, mean, std), normalize(values.float() / 255, mean, std)):
        for channel in range(3):
            expected = (values[:, channel].float() / 255 - mean[channel]) / std[channel]
            torch.testing.assert_close(result[:, channel], expected)
    assert normalize(values[None], mean, std).shape == (1, 3, 3, 8, 8)


def published_crops(height, width, size):
    """Every (top, left, tall, wide) that the published rule can draw, spelt out."""
    sides = []
    for scale in (1, 0.875, 0.75, 0.66):
        side = int(min(height, width) * scale)
        sides.append(size if abs(side - size) < 3 and size <= min(height, width) else side)
    crops = set()
    for i, tall in enumerate(sides):
        for j, wide in enumerate(sides):
            if abs(i - j) > 1:
                continue
            h, w = (height - tall) // 4, (width - wide) // 4
            corners = [(0, 0), (0, 4 * w), (4 * h, 0), (4 * h, 4 * w)]
            edges = [(2 * h, 0), (2 * h, 4 * w), (4 * h, 2 * w), (0, 2 * w)]
            quarters = [(h, w), (h, 3 * w), (3 * h, w), (3 * h, 3 * w)]
            crops |= {(top, left, tall, wide) for top, left in [(2 * h, 2 * w), *corners, *edges, *quarters]}
    return crops


def drawn_crops(monkeypatch, height, width, size, draws, **options):
    """The (top, left, tall, wide) that were cut out of frames whose pixels hold their own position."""
    import mmretrieval.media.transforms as module

    y, x = np.mgrid[:height, :width]
    frames = np.stack([y, x, np.zeros_like(x)], axis=-1)[None].astype(np.int64)
    cut = set()

    def record(crop, tall, wide, resample="bilinear"):
        assert (tall, wide) == (size, size)
        cut.add(
            (
                int(crop[0, 0, 0, 0]),
                int(crop[..., 1].min()),
                *crop.shape[1:3],
                bool(crop[0, 0, 0, 1] > crop[..., 1].min()),
            )
        )

    monkeypatch.setattr(module, "resize", record)
    rng = np.random.default_rng(0)
    for _ in range(draws):
        multi_scale_crop(frames, size, rng, **options)
    return cut


@pytest.mark.parametrize(("height", "width", "size"), [(64, 90, 56), (90, 64, 47), (57, 57, 56), (55, 80, 56)])
def test_multi_scale_crops_are_the_published_ones(monkeypatch, height, width, size):
    cut = drawn_crops(monkeypatch, height, width, size, 1500)
    assert {crop[:4] for crop in cut} == published_crops(height, width, size)
    assert not any(mirrored for *_, mirrored in cut)
    assert all(top + tall <= height and left + wide <= width for top, left, tall, wide, _ in cut)


def test_multi_scale_crop_of_the_right_size_is_left_alone(frames):
    # 40 px are within 3 of 42, but 42 do not fit; all frames are cut alike
    square = frames[:, :, :40]
    drawn = [multi_scale_crop(square, 39, np.random.default_rng(seed), scales=[1.0]) for seed in range(20)]
    values = torch.from_numpy(square).permute(0, 3, 1, 2)
    assert all(torch.equal(crop, values[:, :, :39, :39]) for crop in drawn)
    assert multi_scale_crop(square, 42, np.random.default_rng(0)).shape == (3, 3, 42, 42)


def test_multi_scale_crop_of_frames_smaller_than_the_crop():
    tiny = np.random.default_rng(0).integers(0, 256, (2, 1, 3, 3), dtype=np.uint8)
    for seed in range(20):
        crop = multi_scale_crop(tiny, 8, np.random.default_rng(seed))
        assert crop.shape == (2, 3, 8, 8) and crop.dtype == torch.uint8 and crop.is_contiguous()
    assert CROP_SCALES == (1, 0.875, 0.75, 0.66)


def test_left_and_right_are_never_swapped_unless_asked(monkeypatch, frames):
    # the published code mirrors Something-Something, where "left to right" and "right to left" are classes
    assert not any(mirrored for *_, mirrored in drawn_crops(monkeypatch, 64, 90, 56, 200))
    flipped = [mirrored for *_, mirrored in drawn_crops(monkeypatch, 64, 90, 56, 1500, flip=True)]
    assert 0.4 < np.mean(flipped) < 0.6


class TestJitteredCrop:
    def test_it_is_cut_out_of_the_resized_frames(self, frames):
        sides, places = set(), set()
        for seed in range(150):
            crop = jittered_crop(frames, 24, np.random.default_rng(seed), shorter_side=(24, 28))
            assert crop.shape == (3, 3, 24, 24) and crop.dtype == torch.uint8 and crop.is_contiguous()
            rng = np.random.default_rng(seed)
            side = int(rng.integers(24, 29))
            scaled = resize(frames, side, 60 * side // 40)
            top, left = int(rng.integers(side - 23)), int(rng.integers(scaled.shape[3] - 23))
            assert torch.equal(crop, scaled[:, :, top : top + 24, left : left + 24])
            sides.add(side), places.add((top, left))
        assert sides == {24, 25, 26, 27, 28} and {top for top, _ in places} == {0, 1, 2, 3, 4}

    def test_mirrored_only_when_asked(self, frames):
        plain = [jittered_crop(frames, 24, np.random.default_rng(seed), False, (24, 28)) for seed in range(40)]
        drawn = [jittered_crop(frames, 24, np.random.default_rng(seed), True, (24, 28)) for seed in range(40)]
        same = [torch.equal(a, b) for a, b in zip(drawn, plain)]
        assert 8 < sum(same) < 32
        assert all(s or torch.equal(a.flip(-1), b) for s, a, b in zip(same, drawn, plain))

    def test_small_frames_are_enlarged(self):
        tiny = np.full((1, 2, 5, 3), 7, np.uint8)
        assert (jittered_crop(tiny, 30, np.random.default_rng(0), shorter_side=(30, 31)) == 7).all()

    def test_a_crop_that_does_not_fit(self, frames):
        for limits in ((40, 60), (60, 50)):
            with pytest.raises(ValueError) as caught:
                jittered_crop(frames, 48, np.random.default_rng(0), shorter_side=limits)
            assert str(caught.value) == f"a crop of 48 pixels does not fit in shorter sides of {limits[0]}–{limits[1]}"


@pytest.mark.parametrize(("height", "width", "expected"), [(40, 61, (16, 24)), (61, 40, (24, 16)), (16, 16, (16, 16))])
def test_the_shorter_side(height, width, expected):
    assert resize_shorter_side(np.zeros((1, height, width, 3), np.uint8), 16).shape == (1, 3, *expected)

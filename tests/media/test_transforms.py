import numpy as np
import pytest
import torch

from mmretrieval.media.transforms import fit, normalize, resize


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

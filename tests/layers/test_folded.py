import pytest
import torch

from mmretrieval.layers.folded import fold_clips, frame_features, pool_frames, zero_frames
from mmretrieval.layers.temporal import TemporalPool
from mmretrieval.types import Padded

MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()


def clips():
    return torch.randn(2, 5, 3, 2, 4, generator=torch.Generator().manual_seed(0))


def test_folding_keeps_frames_in_order_and_zeroes_padding():
    values = clips()
    values[1, 3:] = float("nan")
    frames, mask = fold_clips(Padded(values, MASK))
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(frames[:8], values.flatten(0, 1)[:8])
    assert not frames[8:].any()
    assert mask.tolist() == [True] * 8 + [False] * 2


def test_clips_without_padding_have_no_mask():
    frames, mask = fold_clips(Padded(clips(), torch.ones_like(MASK)))
    assert mask is None
    assert torch.equal(frames, clips().flatten(0, 1))
    assert zero_frames(frames, None) is frames


@pytest.mark.parametrize("method", ["max", "avg"])
def test_pooled_padding_is_what_lies_beyond_the_end(method):
    values, pool = clips().relu(), TemporalPool(method)
    values[1, 3:] = float("nan")
    frames, mask, length = pool_frames(pool, values.flatten(0, 1), MASK.flatten(), 5)
    assert length == 3
    assert mask.tolist() == [True, True, True, True, True, False]
    alone, none, steps = pool_frames(pool, values[1, :3], None, 3)
    assert (none, steps) == (None, 2)
    assert torch.equal(frames[3:5], alone)


def test_features_unfold_as_the_grid_says():
    frames = clips().flatten(0, 1).contiguous(memory_format=torch.channels_last)
    features = frame_features(frames, MASK)
    assert features.grid == (5, 2, 4)
    assert torch.equal(features.values.unflatten(1, features.grid)[0, 3, 1, 2], frames[3, :, 1, 2])
    assert features.mask.unflatten(1, features.grid)[1, :, 1, 3].tolist() == [True, True, True, False, False]
    assert not features.values[~features.mask].any()


def test_zeroing_keeps_the_memory_format_and_the_kind_of_numbers():
    frames = clips().flatten(0, 1).contiguous(memory_format=torch.channels_last).bfloat16()
    zeroed = zero_frames(frames, MASK.flatten())
    assert zeroed.is_contiguous(memory_format=torch.channels_last)
    assert zeroed.dtype == torch.bfloat16

import numpy as np
import pytest
import torch

from mmretrieval.media.transforms import resize
from mmretrieval.media.views import cut_views, shorter_side


@pytest.fixture
def clips():
    return np.random.default_rng(0).integers(0, 256, (2, 3, 40, 70, 3), dtype=np.uint8)


def published_views(clips, size, crops, side):
    """The published order, spelt out: crop by crop, inside a crop clip by clip."""
    _, _, height, width, _ = clips.shape
    scale = side / min(height, width)
    tall, wide = int(height * scale + 1e-9), int(width * scale + 1e-9)
    h, w = (tall - size) // 4, (wide - size) // 4
    if crops == 3:
        places = [(2 * h, 0), (2 * h, 4 * w), (2 * h, 2 * w)]
        if width < height:
            places = [(0, 2 * w), (4 * h, 2 * w), (2 * h, 2 * w)]
    else:
        places = [(0, 0), (0, 4 * w), (4 * h, 0), (4 * h, 4 * w), (2 * h, 2 * w)]
    views = []
    for top, left in places:
        for mirrored in (False, True) if crops == 10 else (False,):
            for clip in clips:
                view = resize(clip, tall, wide)[:, :, top : top + size, left : left + size]
                views.append(view.flip(-1) if mirrored else view)
    return torch.stack(views)


@pytest.mark.parametrize("share", [0.875, 1.0])
@pytest.mark.parametrize("crops", [3, 5, 10])
@pytest.mark.parametrize("upright", [False, True])
def test_views_are_crop_by_crop_in_the_published_order(clips, crops, share, upright):
    if upright:
        clips = clips.swapaxes(2, 3)
    views = cut_views(clips, 28, crops, share)
    assert views.shape == (2 * crops, 3, 3, 28, 28) and views.dtype == torch.uint8 and views.is_contiguous()
    assert torch.equal(views, published_views(clips, 28, crops, 32 if share < 1 else 28))


def test_one_crop_is_the_middle(clips):
    views = cut_views(clips, 28)
    for view, clip in zip(views, clips):
        assert torch.equal(view, resize(clip, 32, 56)[:, :, 2:30, 14:42])
    assert torch.equal(cut_views(clips[:, :, :28, :28], 28, share=1.0)[0], resize(clips[0, :, :28, :28], 28, 28))


def test_three_crops_without_margin_reach_both_ends():
    frames = np.zeros((1, 1, 16, 32, 3), np.uint8)
    frames[..., 0] = np.arange(32)
    start, end, middle = cut_views(frames, 16, 3, share=1.0)[:, 0, 0, 0]
    assert start.tolist() == list(range(16)) and end.tolist() == list(range(16, 32))
    assert middle.tolist() == list(range(8, 24))


def test_the_margin():
    assert [shorter_side(size) for size in (224, 256, 112)] == [256, 293, 128]
    assert shorter_side(224, share=1.0) == 224


def test_frames_smaller_than_a_view_are_enlarged():
    views = cut_views(np.full((1, 2, 3, 4, 3), 9, np.uint8), 28, 5)
    assert views.shape == (5, 2, 3, 28, 28) and (views == 9).all()


def test_what_cannot_be_cut(clips):
    for arguments, expected in (
        ((clips, 28, 4), "4 crops were asked for; 1, 3, 5 and 10 are allowed"),
        ((clips[0], 28), "clips have shape (3, 40, 70, 3); (C, T, H, W, 3) is needed"),
    ):
        with pytest.raises(ValueError) as caught:
            cut_views(*arguments)
        assert str(caught.value) == expected

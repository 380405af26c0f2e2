import pytest
import torch

from mmretrieval.backbones import create_backbone
from mmretrieval.backbones.two_trunk import TwoTrunk
from mmretrieval.encoders import create_encoder
from mmretrieval.errors import ModelError
from mmretrieval.layers.pooling import create_norm, create_pooler
from mmretrieval.types import ClipSpec, Features, Padded


def clips(frames=8, batch=2, size=16, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, 3, size, size, generator=random)


def whole(values):
    return Padded(values, torch.ones(values.shape[:2], dtype=torch.bool))


def small(frames=8, spatial_frames=3, seed=0):
    torch.manual_seed(seed)
    net = create_backbone("two_trunk_test", frames=frames, spatial_frames=spatial_frames).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.normal_(module.bias, std=0.2)
    return net


def over_places(trunk, values):
    """Mean over the places of each frame, frame by frame: (B, T, D)."""
    features = trunk(whole(values))
    return features.values.view(len(values), values.shape[1], -1, trunk.feature_dim).mean(2)


def test_the_published_encoder_has_4096_numbers_per_frame():
    with torch.device("meta"):
        net = create_backbone("two_trunk")
        # torchvision's counts less their classifiers
        assert sum(p.numel() for p in net.spatial.parameters()) == 60_192_808 - 1000 * 2049
        assert sum(p.numel() for p in net.temporal.parameters()) == 25_557_032 - 1000 * 2049
        features = net(Padded(torch.zeros(1, 8, 3, 64, 64), torch.ones(1, 8, dtype=torch.bool, device="cpu")))
    assert net.feature_groups == (2048, 2048)
    assert net.spec == ClipSpec(frames=8, size=224)
    assert (features.values.shape, features.grid) == ((1, 8, 4096), (8, 1, 1))


def test_any_two_backbones_by_name():
    with torch.device("meta"):
        net = create_backbone("two_trunk", spatial="resnet18", temporal="tam_resnet50", spatial_frames=1, size=112)
    assert net.feature_groups == (512, 2048)


def test_the_maximum_over_positions_is_the_two_maxima_over_time_side_by_side():
    net, values = small(), clips()
    pooled = create_pooler("max", net.feature_dim)(net(whole(values)))
    still = over_places(net.spatial, values[:, [1, 4, 6]]).amax(1)
    moving = over_places(net.temporal, values).amax(1)
    torch.testing.assert_close(pooled, torch.cat([still, moving], 1))
    halves = create_norm("l2", net.feature_groups)(pooled)
    expected = torch.cat([half / half.norm(dim=1, keepdim=True) for half in (still, moving)], 1)
    torch.testing.assert_close(halves, expected)


def test_each_frame_has_the_half_of_the_nearest_frame_that_was_seen():
    net, values = small(), clips(batch=1)
    still = over_places(net.spatial, values[:, [1, 4, 6]])[0]
    expected = still[[0, 0, 0, 1, 1, 1, 2, 2]]  # 5 lies as near to 4 as to 6: the earlier one
    torch.testing.assert_close(net(whole(values)).values[0, :, : net.feature_groups[0]], expected)


@pytest.mark.parametrize(
    ("real", "spatial_frames", "seen"),
    [
        (8, 3, [1, 4, 6]),
        (8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, [0, 3, 6], [0, 3, 6]),
        (8, 1, [4]),
        (5, 3, [0, 2, 4]),
        (2, 3, [0, 1, 1]),
        (1, 3, [0, 0, 0]),
        (5, [0, 3, 6], [0, 3, 4]),
        (0, 3, [0, 0, 0]),
    ],
)
def test_which_frames_the_2d_trunk_sees(real, spatial_frames, seen):
    net = small(spatial_frames=spatial_frames)
    given = []
    net.spatial.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    values = clips(batch=1)
    mask = torch.arange(8)[None] < real
    net(Padded(values, mask))
    assert torch.equal(given[0].values, values[:, seen])
    assert given[0].mask.all() == (real > 0)


def test_real_frames_need_not_come_first():
    net, values = small(), clips(batch=1)
    mask = torch.tensor([[False, True, True, False, True, True, False, True]])
    given = []
    net.spatial.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    features = net(Padded(values, mask))
    assert torch.equal(given[0].values, values[:, [1, 4, 7]])  # of the real 1, 2, 4, 5, 7 the numbers 0, 2 and 4
    assert torch.equal(features.mask, mask)
    assert not features.values[~mask].any()


class Halving(torch.nn.Module):
    """A trunk that keeps every other frame: its feature is the frame's mean."""

    feature_dim, spec = 3, ClipSpec(8, 16)

    def forward(self, frames):
        values = frames.values[:, ::2].mean((3, 4))
        return Features(values, frames.mask[:, ::2], (values.shape[1], 1, 1), {"looks": values.sum()})


def test_a_trunk_that_shortens_time_repeats_to_the_length_of_the_clip():
    net = TwoTrunk(create_backbone("resnet_test"), Halving(), ClipSpec(8, 16)).eval()
    values = clips(batch=1)
    features = net(whole(values))
    expected = values[:, [0, 0, 2, 2, 4, 4, 6, 6]].mean((3, 4))
    torch.testing.assert_close(features.values[..., -3:], expected)
    assert features.costs.keys() == {"looks"}


def test_the_video_encoder_tells_the_widths_of_its_parts():
    encoder = create_encoder("video", backbone="two_trunk_test", frames=4)
    assert encoder.feature_groups == encoder.backbone.feature_groups
    alone = create_encoder("video", backbone="resnet_test")
    assert alone.feature_groups == (alone.feature_dim,)


@pytest.mark.parametrize("wrong", [0, 9, [0, 8], []])
def test_frames_that_a_clip_does_not_have(wrong):
    with pytest.raises(ModelError) as error:
        create_backbone("two_trunk_test", frames=8, spatial_frames=wrong)
    assert str(error.value) == f"spatial_frames is {wrong}: give 1 to 8, or a list of frames from 0 to 7"

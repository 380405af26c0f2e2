"""I3D and S3D: published figures and names, and numbers against plain 3-D functions."""

import pytest
import torch
from torch.nn import functional as F

from mmretrieval.backbones import create_backbone
from mmretrieval.errors import ModelError
from mmretrieval.evaluation.cost import conv_macs
from mmretrieval.layers.volume import PlaneConv3d
from mmretrieval.types import Padded


def on_meta(name, **options):
    with torch.device("meta"):
        return create_backbone(name, **options)


def settled(net):
    """Give normalisations numbers that a fresh network does not have, or padding and order could hide in them."""
    random = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.uniform_(-0.2, 0.2, generator=random)
            module.running_var.uniform_(0.01, 1, generator=random)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5, generator=random)
            torch.nn.init.normal_(module.bias, std=0.2, generator=random)
    return net.eval().double()


def clips(*shape):
    random = torch.Generator().manual_seed(2)
    values = torch.randn(shape[0], shape[1], 3, *shape[2:], generator=random, dtype=torch.float64)
    return Padded(values, torch.ones(shape[:2], dtype=torch.bool))


@pytest.mark.parametrize(
    ("name", "options", "macs", "parameters", "keys"),
    [
        # the published table's 33,573,614,592 comes from an older variant whose last pooling left T − 1 frames
        ("i3d", {}, 33_806_581_760, 12_376_439, 344),
        ("i3d", {"temporal_pool": "max"}, 21_411_353_600, 12_376_439, 344),
        ("i3d", {"temporal_pool": "avg"}, 21_411_353_600, 12_376_439, 344),
        ("s3d", {}, 19_778_626_560, 7_992_503, 477),
        ("s3d", {"temporal_pool": "max"}, 12_264_670_208, 7_992_503, 477),
        ("s3d", {"depthwise_time": True}, 13_784_987_328, 5_727_479, 477),
    ],
)
def test_cost_and_size_are_as_published(name, options, macs, parameters, keys):
    """Published sizes have a classifier of 87 classes."""
    net = on_meta(name, **options)
    assert conv_macs(net) == macs
    assert net.feature_dim == 1024
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters - 1025 * 87
    assert len(net.state_dict()) == keys - 2
    assert net.spec.mean == net.spec.std == (0.5, 0.5, 0.5)


SHAPES = {
    "i3d": {
        "conv1.conv.weight": (64, 3, 7, 7, 7),
        "conv1.bn.running_mean": (64,),
        "conv2.conv.weight": (64, 64, 1, 1, 1),
        "conv3.conv.weight": (192, 64, 3, 3, 3),
        "inception3a.branch1.conv.weight": (64, 192, 1, 1, 1),
        "inception3a.branch2.0.conv.weight": (96, 192, 1, 1, 1),
        "inception3a.branch2.1.conv.weight": (128, 96, 3, 3, 3),
        "inception4d.branch3.1.conv.weight": (64, 32, 3, 3, 3),
        "inception5b.branch3.1.bn.weight": (128,),
        "inception5b.branch4.1.conv.weight": (128, 832, 1, 1, 1),
        "inception5b.branch4.1.bn.num_batches_tracked": (),
    },
    "s3d": {
        "conv1.conv.weight": (64, 3, 3, 7, 7),
        "conv3.conv.weight": (192, 64, 1, 3, 3),
        "conv3.bn.bias": (192,),
        "conv3.conv_t.weight": (192, 192, 3, 1, 1),
        "conv3.conv_t.bias": (192,),
        "conv3.bn_t.running_var": (192,),
        "inception3a.branch2.1.conv.weight": (128, 96, 1, 3, 3),
        "inception3a.branch2.1.conv_t.weight": (128, 128, 3, 1, 1),
        "inception5b.branch3.1.conv_t.bias": (128,),
        "inception5b.branch4.1.conv.weight": (128, 832, 1, 1, 1),
    },
}


def test_width_scales_every_channel():
    narrow, full = (on_meta("s3d", width=width).state_dict() for width in (16, 64))
    for key, tensor in narrow.items():
        for side, published in zip(tensor.shape, full[key].shape, strict=True):
            assert side in (published // 4, published), key  # kernels and the three colours stay
    assert narrow["conv3.conv.weight"].shape == (48, 16, 1, 3, 3)
    assert on_meta("s3d", width=16).feature_dim == 256


@pytest.mark.parametrize("name", SHAPES)
def test_names_and_shapes_are_the_published_ones(name):
    shapes = {key: tuple(tensor.shape) for key, tensor in on_meta(name).state_dict().items()}
    assert {key: shapes.get(key) for key in SHAPES[name]} == SHAPES[name]


def test_depthwise_time_mixes_no_channels():
    net = on_meta("s3d", depthwise_time=True)
    assert net.inception3a.branch2[1].conv_t.weight.shape == (128, 1, 3, 1, 1)
    assert net.inception3a.branch2[1].conv_t.bias.shape == (128,)


def plain(net, frames, separate, pooling):
    """The test network in plain 3-D functions, by the names of its layers; every convolution is of odd kernel."""
    state, step = net.state_dict(), 2 if pooling else 1
    pool = F.avg_pool3d if pooling == "avg" else F.max_pool3d

    def layer(name, clip, stride=1, suffix=""):
        weight = state[f"{name}.conv{suffix}.weight"]
        padding, groups = [side // 2 for side in weight.shape[2:]], clip.shape[1] // weight.shape[1]
        clip = F.conv3d(clip, weight, state.get(f"{name}.conv{suffix}.bias"), stride, padding, 1, groups)
        parts = (state[f"{name}.bn{suffix}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(clip, *parts, False, 0, 1e-3).relu()

    def cube(name, clip):
        clip = layer(name, clip)
        return layer(name, clip, suffix="_t") if separate else clip

    def block(name, clip):
        second = cube(f"{name}.branch2.1", layer(f"{name}.branch2.0", clip))
        third = cube(f"{name}.branch3.1", layer(f"{name}.branch3.0", clip))
        last = layer(f"{name}.branch4.1", F.max_pool3d(clip, 3, 1, 1))
        return torch.cat([layer(f"{name}.branch1", clip), second, third, last], dim=1)

    clip = layer("conv1", frames.transpose(1, 2).contiguous(), (1, 2, 2))
    clip = pool(clip, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    clip = cube("conv3", layer("conv2", clip))
    clip = block("inception3b", block("inception3a", pool(clip, 3, (step, 2, 2), 1)))
    clip = pool(clip, 2, (step, 2, 2)) if separate else pool(clip, 3, (step, 2, 2), 1)
    return block("inception5a", clip)


@pytest.mark.parametrize("pooling", [None, "max", "avg"])
@pytest.mark.parametrize(
    ("name", "options", "lengths"),
    [
        ("i3d_test", {}, {5: (5, 2), 8: (8, 2)}),
        ("s3d_test", {}, {5: (4, 1), 8: (7, 2)}),
        ("s3d_test", {"depthwise_time": True}, {8: (7, 2)}),
    ],
)
def test_numbers_are_those_of_plain_functions(name, options, lengths, pooling):
    torch.manual_seed(0)
    net = settled(create_backbone(name, temporal_pool=pooling, **options))
    for length, left in lengths.items():
        frames = clips(2, length, 40, 40)
        expected = plain(net, frames.values, name == "s3d_test", pooling)
        features = net(frames)
        assert features.grid[0] == left[pooling is not None]
        assert features.grid == tuple(expected.shape[2:])
        assert torch.allclose(features.values, expected.flatten(2).transpose(1, 2), atol=1e-9)


@pytest.mark.parametrize("pooling", [None, "max", "avg"])
@pytest.mark.parametrize(("name", "lengths"), [("i3d_test", [7, 1, 4, 6]), ("s3d_test", [7, 3, 4, 6])])
def test_a_padded_clip_is_that_clip_alone(name, lengths, pooling):
    torch.manual_seed(0)
    net = settled(create_backbone(name, temporal_pool=pooling))
    frames = clips(4, 7, 16, 16)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    frames.values[~mask] = float("nan")
    together = net(Padded(frames.values, mask))
    assert not together.values[~together.mask].any()
    for row, length in enumerate(lengths):
        alone = net(Padded(frames.values[row : row + 1, :length], mask[row : row + 1, :length]))
        assert alone.mask.all()
        assert torch.allclose(alone.values[0], together.values[row][together.mask[row]], atol=1e-9)


@pytest.mark.parametrize("pooling", [None, "max", "avg"])
def test_i3d_takes_one_frame(pooling):
    net = settled(create_backbone("i3d_test", frames=1, temporal_pool=pooling))
    assert net(clips(1, 1, 16, 16)).grid == (1, 1, 1)


def test_pooling_of_the_published_networks_leaves_an_eighth():
    """And S3D of 5 frames one, the fewest that it takes then."""
    for name, length, left in (("i3d", 16, 2), ("i3d", 9, 2), ("s3d", 16, 2), ("s3d", 5, 1)):
        net = on_meta(name, frames=length, size=32, temporal_pool="max").eval()
        frames = Padded(torch.empty(1, length, 3, 32, 32, device="meta"), torch.ones(1, length, dtype=torch.bool))
        assert net(frames).grid == (left, 1, 1)


def test_only_poolings_between_blocks_are_chosen():
    net = create_backbone("i3d_test", temporal_pool="avg")
    assert [pool.pool.method for pool in (net.pool1, *net.pools)] == ["avg"] * 3
    assert net.inception3a.branch4[0].method == "max"
    net = create_backbone("i3d_test")
    assert [pool.pool.method for pool in (net.pool1, *net.pools)] == ["max"] * 3


@pytest.mark.parametrize("name", ["i3d_test", "s3d_test"])
def test_volumes_stay_in_channels_last_memory(name):
    net = create_backbone(name, temporal_pool="avg").eval()
    layouts = []
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.register_forward_hook(
                lambda _, inputs, output: layouts.extend(
                    volume.is_contiguous(memory_format=torch.channels_last_3d) for volume in (*inputs, output)
                )
            )
    frames = clips(2, 5, 48, 48)
    net(Padded(frames.values.float(), frames.mask))
    assert layouts and all(layouts)
    assert all(isinstance(module, PlaneConv3d) for module in net.modules() if isinstance(module, torch.nn.Conv3d))


def test_messages():
    def message(build):
        with pytest.raises(ModelError) as error:
            build()
        return str(error.value)

    assert message(lambda: create_backbone("i3d_test", temporal_pool="mean")) == (
        "temporal pooling 'mean' is unknown: use 'max' or 'avg'"
    )
    assert message(lambda: on_meta("s3d", frames=1)) == (
        "a clip of 1 frame is too short for S3D, whose last pooling looks at two at once: give at least 2, or use I3D"
    )
    assert message(lambda: on_meta("s3d", frames=4, temporal_pool="max")) == (
        "a clip of 4 frames is too short for S3D, whose last pooling looks at two at once: give at least 5, or use I3D"
    )
    assert message(lambda: on_meta("s3d", size=16)) == (
        "frames of 16 pixels are too small for S3D, whose last pooling looks at two rows at once: give at least 17, "
        "or use I3D"
    )
    assert message(lambda: on_meta("i3d", width=12)) == (
        "an inception network of width 12: use a multiple of 8, 64 is the published one"
    )
    net, frames = create_backbone("s3d_test"), clips(2, 4, 16, 16)
    frames.mask[1, 1:] = False
    assert message(lambda: net(frames)) == (
        "a clip of 1 frame is too short for S3D, whose last pooling looks at two at once: give at least 2, or use I3D"
    )
    assert message(lambda: net(clips(1, 4, 16, 8))) == (
        "frames of 8 pixels are too small for S3D, whose last pooling looks at two rows at once: give at least 9, "
        "or use I3D"
    )

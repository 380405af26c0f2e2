import inspect

import pytest
import torch
from backbone_checks import check_contracts, clips, seen_ahead, settled, slow_temporal_pool
from torch.nn import functional as F

from mmretrieval.backbones import backbones, create_backbone
from mmretrieval.backbones.resnet import BasicBlock, Bottleneck, ResidualStages
from mmretrieval.errors import ModelError, UnknownNameError
from mmretrieval.evaluation.cost import conv_macs
from mmretrieval.layers.temporal import Mixing, TemporalAggregation
from mmretrieval.types import Padded


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(name, **options):
    with torch.device("meta"):
        return create_backbone(name, **options)


@pytest.mark.parametrize(
    ("name", "published", "keys"),
    [
        ("resnet18", 11_221_143, 122),
        ("tam_resnet18", 11_225_559, 146),
        ("resnet50", 23_686_295, 320),
        ("tam_resnet50", 23_725_655, 368),
        ("resnet101", None, 626),
        ("tam_resnet101", None, 725),
    ],
)
def test_size_is_as_published_without_the_classifier_of_87_classes(name, published, keys):
    net = on_meta(name)
    if published is not None:  # the table has no 101 layers
        assert count(net) == published - (net.feature_dim + 1) * 87
    assert len(net.state_dict()) == keys - 2


@pytest.mark.parametrize(
    ("name", "all_frames", "pooled"),
    [
        ("resnet18", 14_508_490_752, 7_520_780_288),
        ("tam_resnet18", 14_530_768_896, 7_535_155_712),
        ("resnet50", 32_697_090_048, 14_135_984_128),
        ("tam_resnet50", 32_831_963_136, 14_213_054_464),
    ],
)
def test_multiply_adds_are_the_published_ones(name, all_frames, pooled):
    """The table of arXiv 2010.11757, 8 frames of 224 pixels, to the last digit."""
    assert conv_macs(on_meta(name)) == all_frames
    for method in ("max", "avg"):
        assert conv_macs(on_meta(name, temporal_pool=method)) == pooled


@pytest.mark.parametrize(
    ("name", "size", "billions", "millions"),
    [
        ("tam_resnet50", 256, 171.53, 24.37),
        ("tam_resnet50", 224, 131.33, 24.37),
        ("tam_resnet101", 256, 327.11, 43.41),
        ("tam_resnet101", 224, 250.45, 43.41),
    ],
)
def test_released_models_of_32_frames_cost_what_is_published(name, size, billions, millions):
    net = on_meta(name, frames=32, size=size)
    assert round(conv_macs(net) / 1e9, 2) == billions
    assert round((count(net) + (net.feature_dim + 1) * 400) / 1e6, 2) == millions


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_tsm_has_no_parameters_of_its_own(depth):
    assert on_meta(f"tsm_resnet{depth}").state_dict().keys() == on_meta(f"resnet{depth}").state_dict().keys()


def test_parameter_names_are_the_published_ones():
    names = on_meta("tam_resnet50").state_dict().keys()
    for name in (
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.tam.prev_se.fc1.weight",
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.running_var",
        "layer4.2.tam.curr_se.fc1.weight",
        "layer4.2.bn3.weight",
    ):
        assert name in names


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("tam_resnet18", [64, 64, 64, 128, 128, 256, 256, 512]),
        ("tam_resnet50", [64, 256, 256] + [256] + [512] * 4 + [1024] * 6 + [2048] * 2),
    ],
)
def test_aggregation_has_the_published_shapes(name, channels):
    for options, width in (({}, 1), ({"depthwise": False}, None)):
        shapes = {key: tuple(p.shape) for key, p in on_meta(name, **options).state_dict().items() if ".tam." in key}
        for tap in ("prev", "curr", "next"):
            found = [shape for key, shape in shapes.items() if key.endswith(f"tam.{tap}_se.fc1.weight")]
            assert found == [(number, width or number, 1, 1) for number in channels]
        assert len(shapes) == 3 * len(channels)


def test_shapes_are_the_published_ones():
    shapes = {key: tuple(p.shape) for key, p in on_meta("resnet18").state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer1.0.conv2.weight"] == (64, 64, 3, 3)
    assert shapes["layer2.0.conv1.weight"] == (128, 64, 3, 3)
    assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert "layer1.0.downsample.0.weight" not in shapes
    shapes = {key: tuple(p.shape) for key, p in on_meta("resnet50").state_dict().items()}
    assert [shapes[f"layer1.0.conv{n}.weight"] for n in (1, 2, 3)] == [(64, 64, 1, 1), (64, 64, 3, 3), (256, 64, 1, 1)]
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)


def test_stride_sits_in_the_3x3_of_a_bottleneck():
    block = on_meta("resnet50").layer2[0]
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


@pytest.mark.parametrize("name", ["tsm_resnet_tiny", "tam_resnet_tiny", "resnet_tiny"])
def test_the_tiny_variant_keeps_a_grid_of_16_pixels(name):
    net = create_backbone(name, width=8).eval()
    clips = Padded(torch.randn(1, 8, 3, 64, 64), torch.ones(1, 8, dtype=torch.bool))
    features = net(clips)
    assert features.grid == (8, 4, 4)
    assert features.values.shape == (1, 128, 64)


@pytest.mark.parametrize(("name", "width"), [("tsm_resnet18", 512), ("tam_resnet50", 2048)])
def test_large_variants_run(name, width):
    net = create_backbone(name).eval()
    features = net(Padded(torch.randn(1, 2, 3, 64, 64), torch.ones(1, 2, dtype=torch.bool)))
    assert features.grid == (2, 2, 2)
    assert features.values.shape == (1, 8, width)
    assert net.feature_dim == width


def test_positions_unfold_as_the_grid_says():
    """What happens in the last frame's lower right corner reaches the last position, and frame 0 not at all."""
    net = create_backbone("resnet_test").eval()
    clip = torch.zeros(1, 4, 3, 16, 16)
    changed = clip.clone()
    changed[0, 3, :, 15, 15] = 5
    mask = torch.ones(1, 4, dtype=torch.bool)
    difference = (net(Padded(clip, mask)).values - net(Padded(changed, mask)).values).abs().sum(-1).view(4, 2, 2)
    assert not difference[:3].any()
    assert difference[3, 1, 1] > 0


def frame_reach(name):
    """Which output frames notice a change of the middle input frame."""
    torch.manual_seed(0)
    net = create_backbone(name, frames=7).eval()
    for module in net.modules():
        if isinstance(module, TemporalAggregation):
            for scale in (module.prev_se, module.curr_se, module.next_se):
                torch.nn.init.ones_(scale.fc1.weight)
    clip = torch.rand(1, 7, 3, 16, 16)
    changed = clip.clone()
    changed[:, 3] += 1
    mask = torch.ones(1, 7, dtype=torch.bool)
    difference = net(Padded(clip, mask)).values - net(Padded(changed, mask)).values
    return difference.view(7, -1).abs().amax(1).gt(1e-6).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("name", "reached"),
    [("resnet_test", [3]), ("tsm_resnet_test", [1, 2, 3, 4, 5]), ("tam_resnet_test", [1, 2, 3, 4, 5])],
)
def test_each_of_two_blocks_mixes_one_frame_further(name, reached):
    assert frame_reach(name) == reached


def test_a_shortcut_reads_the_unmixed_input():
    net = create_backbone("tsm_resnet_test").eval()
    block, seen = net.layer1[0], []
    block.downsample.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frames = torch.randn(4, 8, 8, 8)
    block(frames, None, 4)
    assert torch.equal(seen[0], frames)


def torchvision_resnet18(state, images):
    """The layout of torchvision written out: images (N, 3, H, W) to the last feature map."""

    def unit(maps, conv, bn, stride, padding):
        maps = F.conv2d(maps, state[f"{conv}.weight"], None, stride, padding)
        statistics = (state[f"{bn}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(maps, *statistics, eps=1e-5)

    maps = F.max_pool2d(unit(images, "conv1", "bn1", 2, 3).relu(), 3, 2, 1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            out = unit(maps, f"{name}.conv1", f"{name}.bn1", stride, 1).relu()
            out = unit(out, f"{name}.conv2", f"{name}.bn2", 1, 1)
            if layer > 1 and block == 0:
                maps = unit(maps, f"{name}.downsample.0", f"{name}.downsample.1", stride, 0)
            maps = (out + maps).relu()
    return maps


def test_resnet18_is_that_of_torchvision():
    net = settled("resnet18")
    images = torch.randn(2, 3, 50, 50)
    with torch.no_grad():
        features = net(Padded(images[None], torch.ones(1, 2, dtype=torch.bool)))
        expected = torchvision_resnet18(net.state_dict(), images)
    assert features.grid == (2, *expected.shape[2:])
    expected = expected.permute(0, 2, 3, 1).reshape(1, -1, 512)
    assert torch.allclose(features.values, expected, atol=1e-4 * float(expected.max()))


def stage_by_stage(net, frames, length, method):
    """A tiny network with pooling as a slow loop after every stage but the last."""
    maps = net.relu(net.bn1(net.conv1(frames)))
    for name in ("layer1", "layer2", "layer3"):
        for block in getattr(net, name):
            maps = block(maps, None, length)
        if name != "layer3":
            maps, length = slow_temporal_pool(maps, length, method), (length + 1) // 2
    return maps, length


@pytest.mark.parametrize("name", ["resnet_tiny", "tsm_resnet_tiny", "tam_resnet_tiny"])
@pytest.mark.parametrize("method", ["max", "avg"])
@pytest.mark.parametrize("length", [1, 5, 8])
def test_temporal_pooling_stands_behind_every_stage_but_the_last(name, method, length):
    net = settled(name, width=8, temporal_pool=method)
    given = clips((length,))
    features = net(given)
    maps, steps = stage_by_stage(net, given.values[0], length, method)
    assert features.grid == (steps, *maps.shape[2:])
    expected = maps.permute(0, 2, 3, 1).reshape(1, -1, net.feature_dim)
    assert torch.allclose(features.values, expected, atol=1e-5 * float(expected.detach().abs().max()))


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 9, 12])
def test_frames_that_eight_does_not_divide_are_pooled_where_the_published_code_breaks(frames):
    with torch.device("meta"):
        net = create_backbone("tam_resnet18", frames=frames, size=32, temporal_pool="max").eval()
        features = net(Padded(torch.empty(1, frames, 3, 32, 32), torch.ones(1, frames, dtype=torch.bool, device="cpu")))
    assert net.temporal_stride == 8
    assert features.grid == (-(-frames // 8), 1, 1)


@pytest.mark.parametrize(
    ("name", "stride", "options"),
    [
        ("resnet_tiny", 4, {"temporal_pool": "max", "width": 8}),
        ("resnet_test", 2, {"temporal_pool": "avg"}),
        ("tsm_resnet_tiny", 4, {"temporal_pool": "avg", "width": 8}),
        ("tsm_resnet_test", 2, {"temporal_pool": "max", "causal": True}),
        ("tam_resnet_tiny", 4, {"temporal_pool": "max", "blending_frames": 5, "aggregated_shortcut": True}),
        (
            "tam_resnet_test",
            2,
            {"temporal_pool": "avg", "causal": True, "blending_frames": 4, "depthwise": False}
            | {"blending_method": "max", "aggregated_shortcut": True},
        ),
        ("tam_resnet_test", 1, {"blending_frames": 2, "depthwise": False}),
    ],
)
def test_contracts_hold_with_options(name, stride, options):
    check_contracts(name, stride, **options)


@pytest.mark.parametrize("name", ["tsm_resnet_test", "tam_resnet_test"])
@pytest.mark.parametrize(("stride", "pool"), [(1, None), (2, "max"), (2, "avg")])
def test_causal_networks_never_see_the_future(name, stride, pool):
    assert seen_ahead(settled(name, causal=True, temporal_pool=pool), stride) == []
    assert seen_ahead(settled(name, temporal_pool=pool), stride) != []


def test_blending_options_reach_every_aggregation():
    net = on_meta("tam_resnet50", blending_frames=5, blending_method="max", depthwise=False, causal=True)
    modules = [module for module in net.modules() if isinstance(module, TemporalAggregation)]
    assert len(modules) == 16
    for module in modules:
        assert (module.frames, module.method, module.causal, module.taps[0].depthwise) == (5, "max", True, False)
    assert net.state_dict()["layer1.1.tam.blending_layers.4.fc1.weight"].shape == (256, 256, 1, 1)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("aggregated", [False, True])
def test_an_aggregated_shortcut_changes_only_blocks_with_a_downsample_path(block, aggregated):
    torch.manual_seed(0)
    options = {"strides": (2,), "stem": (3, 2), "stem_pool": False, "aggregated_shortcut": aggregated}
    stages = ResidualStages([block], (2,), (8,), Mixing("tam"), **options).eval()
    with_path, identity = stages.layer1
    assert identity.downsample is None
    frames = torch.randn(4, 8, 6, 6)
    mixed = with_path.tam(frames, 4)
    shortcut = with_path.downsample(mixed if aggregated else frames)
    expected = (with_path.residual(mixed, lambda maps: maps) + shortcut).relu()
    assert torch.equal(with_path(frames, None, 4), expected)
    frames = torch.randn(4, 8 * block.expansion, 6, 6)
    expected = (identity.residual(identity.tam(frames, 4), lambda maps: maps) + frames).relu()
    assert torch.equal(identity(frames, None, 4), expected)


def test_aggregation_starts_as_the_convolutions_do():
    """Kaiming-normal over outputs of a weight per channel: a deviation of √(2 / C), as published."""
    torch.manual_seed(0)
    state = create_backbone("tam_resnet_test", width=256).state_dict()
    weights = torch.cat([tensor.flatten() for name, tensor in state.items() if ".tam." in name])
    assert float(weights.std()) == pytest.approx((2 / 256) ** 0.5, rel=0.1)


def test_every_name_is_listed_and_says_what_it_is():
    manners = {"": "each frame by itself (TSN).", "tsm_": "shifted in time (TSM).", "tam_": "blended in time (TAM)."}
    for temporal, manner in manners.items():
        for size in ("18", "34", "50", "101", "152", "_tiny", "_test"):
            builder = backbones.get(f"{temporal}resnet{size}")
            assert builder.__name__ == f"{temporal}resnet{size}"
            assert inspect.getdoc(builder).endswith(manner)
    assert inspect.getdoc(backbones.get("resnet18")) == "ResNet-18, each frame by itself (TSN)."


def test_messages():
    with pytest.raises(UnknownNameError) as error:
        create_backbone("tsm_resnet_tyni")
    assert str(error.value) == (
        f"unknown backbone 'tsm_resnet_tyni'. Did you mean 'tsm_resnet_tiny'? "
        f"'mmretrieval models' lists all {len(backbones)}."
    )
    with pytest.raises(UnknownNameError) as error:
        create_backbone("tsm_resnet18", frame=8)
    assert str(error.value) == (
        "backbone 'tsm_resnet18' has no option 'frame'. Did you mean 'frames'? "
        "Its options: frames, size, width, temporal_pool, causal."
    )
    with pytest.raises(ModelError) as error:
        create_backbone("resnet_test", temporal_pool="mean")
    assert str(error.value) == "temporal pooling 'mean' is unknown: use 'max' or 'avg'"

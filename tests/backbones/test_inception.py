import inspect
import math

import pytest
import torch
from backbone_checks import check_contracts, clips, seen_ahead, settled, slow_temporal_pool
from torch.nn import functional as F

from mmretrieval.backbones import backbones, create_backbone
from mmretrieval.backbones.inception import WIDTHS, Inception
from mmretrieval.errors import ModelError
from mmretrieval.evaluation.cost import conv_macs
from mmretrieval.layers.temporal import Mixing, TemporalAggregation, TemporalShift
from mmretrieval.types import ClipSpec, Padded

BLOCKS = ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]
BEHIND = [256, 480, 512, 512, 512, 528, 832, 832, 1024]
"""Channels behind each block."""


def on_meta(name, **options):
    with torch.device("meta"):
        return create_backbone(name, **options)


def shapes(net):
    return {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "published", "keys", "all_frames", "pooled"),
    [
        ("inception_v1", 5_689_079, 344, 11_978_817_536, 6_521_725_952),
        ("tsm_inception_v1", 5_689_079, 344, 11_978_817_536, 6_521_725_952),
        ("tam_inception_v1", 5_706_503, 380, 12_047_006_720, 6_570_863_936),
    ],
)
def test_size_and_multiply_adds_are_the_published_ones(name, published, keys, all_frames, pooled):
    """The table of arXiv 2010.11757, 8 frames of 224 pixels; its sizes have a classifier of 87 classes."""
    net = on_meta(name)
    assert net.feature_dim == 1024
    assert sum(p.numel() for p in net.parameters()) == published - (1024 + 1) * 87
    assert len(net.state_dict()) == keys - 2
    assert conv_macs(net) == all_frames
    for method in ("max", "avg"):
        short = on_meta(name, temporal_pool=method)
        assert short.state_dict().keys() == net.state_dict().keys()
        assert conv_macs(short) == pooled


def test_names_and_shapes_are_the_published_ones():
    found = shapes(on_meta("inception_v1"))
    units = ["conv1", "conv2", "conv3"] + [
        f"inception{block}.{branch}"
        for block in BLOCKS
        for branch in ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
    ]
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert set(found) == {f"{unit}.conv.weight" for unit in units} | {
        f"{unit}.bn.{part}" for unit in units for part in statistics
    }
    assert found["conv1.conv.weight"] == (64, 3, 7, 7)
    assert found["conv2.conv.weight"] == (64, 64, 1, 1)
    assert found["conv3.conv.weight"] == (192, 64, 3, 3)
    for block, channels in zip(BLOCKS, [192, *BEHIND[:-1]], strict=True):
        first, reduced2, second, reduced3, third, fourth = WIDTHS[block]
        assert found[f"inception{block}.branch1.conv.weight"] == (first, channels, 1, 1)
        assert found[f"inception{block}.branch2.0.conv.weight"] == (reduced2, channels, 1, 1)
        assert found[f"inception{block}.branch2.1.conv.weight"] == (second, reduced2, 3, 3)
        assert found[f"inception{block}.branch3.0.conv.weight"] == (reduced3, channels, 1, 1)
        assert found[f"inception{block}.branch3.1.conv.weight"] == (third, reduced3, 3, 3)
        assert found[f"inception{block}.branch4.1.conv.weight"] == (fourth, channels, 1, 1)


@pytest.mark.parametrize("depthwise", [True, False])
def test_aggregation_has_the_published_names_and_shapes(depthwise):
    found = shapes(on_meta("tam_inception_v1", depthwise=depthwise))
    places = dict(zip(["1", "2", "3", *BLOCKS], [64, 64, 192, *BEHIND], strict=True))
    assert {key: shape for key, shape in found.items() if key.startswith("tam")} == {
        f"tam{place}.{tap}_se.fc1.weight": (channels, 1 if depthwise else channels, 1, 1)
        for place, channels in places.items()
        for tap in ("prev", "next", "curr")
    }


def test_pixels_are_normalised_by_one_half():
    for name in ("inception_v1", "tsm_inception_v1_test", "tam_inception_v1"):
        spec = on_meta(name).spec
        assert spec.mean == spec.std == (0.5, 0.5, 0.5)


def slow_inception(state, images, length, kind="tsn", pool=None):
    """The published layout written out: images (T, 3, H, W) of one clip to the last feature map."""

    def unit(maps, name, stride=1):
        weight = state[f"{name}.conv.weight"]
        maps = F.conv2d(maps, weight, None, stride, weight.shape[-1] // 2)
        statistics = (state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(maps, *statistics, eps=1e-3).relu()

    def spatial_pool(maps, kernel):
        """Stride 2; what hangs over the edge counts as a window of its own."""
        over = [-(size - kernel) % 2 for size in maps.shape[2:]]
        return F.max_pool2d(F.pad(maps, (0, over[1], 0, over[0]), value=-math.inf), kernel, 2)

    def aggregate(maps, name):
        if kind != "tam":
            return maps
        zero = torch.zeros_like(maps[:1])
        neighbours = (torch.cat([zero, maps[:-1]]), maps, torch.cat([maps[1:], zero]))
        weights = (state[f"tam{name}.{tap}_se.fc1.weight"].view(1, -1, 1, 1) for tap in ("prev", "curr", "next"))
        return sum(weight * frames for weight, frames in zip(weights, neighbours, strict=True)).relu()

    def shift(maps):
        if kind != "tsm":
            return maps
        fold, zero = maps.shape[1] // 8, torch.zeros_like(maps[:1])
        following, previous = torch.cat([maps[1:], zero]), torch.cat([zero, maps[:-1]])
        return torch.cat([following[:, :fold], previous[:, fold : 2 * fold], maps[:, 2 * fold :]], dim=1)

    def block(maps, name):
        maps, name = shift(maps), f"inception{name}"
        return torch.cat(
            [
                unit(maps, f"{name}.branch1"),
                unit(unit(maps, f"{name}.branch2.0"), f"{name}.branch2.1"),
                unit(unit(maps, f"{name}.branch3.0"), f"{name}.branch3.1"),
                unit(F.max_pool2d(maps, 3, 1, 1), f"{name}.branch4.1"),
            ],
            dim=1,
        )

    maps = spatial_pool(aggregate(unit(images, "conv1", 2), "1"), 3)
    maps = aggregate(unit(aggregate(unit(maps, "conv2"), "2"), "conv3"), "3")
    for stage, kernel in (("3", 3), ("4", 3), ("5", 2)):
        maps = spatial_pool(maps, kernel)
        if pool is not None:
            maps, length = slow_temporal_pool(maps, length, pool), (length + 1) // 2
        for name in BLOCKS:
            if name.startswith(stage):
                maps = aggregate(block(maps, name), name)
    return maps


def assert_equal_to_slow(net, length, size, **options):
    images = torch.randn(length, 3, size, size, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        features = net(Padded(images[None], torch.ones(1, length, dtype=torch.bool)))
        expected = slow_inception(net.state_dict(), images, length, **options)
    assert features.grid == (len(expected), *expected.shape[2:])
    expected = expected.permute(0, 2, 3, 1).reshape(1, -1, net.feature_dim)
    assert torch.allclose(features.values, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(("name", "size"), [("inception_v1_test", 15), ("inception_v1", 50), ("inception_v1", 64)])
def test_inception_is_that_of_torchvision_at_any_size(name, size):
    """Poolings whose windows hang over the edge included: 25 pixels become 12, 6, 3 and 2."""
    assert_equal_to_slow(settled(name), 2, size)


@pytest.mark.parametrize("kind", ["tsn", "tsm", "tam"])
@pytest.mark.parametrize("pool", [None, "max", "avg"])
@pytest.mark.parametrize("length", [1, 5, 8])
def test_temporal_modules_and_pooling_stand_where_they_should(kind, pool, length):
    name = "inception_v1_test" if kind == "tsn" else f"{kind}_inception_v1_test"
    net = settled(name, temporal_pool=pool)
    assert_equal_to_slow(net, length, 24, kind=kind, pool=pool)
    assert net.temporal_stride == (1 if pool is None else 8)


def test_tsn_as_temporal_module_of_inception_is_no_module_where_the_published_code_crashes():
    torch.manual_seed(0)
    net = Inception(ClipSpec(4, 16), Mixing("tsn"), width=8).eval()
    assert not any(isinstance(module, TemporalShift | TemporalAggregation) for module in net.modules())
    assert net(clips((3,))).grid == (3, 1, 1)


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 9, 12])
def test_frames_that_eight_does_not_divide_are_pooled_where_the_published_code_breaks(frames):
    net = on_meta("tam_inception_v1_test", frames=frames, temporal_pool="max").eval()
    mask = torch.ones(1, frames, dtype=torch.bool)
    assert net(Padded(torch.empty(1, frames, 3, 32, 32, device="meta"), mask)).grid == (-(-frames // 8), 1, 1)


@pytest.mark.parametrize(
    ("name", "stride", "options"),
    [
        ("inception_v1_test", 8, {"temporal_pool": "avg"}),
        ("tsm_inception_v1_test", 8, {"temporal_pool": "max", "causal": True}),
        ("tam_inception_v1_test", 8, {"temporal_pool": "max", "width": 16}),
        (
            "tam_inception_v1_test",
            8,
            {"temporal_pool": "avg", "causal": True, "blending_frames": 2, "blending_method": "max"}
            | {"depthwise": False},
        ),
        ("tam_inception_v1_test", 1, {"blending_frames": 5, "blending_method": "max"}),
    ],
)
def test_contracts_hold_with_options(name, stride, options):
    check_contracts(name, stride, **options)


@pytest.mark.parametrize("name", ["tsm_inception_v1_test", "tam_inception_v1_test"])
@pytest.mark.parametrize(("stride", "pool"), [(1, None), (8, "max"), (8, "avg")])
def test_causal_networks_never_see_the_future(name, stride, pool):
    assert seen_ahead(settled(name, causal=True, temporal_pool=pool), stride) == []
    assert seen_ahead(settled(name, temporal_pool=pool), stride) != []


def test_blending_options_reach_every_aggregation():
    net = on_meta("tam_inception_v1", blending_frames=5, blending_method="max", depthwise=False, causal=True)
    modules = [module for module in net.modules() if isinstance(module, TemporalAggregation)]
    assert len(modules) == 12
    for module in modules:
        assert (module.frames, module.method, module.causal, module.taps[0].depthwise) == (5, "max", True, False)
    assert shapes(net)["tam4e.blending_layers.4.fc1.weight"] == (832, 832, 1, 1)


def test_aggregation_starts_at_the_default_of_torch_and_convolutions_as_in_residual_networks():
    torch.manual_seed(0)
    state = create_backbone("tam_inception_v1_test", width=32).state_dict()
    blending = torch.cat([tensor.flatten() for key, tensor in state.items() if key.startswith("tam")])
    assert float(blending.abs().max()) <= 1
    assert float(blending.std()) == pytest.approx(1 / math.sqrt(3), rel=0.05)
    kernel = state["inception5b.branch2.1.conv.weight"]
    assert float(kernel.std()) == pytest.approx(math.sqrt(2 / (9 * kernel.shape[0])), rel=0.05)


def test_every_name_is_listed_and_says_what_it_is():
    manners = {"": "each frame by itself (TSN).", "tsm_": "shifted in time (TSM).", "tam_": "blended in time (TAM)."}
    for temporal, manner in manners.items():
        for size in ("", "_test"):
            builder = backbones.get(f"{temporal}inception_v1{size}")
            assert builder.__name__ == f"{temporal}inception_v1{size}"
            assert inspect.getdoc(builder).endswith(manner)
    assert inspect.getdoc(backbones.get("inception_v1")) == "Inception-v1, each frame by itself (TSN)."


def test_messages():
    with pytest.raises(ModelError) as error:
        create_backbone("inception_v1", width=20)
    assert str(error.value) == "an inception network of width 20: use a multiple of 8, 64 is the published one"
    with pytest.raises(ModelError) as error:
        create_backbone("tam_inception_v1", size=14)
    assert str(error.value) == "an inception network for frames of 14 pixels: it needs 15 or more"
    with pytest.raises(ModelError) as error:
        create_backbone("tsm_inception_v1_test", temporal_pool="mean")
    assert str(error.value) == "temporal pooling 'mean' is unknown: use 'max' or 'avg'"

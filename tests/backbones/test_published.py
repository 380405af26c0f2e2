import pytest
import torch

from mmretrieval.backbones import backbones, create_backbone
from mmretrieval.backbones.published import parse, published_name
from mmretrieval.backbones.released import RELEASES
from mmretrieval.errors import UnknownNameError
from mmretrieval.evaluation.cost import conv_macs
from mmretrieval.layers.blank import Blank

CANONICAL = {
    "resnet-18": ("resnet18", {}),
    "resnet-50-ts-max": ("resnet50", {"temporal_pool": "max"}),
    "resnet-152-ts-avg": ("resnet152", {"temporal_pool": "avg"}),
    "inception-v1": ("inception_v1", {}),
    "TAM-b3-sum-resnet-50": ("tam_resnet50", {}),
    "TAM-b3-sum-resnet-50-ts-max": ("tam_resnet50", {"temporal_pool": "max"}),
    "TAM-b5-max-resnet-101": ("tam_resnet101", {"blending_frames": 5, "blending_method": "max"}),
    "TAM-b3-sum-allc-resnet-34": ("tam_resnet34", {"depthwise": False}),
    "TAM-b3-sum-inception-v1-ts-max-f16": ("tam_inception_v1", {"temporal_pool": "max", "frames": 16}),
    "i3d-resnet-18": ("i3d_resnet18", {}),
    "i3d-resnet-18-ts": ("i3d_resnet18", {"temporal_pool": True}),
    "s3d-resnet-50": ("s3d_resnet50", {}),
    "s3d-resnet-50-dw-t-conv-ts": ("s3d_resnet50", {"depthwise_time": True, "temporal_pool": True}),
    "i3d_v2": ("i3d", {}),
    "i3d_v2-ts-avg": ("i3d", {"temporal_pool": "avg"}),
    "s3d": ("s3d", {}),
    "s3d-dw-t-conv-ts-max": ("s3d", {"depthwise_time": True, "temporal_pool": "max"}),
    "i3d_v2-f64": ("i3d", {"frames": 64}),
}


@pytest.mark.parametrize(("theirs", "ours"), CANONICAL.items())
def test_published_names_mean_our_networks_and_back(theirs, ours):
    assert parse(theirs) == ours
    assert published_name(*ours) == theirs


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("kinetics400-rgb-TAM-b3-sum-resnet-50-f32", ("tam_resnet50", {"frames": 32})),
        ("mini_st2stv2-rgb-i3d-resnet-18-ts-f8", ("i3d_resnet18", {"temporal_pool": True, "frames": 8})),
        ("moments-rgb-s3d-ts-max-f16-multisteps-syncbn-bs36-e35", ("s3d", {"temporal_pool": "max", "frames": 16})),
        ("kinetics400-rgb-resnet-50-f8-cosine-bs72-e75", ("resnet50", {"frames": 8})),
        # as the benchmark page writes
        ("i3d-tp-max", ("i3d", {"temporal_pool": "max"})),
        ("resnet-50-tp-max", ("resnet50", {"temporal_pool": "max"})),
        ("i3d-resnet-50-tp", ("i3d_resnet50", {"temporal_pool": True})),
        ("i3d-resnet-50-tp-max", ("i3d_resnet50", {"temporal_pool": True})),
        ("inception-v1-ts", ("inception_v1", {"temporal_pool": "max"})),
        # as people type
        ("tam-b3-SUM-resnet-18", ("tam_resnet18", {})),
        ("I3D-ResNet-50", ("i3d_resnet50", {})),
        # files
        ("K400-TAM-ResNet-50-f32", ("tam_resnet50", {"frames": 32, "size": 256})),
        ("SSV2-I3D-ResNet-101-f32.pth.tar", ("i3d_resnet101", {"frames": 32, "size": 256})),
        ("resnet50-0676ba61", ("resnet50", {})),
    ],
)
def test_other_ways_to_say_it(theirs, ours):
    assert parse(theirs) == ours


@pytest.mark.parametrize(
    "name",
    [
        *[
            "resnet-77",
            "resnet",
            "r2plus1d-18",
            "tsm-resnet-50",
            "TAM-resnet-50",
            "TAM-b3-mean-resnet-50",
            "resnet-50-f",
        ],
        *[
            "TAM-b3-sum-i3d-resnet-50",
            "TAM-b3-sum-s3d",
            "i3d-dw-t-conv",
            "i3d-resnet-50-dw-t-conv",
            "resnet-50-dw-t-conv",
        ],
        *["resnet-50-ts-min", "kinetics400-flow-resnet-50", "resnet-50-f8-linear-bs1-e1", ""],
    ],
)
def test_other_names_are_nobodys(name):
    assert parse(name) is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tsm_resnet50", {}),
        ("r2plus1d_18", {}),
        ("resnet_tiny", {}),
        ("tam_i3d", {}),
        ("tam_resnet50", {"causal": True}),
        ("resnet50", {"width": 32}),
    ],
)
def test_what_the_framework_does_not_have_has_no_published_name(name, options):
    assert published_name(name, options) is None


def test_options_that_names_do_not_show():
    assert published_name("tam_resnet50", {"size": 256, "aggregated_shortcut": True}) == "TAM-b3-sum-resnet-50"


@pytest.mark.parametrize(
    ("theirs", "published"),
    [
        ("TAM-b3-sum-resnet-50-ts-max", 14_213_054_464),
        ("mini_kinetics400-rgb-i3d-resnet-18-ts-f8", 22_472_425_472),
        ("s3d-resnet-50-dw-t-conv", 34_618_429_440),
        ("inception-v1-tp-max", 6_521_725_952),
        ("i3d_v2-ts-max", 21_411_353_600),
        ("s3d-dw-t-conv", 13_784_987_328),
    ],
)
def test_published_names_build_the_networks_of_the_table(theirs, published):
    with Blank(), torch.device("meta"):
        net = create_backbone(theirs)
    assert conv_macs(net) == published


def test_given_options_come_before_those_of_the_name():
    with Blank(), torch.device("meta"):
        assert create_backbone("resnet-18-f32", frames=4, size=64).spec.frames == 4
        assert create_backbone("resnet-18-f32", size=64).spec.frames == 32


def test_a_name_that_nobody_knows_is_still_explained():
    with pytest.raises(UnknownNameError) as caught:
        create_backbone("tam-resnet50")
    assert str(caught.value) == (
        "unknown backbone 'tam-resnet50'. Did you mean 'tam_resnet50'? "
        f"'mmretrieval models' lists all {len(backbones)}."
    )


def test_released_networks_are_built_as_they_were_measured():
    """At 32 frames of 256 pixels, multiply-adds per view as the published table says, in units of 10^9."""
    published = {"I3D-ResNet-50": 335.31, "TAM-ResNet-50": 171.53, "I3D-ResNet-101": 654.75, "TAM-ResNet-101": 327.11}
    for kind, billions in published.items():
        with Blank(), torch.device("meta"):
            net = create_backbone(f"K400-{kind}-f32")
        assert round(conv_macs(net) / 1e9, 2) == billions


def test_every_released_network_is_in_the_zoo():
    assert {release.network for release in RELEASES.values()} <= set(backbones.names())

import pytest
import torch

from mmretrieval.backbones import backbones, create_backbone
from mmretrieval.errors import UnknownNameError
from mmretrieval.layers.temporal import TemporalAggregation
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
    ],
)
def test_size_is_as_published_without_the_classifier_of_87_classes(name, published, keys):
    net = on_meta(name)
    assert count(net) == published - (net.feature_dim + 1) * 87
    assert len(net.state_dict()) == keys - 2


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


def test_every_name_is_listed():
    for temporal in ("", "tsm_", "tam_"):
        for size in ("18", "34", "50", "101", "152", "_tiny", "_test"):
            assert f"{temporal}resnet{size}" in backbones


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
        "backbone 'tsm_resnet18' has no option 'frame'. Did you mean 'frames'? Its options: frames, size."
    )

"""I3D-ResNet and S3D-ResNet: published figures and names, and numbers against plain 3-D functions."""

import pytest
import torch
from torch.nn import functional as F

from mmretrieval.backbones import backbones, create_backbone
from mmretrieval.backbones.resnet3d import INFLATED, SEPARATE, ResNet3d
from mmretrieval.errors import ModelError
from mmretrieval.evaluation.cost import conv_macs
from mmretrieval.layers.volume import PlaneConv3d
from mmretrieval.types import ClipSpec, Padded


def on_meta(name, **options):
    with torch.device("meta"):
        return create_backbone(name, **options)


def settled(net):
    """Give normalisations numbers that a fresh network does not have, or padding and order could hide in them."""
    random = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            for tensor, low, high in ((module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 1.5)):
                tensor.uniform_(low, high, generator=random)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5, generator=random)
            torch.nn.init.normal_(module.bias, std=0.2, generator=random)
    return net.eval()


def clips(*shape):
    values = torch.randn(shape[0], shape[1], 3, *shape[2:], generator=torch.Generator().manual_seed(2))
    return Padded(values, torch.ones(shape[:2], dtype=torch.bool))


@pytest.mark.parametrize(
    ("name", "options", "macs", "pooled_macs", "parameters", "keys"),
    [
        ("i3d_resnet18", {}, 43_217_190_912, 22_472_425_472, 33_210_903, 122),
        ("i3d_resnet50", {}, 64_180_322_304, 29_460_135_936, 46_339_607, 320),
        ("s3d_resnet18", {}, 21_329_215_488, 12_125_732_864, 15_425_559, 218),
        ("s3d_resnet50", {}, 39_517_814_784, 19_672_203_264, 27_485_079, 416),
        ("s3d_resnet50", {"depthwise_time": True}, 34_618_429_440, None, 23_723_991, 416),
    ],
)
def test_cost_and_size_are_as_published(name, options, macs, pooled_macs, parameters, keys):
    """Published sizes have a classifier of 87 classes."""
    net = on_meta(name, **options)
    assert conv_macs(net) == macs
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters - (net.feature_dim + 1) * 87
    assert len(net.state_dict()) == keys - 2
    if pooled_macs:
        pooled = on_meta(name, temporal_pool=True, **options)
        assert conv_macs(pooled) == pooled_macs
        assert pooled.state_dict().keys() == net.state_dict().keys()


def test_the_released_network_of_101_layers_and_32_frames():
    net = on_meta("i3d_resnet101", frames=32, size=256)
    assert round(conv_macs(net) / 1e9, 2) == 654.75
    assert round(sum(p.numel() for p in net.parameters()) / 1e6 + 2049 * 400 / 1e6, 2) == 86.03
    assert len(net.state_dict()) == 626 - 2


SHAPES = {
    "i3d_resnet18": {
        "conv1.weight": (64, 3, 3, 7, 7),
        "bn1.running_mean": (64,),
        "layer1.0.conv1.weight": (64, 64, 3, 3, 3),
        "layer1.1.bn2.num_batches_tracked": (),
        "layer2.0.conv1.weight": (128, 64, 3, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1, 1),
        "layer4.0.downsample.1.running_var": (512,),
    },
    "i3d_resnet50": {
        "layer1.0.conv1.weight": (64, 64, 1, 1, 1),
        "layer1.0.conv2.weight": (64, 64, 3, 3, 3),
        "layer1.0.conv3.weight": (256, 64, 1, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1, 1),
        "layer4.2.bn3.weight": (2048,),
    },
    "s3d_resnet18": {
        "conv1.weight": (64, 3, 3, 7, 7),
        "layer1.0.conv1.weight": (64, 64, 1, 3, 3),
        "layer1.0.conv1_t.weight": (64, 64, 3, 1, 1),
        "layer1.0.bn1_t.weight": (64,),
        "layer1.0.conv2.weight": (64, 64, 1, 3, 3),
        "layer1.0.conv2_t.weight": (64, 64, 3, 1, 1),
        "layer1.0.bn2_t.bias": (64,),
        "layer2.0.conv1.weight": (128, 64, 1, 3, 3),
        "layer2.0.conv1_t.weight": (128, 128, 3, 1, 1),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1, 1),
    },
    "s3d_resnet50": {
        "layer1.0.conv1.weight": (64, 64, 1, 1, 1),
        "layer1.0.conv2.weight": (64, 64, 1, 3, 3),
        "layer1.0.conv2_t.weight": (64, 64, 3, 1, 1),
        "layer1.0.bn2_t.running_mean": (64,),
        "layer1.0.conv3.weight": (256, 64, 1, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1, 1),
    },
}


@pytest.mark.parametrize("name", SHAPES)
def test_names_and_shapes_are_the_published_ones(name):
    shapes = {key: tuple(tensor.shape) for key, tensor in on_meta(name).state_dict().items()}
    assert {key: shapes.get(key) for key in SHAPES[name]} == SHAPES[name]


def test_names_of_i3d_are_those_of_the_2d_network():
    assert on_meta("i3d_resnet50").state_dict().keys() == on_meta("resnet50").state_dict().keys()


def test_depthwise_time_mixes_no_channels():
    assert on_meta("s3d_resnet18", depthwise_time=True).layer2[0].conv1_t.weight.shape == (128, 1, 3, 1, 1)


def conv(state, name, clip, stride=1):
    weight = state[f"{name}.weight"]
    padding = [side // 2 for side in weight.shape[2:]]
    return F.conv3d(clip, weight, None, stride, padding, groups=clip.shape[1] // weight.shape[1])


def norm(state, name, clip):
    mean, variance, weight, bias = (
        state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(clip, mean, variance, weight, bias, False, 0, 1e-5)


def plain_block(state, name, clip, time, space):
    """A block in plain 3-D functions, in the order of its layers; what exists is in the state."""
    shortcut = clip
    if f"{name}.downsample.0.weight" in state:
        shortcut = norm(state, f"{name}.downsample.1", conv(state, f"{name}.downsample.0", clip, (time, space, space)))
    layers = [part for part in ("1", "1_t", "2", "2_t", "3") if f"{name}.conv{part}.weight" in state]
    for part in layers:
        _, _, *kernel = state[f"{name}.conv{part}.weight"].shape
        stride = [1, 1, 1]
        if kernel[0] == 3:  # the first kernel that sees neighbours in time has the stride in time, so in space
            stride[0], time = time, 1
        if kernel[1] == 3:
            stride[1:], space = [space, space], 1
        clip = norm(state, f"{name}.bn{part}", conv(state, f"{name}.conv{part}", clip, stride))
        clip = clip if part == layers[-1] else clip.relu()
    return (clip + shortcut).relu()


def plain(net, frames, pooled):
    state = net.state_dict()
    clip = norm(state, "bn1", conv(state, "conv1", frames.transpose(1, 2).contiguous(), (1, 2, 2))).relu()
    clip = F.max_pool3d(clip, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    clip = plain_block(state, "layer1.0", clip, 1, 1)
    clip = plain_block(state, "layer1.1", clip, 1, 1)
    clip = plain_block(state, "layer2.0", clip, 2 if pooled else 1, 2)
    return plain_block(state, "layer3.0", clip, 2 if pooled else 1, 2)


@pytest.mark.parametrize("length", [1, 5, 8])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(
    ("kinds", "options"),
    [(INFLATED, {}), (SEPARATE, {"depthwise_time": False}), (SEPARATE, {"depthwise_time": True})],
)
def test_numbers_are_those_of_plain_functions(kinds, options, pooled, length):
    """A small network with the stem and the strides of the large ones, of basic blocks, then bottlenecks."""
    torch.manual_seed(0)
    basic, bottleneck = kinds
    spec = ClipSpec(length, 36)
    net = ResNet3d([basic, basic, bottleneck], (2, 1, 1), (4, 6, 4), spec, pooled, (1, 2, 2), **options)
    settled(net)
    frames = clips(2, length, 36, 36)
    expected = plain(net, frames.values, pooled)
    features = net(frames)
    assert features.grid == tuple(expected.shape[2:]) == (-(-length // 4) if pooled else length, 3, 3)
    assert features.values.shape == (2, features.grid[0] * 9, net.feature_dim)
    assert torch.allclose(features.values, expected.flatten(2).transpose(1, 2), atol=1e-5)


@pytest.mark.parametrize("name", ["i3d_resnet", "s3d_resnet"])
def test_the_tiny_network_is_its_layers_one_after_another(name):
    torch.manual_seed(0)
    net = settled(create_backbone(f"{name}_tiny", width=4, size=32, temporal_pool=True))
    frames, state = clips(1, 8, 32, 32), net.state_dict()
    clip = norm(state, "bn1", conv(state, "conv1", frames.values.transpose(1, 2), (1, 2, 2))).relu()
    for number in (1, 2, 3):
        clip = plain_block(state, f"layer{number}.0", clip, 1 if number == 1 else 2, 2)
    features = net(frames)
    assert features.grid == (2, 2, 2) and net.feature_dim == 32
    assert torch.allclose(features.values[0], clip[0].flatten(1).T, atol=1e-5)


@pytest.mark.parametrize("name", ["i3d_resnet_test", "s3d_resnet_test", "i3d_resnet_tiny", "s3d_resnet_tiny"])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_padded_clip_is_that_clip_alone(name, pooled):
    torch.manual_seed(0)
    net = settled(create_backbone(name, temporal_pool=pooled, size=16))
    frames, lengths = clips(4, 7, 16, 16), [7, 1, 4, 6]
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    frames.values[~mask] = float("nan")
    together = net(Padded(frames.values, mask))
    assert not together.values[~together.mask].any()
    for row, length in enumerate(lengths):
        alone = net(Padded(frames.values[row : row + 1, :length], mask[row : row + 1, :length]))
        assert alone.mask.all()
        assert torch.allclose(alone.values[0], together.values[row][together.mask[row]], atol=1e-5)


@pytest.mark.parametrize("name", ["i3d_resnet_test", "s3d_resnet_test"])
def test_volumes_stay_in_channels_last_memory(name):
    net = settled(create_backbone(name, temporal_pool=True, frames=5))
    layouts = []
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.register_forward_hook(
                lambda _, inputs, output: layouts.extend(
                    volume.is_contiguous(memory_format=torch.channels_last_3d) for volume in (*inputs, output)
                )
            )
    net(clips(2, 5, 16, 16))
    assert layouts and all(layouts)
    convolutions = [module for module in net.modules() if isinstance(module, torch.nn.Conv3d)]
    assert all(isinstance(module, PlaneConv3d) for module in convolutions)
    assert all(module.weight.is_contiguous(memory_format=torch.channels_last_3d) for module in convolutions)


def test_every_name_is_listed():
    for name in ("i3d_resnet", "s3d_resnet"):
        for size in ("18", "34", "50", "101", "152", "_tiny", "_test"):
            assert f"{name}{size}" in backbones


def test_pooling_by_a_method_is_refused():
    with pytest.raises(ModelError) as error:
        create_backbone("i3d_resnet_test", temporal_pool="max")
    assert str(error.value) == (
        "temporal_pool is 'max': a 3-D residual network shortens time by strides, so true or false"
    )

"""R(2+1)D: torchvision's sizes and names, and numbers against plain 3-D functions."""

import pytest
import torch
from torch.nn import functional as F

from mmretrieval.backbones import backbones, create_backbone
from mmretrieval.backbones.r2plus1d import FactoredBasic, FactoredBottleneck, R2Plus1d, middle_channels
from mmretrieval.evaluation.cost import conv_macs
from mmretrieval.types import ClipSpec, Padded


def on_meta(name, **options):
    with torch.device("meta"):
        return create_backbone(name, **options)


def clips(*shape):
    values = torch.randn(shape[0], shape[1], 3, *shape[2:], generator=torch.Generator().manual_seed(2))
    return Padded(values, torch.ones(shape[:2], dtype=torch.bool))


def settled(net):
    """Give normalisations numbers that a fresh network does not have, or padding and order could hide in them."""
    random = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.uniform_(-0.2, 0.2, generator=random)
            module.running_var.uniform_(0.5, 1.5, generator=random)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5, generator=random)
            torch.nn.init.normal_(module.bias, std=0.2, generator=random)
    return net.eval()


def test_it_is_the_network_of_torchvision():
    """Its listed size is with a classifier of 400 classes, and so are its 40.519 G multiply-adds."""
    net = on_meta("r2plus1d_18")
    assert sum(parameter.numel() for parameter in net.parameters()) + 512 * 400 + 400 == 31_505_325
    assert round((conv_macs(net) + 512 * 400) / 1e9, 3) == 40.519
    assert (net.spec.frames, net.spec.size) == (16, 112)
    assert net.spec.mean == (0.43216, 0.394666, 0.37645)
    assert net.spec.std == (0.22803, 0.22145, 0.216989)


def of_torchvision(blocks=2):
    """Every name and shape of torchvision's network of basic blocks, without its classifier, written down by rule."""
    shapes = {}

    def norm(name, channels):
        shapes.update({f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    def factored(name, inner, middle, outer, side):
        shapes[f"{name}.0.weight"] = (middle, inner, 1, side, side)
        norm(f"{name}.1", middle)
        shapes[f"{name}.3.weight"] = (outer, middle, 3, 1, 1)

    factored("stem", 3, 45, 64, 7)
    norm("stem.4", 64)
    middles = {1: (144, 144), 2: (230, 288), 3: (460, 576), 4: (921, 1152)}
    inner = 64
    for stage, outer in enumerate((64, 128, 256, 512), 1):
        for block in range(blocks):
            for number in (1, 2):
                name = f"layer{stage}.{block}.conv{number}"
                factored(f"{name}.0", inner if number == 1 else outer, middles[stage][min(block, 1)], outer, 3)
                norm(f"{name}.1", outer)
            if inner != outer:
                shapes[f"layer{stage}.{block}.downsample.0.weight"] = (outer, inner, 1, 1, 1)
                norm(f"layer{stage}.{block}.downsample.1", outer)
            inner = outer
    return shapes


def test_names_and_shapes_are_those_of_torchvision():
    shapes = {name: tuple(tensor.shape) for name, tensor in on_meta("r2plus1d_18").state_dict().items()}
    assert shapes == of_torchvision()


def test_names_of_a_bottleneck_are_those_of_torchvision():
    shapes = {name: tuple(tensor.shape) for name, tensor in on_meta("r2plus1d_50").layer2[0].state_dict().items()}
    weights = {name: shape for name, shape in shapes.items() if len(shape) == 5}
    assert weights == {
        "downsample.0.weight": (512, 256, 1, 1, 1),
        "conv1.0.weight": (128, 256, 1, 1, 1),
        "conv2.0.0.weight": (middle_channels(256, 128), 128, 1, 3, 3),
        "conv2.0.3.weight": (128, middle_channels(256, 128), 3, 1, 1),
        "conv3.0.weight": (512, 128, 1, 1, 1),
    }
    assert {"conv1.1.bias", "conv2.0.1.bias", "conv2.1.bias", "conv3.1.bias", "downsample.1.bias"} < shapes.keys()


@pytest.mark.parametrize(("inner", "outer"), [(64, 64), (64, 128), (512, 512)])
def test_the_factors_have_the_weights_of_the_whole(inner, outer):
    whole = 27 * inner * outer
    middle = middle_channels(inner, outer)
    assert 9 * inner * middle + 3 * middle * outer <= whole < (9 * inner + 3 * outer) * (middle + 1)


def plain(net, frames):
    """The network in plain 3-D functions, by the names of its layers."""
    state = net.state_dict()

    def conv(name, clip, stride):
        weight = state[f"{name}.weight"]
        return F.conv3d(clip, weight, None, stride, [side // 2 for side in weight.shape[2:]])

    def norm(name, clip):
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(clip, *parts, False, 0, 1e-5)

    def factored(name, clip, time, space):
        clip = norm(f"{name}.1", conv(f"{name}.0", clip, (1, space, space))).relu()
        return conv(f"{name}.3", clip, (time, 1, 1))

    clip = norm("stem.4", factored("stem", frames.transpose(1, 2).contiguous(), 1, 2)).relu()
    for name, time, space, bottleneck in (
        ("layer1.0", 1, 1, False),
        ("layer1.1", 1, 1, False),
        ("layer2.0", 2, 2, False),
        ("layer3.0", 2, 2, True),
    ):
        shortcut = clip
        if f"{name}.downsample.0.weight" in state:
            shortcut = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", clip, (time, space, space)))
        if bottleneck:
            clip = norm(f"{name}.conv1.1", conv(f"{name}.conv1.0", clip, 1)).relu()
            clip = norm(f"{name}.conv2.1", factored(f"{name}.conv2.0", clip, time, space)).relu()
            clip = norm(f"{name}.conv3.1", conv(f"{name}.conv3.0", clip, 1))
        else:
            clip = norm(f"{name}.conv1.1", factored(f"{name}.conv1.0", clip, time, space)).relu()
            clip = norm(f"{name}.conv2.1", factored(f"{name}.conv2.0", clip, 1, 1))
        clip = (clip + shortcut).relu()
    return clip


@pytest.mark.parametrize("length", [1, 5, 8])
def test_numbers_are_those_of_plain_functions(length):
    torch.manual_seed(0)
    blocks = [FactoredBasic, FactoredBasic, FactoredBottleneck]
    net = R2Plus1d(blocks, (2, 1, 1), (4, 6, 4), ClipSpec(length, 18), True, (1, 2, 2), stem_pool=False)
    settled(net)
    frames = clips(2, length, 18, 18)
    expected = plain(net, frames.values)
    features = net(frames)
    assert features.grid == tuple(expected.shape[2:]) == (-(-length // 4), 3, 3)
    assert torch.allclose(features.values, expected.flatten(2).transpose(1, 2), atol=1e-5)


@pytest.mark.parametrize("name", ["r2plus1d_test", "r2plus1d_tiny"])
def test_a_padded_clip_is_that_clip_alone(name):
    torch.manual_seed(0)
    net = settled(create_backbone(name, size=16))
    frames, lengths = clips(4, 7, 16, 16), [7, 1, 4, 6]
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    frames.values[~mask] = float("nan")
    together = net(Padded(frames.values, mask))
    for row, length in enumerate(lengths):
        alone = net(Padded(frames.values[row : row + 1, :length], mask[row : row + 1, :length]))
        assert alone.mask.all()
        assert torch.allclose(alone.values[0], together.values[row][together.mask[row]], atol=1e-5)


def test_the_tiny_network_leaves_a_quarter_of_the_frames():
    net = create_backbone("r2plus1d_tiny", width=8).eval()
    assert net.stem[0].out_channels == 45 * 8 // 64
    features = net(clips(1, 8, 64, 64))
    assert features.grid == (2, 4, 4) and features.values.shape == (1, 32, 64)


def test_every_name_is_listed():
    for size in ("18", "34", "50", "101", "152", "tiny", "test"):
        assert f"r2plus1d_{size}" in backbones

import math

import pytest
import torch

from mmretrieval.encoders import create_encoder
from mmretrieval.encoders.speech import ResDAVEnet
from mmretrieval.errors import ModelError
from mmretrieval.types import Padded


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("widths", "published"),
    [((128, 128, 256, 512, 1024), 44_670_978), ((128, 256, 256, 512, 1024), 46_490_882)],
)
def test_size_is_as_published_but_for_the_normalisation_nothing_uses(widths, published):
    with torch.device("meta"):
        assert count(create_encoder("resdavenet", widths=widths)) + 2 == published


@pytest.mark.parametrize(("frames", "positions"), [(300, 19), (1000, 63), (1024, 64), (2048, 128), (1, 1), (17, 2)])
def test_time_is_halved_four_times_with_ceil(frames, positions):
    net = ResDAVEnet((4, 4, 4, 4, 4)).eval()
    features = net(Padded(torch.zeros(1, frames, 40), torch.ones(1, frames, dtype=torch.bool)))
    assert features.values.shape == (1, positions, 4)
    assert features.mask.shape == (1, positions)
    assert features.grid == (positions,)
    assert net.stride == 16


def test_the_stem_is_the_published_convolution_over_all_bands():
    torch.manual_seed(0)
    for width, stride in ((1, 1), (7, 4)):
        net, x = ResDAVEnet((6, 6), stem_width=width, stem_stride=stride, strides=(2,)), torch.randn(2, 21, 40)
        assert torch.allclose(net._stem(x), net.conv1(x.transpose(1, 2).unsqueeze(1)), atol=1e-5)


def test_convolutions_start_as_published():
    torch.manual_seed(0)
    net = ResDAVEnet()
    for convolution in (net.conv1, net.layer1[0].conv1, net.layer4[1].conv2, net.layer3[0].downsample[0]):
        height, width = convolution.kernel_size
        expected = math.sqrt(2 / (height * width * convolution.out_channels))
        assert convolution.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_parameter_names_are_the_published_ones():
    with torch.device("meta"):
        names = create_encoder("resdavenet").state_dict().keys()
    assert {"conv1.weight", "bn1.running_var", "layer2.0.downsample.1.bias", "layer4.1.conv2.weight"} <= set(names)


def test_the_small_variant_hears_padding_as_silence():
    """Its input runs from 0 (the floor) to 1 (the maximum), so zero padding and digital silence are one."""
    torch.manual_seed(0)
    net = create_encoder("resdavenet_small", widths=(8, 8, 16)).eval()
    silence = torch.full((1, 64, 40), -80.0)
    seen = []
    net.bn1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(Padded(silence, torch.ones(1, 64, dtype=torch.bool)))
    assert not seen[0].any()


def test_too_few_widths_are_refused():
    with pytest.raises(ModelError) as error:
        create_encoder("resdavenet_small", widths=(8, 8))
    assert str(error.value) == "resdavenet_small needs at least three widths (stem and two stages), got [8, 8]"

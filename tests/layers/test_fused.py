"""Convolutions with what follows in their kernel, against the layers one after the other."""

import pytest
import torch
from torch import nn

from mmretrieval.layers.fused import FusedConv, Rectifier
from mmretrieval.layers.volume import PlaneConv3d


def settled(norm):
    random = torch.Generator().manual_seed(1)
    for values, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.1, 3)):
        values.uniform_(low, high, generator=random)
    if norm.affine:
        nn.init.normal_(norm.weight, generator=random)
        nn.init.normal_(norm.bias, generator=random)
    return norm.eval()


IMAGES, VOLUMES = (2, 6, 9, 7), (2, 6, 5, 6, 7)
CASES = [
    (nn.Conv2d(6, 8, 3, 2, 1, bias=False), IMAGES),
    (nn.Conv2d(6, 6, 3, 1, 2, dilation=2, groups=6), IMAGES),
    (nn.Conv2d(6, 4, (1, 3), (2, 1), (0, 1), groups=2), IMAGES),
    (nn.Conv3d(6, 8, 3, (2, 1, 2), 1), VOLUMES),
    (nn.Conv3d(6, 8, (1, 3, 3), (2, 2, 1), (0, 1, 1)), VOLUMES),
    (PlaneConv3d(6, 8, 1, 2, bias=False), VOLUMES),
    (PlaneConv3d(6, 6, (3, 1, 1), (2, 1, 1), (1, 0, 0), groups=6), VOLUMES),
]


@pytest.mark.parametrize(("conv", "shape"), CASES)
@pytest.mark.parametrize("relu", [False, True])
def test_one_kernel_does_what_three_layers_do(conv, shape, relu):
    norm = settled((nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm3d)(conv.out_channels, eps=0.02))
    given = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    expected = norm(conv(given))
    fused = FusedConv(conv, norm, relu)
    assert torch.allclose(fused(given), expected.relu() if relu else expected, atol=1e-5)
    assert torch.allclose(FusedConv(conv)(given), conv(given), atol=1e-5)
    assert not any(parameter.requires_grad for parameter in fused.parameters())


def test_a_normalisation_without_weights_is_folded_too():
    conv, norm = nn.Conv2d(6, 8, 3), settled(nn.BatchNorm2d(8, affine=False))
    given = torch.randn(IMAGES)
    assert torch.allclose(FusedConv(conv, norm)(given), norm(conv(given)), atol=1e-5)


@pytest.mark.parametrize(("conv", "shape"), CASES)
def test_bf16_and_double_are_computed_in_their_own_precision(conv, shape):
    """Neither has a fused kernel everywhere."""
    given = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    expected = conv(given).relu()
    for dtype, close in ((torch.bfloat16, 0.05), (torch.float64, 1e-5)):
        made = FusedConv(conv, relu=True).to(dtype)(given.to(dtype))
        assert made.dtype == dtype
        assert (made.float() - expected).abs().max() < close * expected.max()


@pytest.mark.parametrize("inplace", [False, True])
def test_a_rectifier_leaves_alone_what_is_rectified(inplace):
    rectifier, given = Rectifier(inplace), torch.tensor([[[[1.0, -2.0]]]])
    made = FusedConv(nn.Conv2d(1, 1, 1), relu=True)(given)
    assert rectifier(made) is made
    assert rectifier(FusedConv(nn.Conv2d(1, 1, 1))(given)).min() >= 0
    assert (rectifier(given) is given) == inplace
    assert given.min() == (0 if inplace else -2)

"""Strided 1x1 convolutions, in values and gradients, against torch's own in double precision."""

import pytest
import torch
from torch.nn import functional as F

from mmretrieval.layers.pointwise import PointConv2d


@pytest.mark.parametrize(("stride", "size"), [(2, (8, 8)), ((1, 2), (1, 9)), (3, (7, 10)), (1, (4, 4))])
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("threads", [1, 2])
def test_equals_the_strided_convolution(stride, size, channels, threads):
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        conv = PointConv2d(channels, 16, 1, stride).to(memory_format=torch.channels_last)
        maps = torch.randn(32, channels, *size).to(memory_format=torch.channels_last).requires_grad_()
        made = conv(maps)
        made.square().sum().backward()
    finally:
        torch.set_num_threads(before)
    weight, bias = (p.detach().double().requires_grad_() for p in (conv.weight, conv.bias))
    given = maps.detach().double().requires_grad_()
    expected = F.conv2d(given, weight, bias, stride)
    expected.square().sum().backward()
    pairs = [(made, expected), (maps.grad, given.grad), (conv.weight.grad, weight.grad), (conv.bias.grad, bias.grad)]
    for got, wanted in pairs:
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-4)

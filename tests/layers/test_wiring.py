"""What follows what, on networks that hold their layers in every order."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmretrieval.layers.wiring import Chain, follow


class Net(nn.Module):
    """Layers in no telling order; ``forward`` is what a test gives."""

    def __init__(self, forward):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.path = forward
        self.eval()

    def forward(self, x):
        return self.path(self, x).flatten(1)


def seen(forward):
    net = Net(forward)
    given = torch.randn(1, 4, 5, 5)
    wiring = follow(net, lambda: net(given))
    assert net.relu.inplace
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    return wiring


def test_convolution_norm_relu_and_the_next_one():
    wiring = seen(lambda n, x: n.relu(n.norm2(n.second(n.relu(n.norm1(n.first(x)))))))
    assert wiring.chains == [Chain("first", "norm1", True, ("second",)), Chain("second", "norm2", True, ())]
    assert wiring.rest == ()


def test_without_norm():
    wiring = seen(lambda n, x: n.second(n.relu(n.first(x))))
    assert wiring.chains == [Chain("first", None, True, ("second",)), Chain("second", None, False, ())]


@pytest.mark.parametrize(
    "other", [lambda x: x + 1, torch.clone, lambda x: torch.cat([x, x]), lambda x: x.mul_(2), lambda x: F.relu(input=x)]
)
def test_what_anything_else_reads_is_left_alone(other):
    def between_conv_and_norm(n, x):
        x = n.first(x)
        y = other(x)
        return n.norm1(x).sum() + y

    def before_relu(n, x):
        x = n.norm1(n.first(x))
        return n.relu(x).sum() + other(x)

    def behind_relu(n, x):
        x = n.relu(n.norm1(n.first(x)))
        return n.second(x).sum() + other(x)

    wiring = seen(between_conv_and_norm)
    assert wiring.chains == [Chain("first", None, False, ())]
    assert wiring.rest == ("norm1",)
    assert seen(before_relu).chains == [Chain("first", "norm1", False, ())]
    assert seen(behind_relu).chains[0] == Chain("first", "norm1", True, ())


def test_asking_for_a_shape_is_not_reading():
    def asks(n, x):
        x = n.first(x)
        assert x.shape[1] == x.size(1) == 4
        return n.norm1(x)

    assert seen(asks).chains == [Chain("first", "norm1", False, ())]


def test_layers_that_are_called_twice_are_in_no_chain():
    wiring = seen(lambda n, x: n.norm1(n.first(n.relu(n.norm1(n.first(x))))))
    assert wiring.chains == []
    assert wiring.rest == ("first", "norm1")
    wiring = seen(lambda n, x: n.norm1(n.second(n.norm1(n.first(x)))))
    assert wiring.chains == [Chain("first", None, False, ()), Chain("second", None, False, ())]
    assert wiring.rest == ("norm1",)


def test_padding_that_is_not_zeros_is_in_no_chain():
    class Circular(Net):
        def __init__(self):
            super().__init__(lambda n, x: n.norm2(n.second(n.norm1(n.first(x)))))
            self.first = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
            self.second = nn.Conv2d(4, 4, 3, padding="same")

    net = Circular()
    wiring = follow(net, lambda: net(torch.randn(1, 4, 5, 5)))
    assert wiring.chains == []
    assert wiring.rest == ("first", "norm1", "second", "norm2")


def test_a_run_that_fails_leaves_the_network_as_it_was():
    net = Net(lambda n, x: n.first(x))
    with pytest.raises(RuntimeError, match="expected input"):
        follow(net, lambda: net(torch.randn(1, 3, 5, 5)))
    assert net.relu.inplace
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())

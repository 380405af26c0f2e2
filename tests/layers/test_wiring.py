"""What follows what, on networks that hold their layers in every order."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmretrieval.layers.temporal import TemporalAggregation, TemporalShift
from mmretrieval.layers.wiring import Chain, follow


class Net(nn.Module):
    """Layers in no telling order; ``forward`` is what a test gives."""

    def __init__(self, forward):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.pool, self.shift, self.blend = nn.MaxPool2d(3, 1, 1), TemporalShift(4), TemporalAggregation(4)
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


def test_a_sum_is_made_by_the_convolution_before_it():
    def identity(n, x):
        x = n.relu(n.norm1(n.first(x)))
        return n.relu(x + n.norm2(n.second(x)))

    assert seen(identity).chains == [
        Chain("first", "norm1", True, ("second",)),
        Chain("second", "norm2", True, (), addend="first"),
    ]

    def shortcut(n, x):
        return n.pool(n.relu(n.norm1(n.first(x)) + n.norm2(n.second(x)))) + 1

    assert seen(shortcut).chains == [
        Chain("first", "norm1", False, ("second",)),
        Chain("second", "norm2", True, (), addend="first"),
    ]


@pytest.mark.parametrize(
    "add",
    [
        lambda n, x, y: n.relu(x + x) + y,
        lambda n, x, y: n.relu(x.mean() + y),
        lambda n, x, y: n.relu(torch.add(x, y, alpha=2)),
        lambda n, x, y: n.relu(x + y) + x,  # x is read after the sum, which may be written over it
        lambda n, x, y: n.relu(x + y) + y,
        lambda n, x, y: n.relu(x.clone() + y),
    ],
)
def test_sums_that_a_convolution_cannot_make(add):
    def path(n, x):
        x = n.relu(n.first(x))
        return add(n, x, n.second(x))

    assert seen(path).chains == [Chain("first", None, True, ()), Chain("second", None, False, ())]


def test_what_a_waiting_convolution_reads_is_not_written_over():
    class Two(Net):
        def __init__(self):
            super().__init__(None)
            self.third = nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.relu(self.first(x))
            late, soon = self.third(x), self.second(x)
            return self.relu(self.relu(soon + x) + late)

    net = Two()
    chains = follow(net, lambda: net(torch.randn(1, 4, 5, 5))).chains
    assert [chain.addend for chain in chains] == [None, None, "first"]


def test_layers_that_keep_the_numbers_are_seen_through():
    def path(n, x):
        x = n.pool(n.relu(n.first(x)))
        return n.relu(n.second(n.shift(x, 1)) + x)

    assert seen(path).chains == [
        Chain("first", None, True, ("second",)),
        Chain("second", None, True, (), addend="first"),
    ]
    assert seen(lambda n, x: n.second(n.pool(n.first(x)))).chains[0] == Chain("first", None, False, ())
    assert seen(lambda n, x: n.pool(n.relu(n.first(x)))).chains[0] == Chain("first", None, True, ())


def test_blending_frames_is_a_convolution_over_time():
    assert seen(lambda n, x: n.second(n.blend(n.relu(n.first(x)), 1))).chains == [
        Chain("first", None, True, ("blend",)),
        Chain("blend", None, True, ("second",)),
        Chain("second", None, False, ()),
    ]


@pytest.mark.parametrize("options", [{"method": "max"}, {"depthwise": False}])
def test_other_blending_is_none(options):
    class Other(Net):
        def __init__(self):
            super().__init__(lambda n, x: n.second(n.blend(n.relu(n.first(x)), 1)))
            self.blend = TemporalAggregation(4, **options)

    net = Other()
    chains = follow(net, lambda: net(torch.randn(1, 4, 5, 5))).chains
    assert "blend" not in [chain.conv for chain in chains]


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

import pytest
import torch
from torch import nn

from mmretrieval.layers.chunks import in_chunks
from mmretrieval.types import Padded


class Network(nn.Module):
    """Dropout and batch normalisation around a linear map, and a count of what it saw."""

    def __init__(self, dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(6)
        self.dropout, self.last = nn.Dropout(dropout), nn.Linear(6, 3)
        self.seen = []

    def forward(self, inputs):
        self.seen.append(len(inputs.values))
        values = (inputs.values * inputs.mask[..., None]).sum(1)
        return (self.last(self.dropout(self.norm(self.first(values)).relu())),)


def batch(rows=7):
    random = torch.Generator().manual_seed(1)
    return Padded(torch.randn(rows, 5, 4, generator=random), torch.rand(rows, 5, generator=random) > 0.3)


def loss_of(parts):
    together = torch.cat([part for (part,) in parts])
    return (together @ together.T).softmax(-1).diagonal().log().mean()


def backward(network, parts):
    torch.manual_seed(9)
    loss = loss_of(parts())
    torch.manual_seed(77)  # whatever is drawn between the two runs must not matter
    loss.backward()
    return loss.detach(), [p.grad for p in network.parameters()]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_loss_and_gradients_are_those_of_the_whole_batch(size):
    whole, parts = Network().eval(), Network().eval()
    expected = backward(whole, lambda: [whole(batch())])
    got = backward(parts, lambda: in_chunks(parts, batch(), size, parts))
    torch.testing.assert_close(got, expected)
    assert max(parts.seen) <= size


@pytest.mark.parametrize(("size", "seen"), [(3, [3, 2, 2]), (6, [4, 3]), (7, [7]), (2, [2, 2, 2, 1])])
def test_chunks_are_even_and_each_runs_twice(size, seen):
    network = Network().eval()
    in_chunks(network, batch(), size, network)
    assert network.seen == seen
    network.seen.clear()
    loss_of(in_chunks(network, batch(), size, network)).backward()
    assert network.seen == seen + seen[::-1]


def test_without_gradient_each_chunk_runs_once():
    network = Network()
    with torch.no_grad():
        in_chunks(network, batch(), 3, network)
    assert network.seen == [3, 2, 2]


def test_the_second_run_repeats_dropout_and_leaves_running_averages_alone():
    """The reference keeps all chunks in memory, and so runs each of them once."""
    plain, chunked = Network(dropout=0.5).train(), Network(dropout=0.5).train()
    pieces = [Padded(*piece) for piece in zip(*(part.split([3, 2, 2]) for part in batch()))]
    expected = backward(plain, lambda: [plain(piece) for piece in pieces])
    got = backward(chunked, lambda: in_chunks(chunked, batch(), 3, chunked))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-7)
    for name, value in plain.norm.state_dict().items():
        assert torch.equal(chunked.norm.state_dict()[name], value), name
    assert chunked.norm.num_batches_tracked == 3 and chunked.norm.momentum == 0.1


def test_precision_is_repeated():
    whole, parts = Network().eval(), Network().eval()

    def with_autocast(run):
        with torch.autocast("cpu", torch.bfloat16):
            return [(part.float(),) for (part,) in run()]

    expected = backward(whole, lambda: with_autocast(lambda: [whole(batch())]))
    got = backward(parts, lambda: with_autocast(lambda: in_chunks(parts, batch(), 2, parts)))
    torch.testing.assert_close(got, expected, rtol=2e-2, atol=2e-2)
    assert all(gradient.dtype == torch.float32 for gradient in got[1])

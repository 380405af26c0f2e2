import torch
from torch import nn

from mmretrieval.layers.blank import Blank


def test_nothing_is_drawn_inside_and_everything_else_is_as_usual():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    with Blank():
        net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Conv1d(3, 2, 5), nn.Embedding(3, 4))
        nn.init.trunc_normal_(net[0].weight)
        nn.init.kaiming_normal_(net[2].weight)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(net[1].weight, torch.ones(3)) and torch.equal(net[1].running_var, torch.ones(3))
    nn.init.normal_(net[0].weight)
    assert not torch.equal(torch.random.get_rng_state(), before)

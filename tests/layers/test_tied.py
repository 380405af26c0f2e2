import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmretrieval.layers.tied import second_names, state_with_copies, state_without_copies


def tied():
    net = nn.Module()
    net.first, net.second, net.other = nn.Embedding(5, 3), nn.Embedding(5, 3), nn.Embedding(5, 3)
    net.second.weight = net.first.weight
    net.register_buffer("nothing", torch.zeros(0))
    net.register_buffer("also_nothing", torch.zeros(0))
    return net


def test_a_tensor_of_two_names_is_saved_once_and_loaded_under_both(tmp_path):
    net, new = tied(), tied()
    assert second_names(net) == {"second.weight": "first.weight"}
    save_file(state_without_copies(net), tmp_path / "a.safetensors")
    state = load_file(tmp_path / "a.safetensors")
    assert set(state) == {"first.weight", "other.weight", "nothing", "also_nothing"}
    new.load_state_dict(state_with_copies(new, state))
    assert torch.equal(new.second.weight, net.first.weight) and new.second.weight is new.first.weight


def test_parts_of_one_tensor_are_not_taken_for_one():
    net = nn.Module()
    whole = torch.arange(6.0)
    net.register_buffer("whole", whole)
    net.register_buffer("part", whole[:3].clone())
    assert second_names(net) == {}

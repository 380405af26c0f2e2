"""One process; tests/test_two_processes.py compares two with one."""

import torch
from torch import nn

from mmretrieval.layers.synced import SyncedBatchNorm, synchronise_norms


def network():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU(), nn.Flatten())
    return nn.Sequential(inner, nn.Linear(16, 5), nn.BatchNorm1d(5, affine=False), nn.LayerNorm(5))


def kinds(module):
    return [type(part).__name__ for part in module.modules() if "Batch" in type(part).__name__]


def test_names_values_and_modes_stay():
    plain, synced = network(), network()
    plain[0][1].eval(), synced[0][1].eval()
    parameters = dict(synced.named_parameters())
    synchronise_norms(synced)
    assert kinds(synced) == ["SyncedBatchNorm"] * 2
    assert all(parameters[name] is parameter for name, parameter in synced.named_parameters())
    assert list(synced.state_dict()) == list(plain.state_dict())
    assert not synced[0][1].training and synced[2].training
    frames = torch.randn(6, 3, 4, 4)
    torch.testing.assert_close(synced(frames), plain(frames))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[name], value)


def test_what_is_left_alone_keeps_its_own():
    module = network()
    synchronise_norms(module, leave=[module[0]])
    assert kinds(module) == ["BatchNorm2d", "SyncedBatchNorm"]


def test_a_batch_normalisation_of_another_kind_is_no_business_of_ours():
    class Own(nn.BatchNorm1d):
        pass

    module = nn.Sequential(Own(3), nn.SyncBatchNorm(3), SyncedBatchNorm(3))
    before = list(module)
    synchronise_norms(module)
    assert all(after is norm for after, norm in zip(module, before, strict=True))

"""Muon: orthogonal steps for kernels, AdamW's own for the rest, and a state that survives a checkpoint."""

import copy

import pytest
import torch
from torch import nn

from mmretrieval.training.muon import MOMENTUM, Muon, orthogonalised
from mmretrieval.training.optim import create_optimizer, set_rate


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3, bias=False), nn.Flatten(), nn.Linear(6 * 4 * 4, 5))


def step(module, optimizer, seed):
    torch.manual_seed(seed)
    optimizer.zero_grad()
    module(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (9, 9)])
def test_singular_values_come_near_one_and_the_directions_stay(shape):
    torch.manual_seed(1)
    matrix = torch.randn(shape, dtype=torch.float64) @ torch.diag(
        torch.logspace(0, -1.5, shape[1], dtype=torch.float64)
    )
    result = orthogonalised(matrix)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.3 and values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    diagonal = u.T @ result @ vh.T  # the same singular vectors: nothing off the diagonal
    assert torch.allclose(diagonal, torch.diag(diagonal.diagonal()), atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (9, 9)])
def test_the_steps_are_those_taken_on_the_whole_matrix(shape):
    torch.manual_seed(2)
    matrix = torch.randn(shape) * torch.logspace(0, -4, shape[1])
    x = matrix.double() / matrix.double().norm()
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * (x @ x.T @ x) + 2.0315 * (x @ x.T @ x @ x.T @ x)
    assert torch.allclose(orthogonalised(matrix), x.float(), atol=1e-3)


def test_zeros_stay_zeros():
    assert not orthogonalised(torch.zeros(4, 7)).any()


def test_two_steps_are_those_of_a_slow_version():
    module = net()
    optimizer = create_optimizer(module, 0.01, 0.0, kind="muon", muon_rate=5.0)
    set_rate(optimizer, 0.01)
    kernel = module[1].weight
    expected, momentum = kernel.detach().clone(), torch.zeros_like(kernel)
    for seed in (1, 2):
        torch.manual_seed(seed)
        gradient = torch.autograd.grad(module(torch.randn(4, 3, 8, 8)).square().sum(), kernel)[0]
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient
        wanted = (1 - MOMENTUM) * gradient + MOMENTUM * momentum
        expected -= 0.05 * orthogonalised(wanted.reshape(6, 72)).reshape(kernel.shape)  # 6 rows, 72 columns: no factor
        step(module, optimizer, seed)
    assert torch.allclose(kernel, expected, atol=1e-6)


def test_a_tall_kernel_steps_further():
    tall = nn.Parameter(torch.zeros(32, 8, 1, 1))
    tall.grad = torch.randn(32, 8, 1, 1)
    Muon([{"params": [tall], "orthogonal": True}], lr=0.1).step()
    assert torch.linalg.svdvals(tall.detach().flatten(1)).mean() == pytest.approx(0.2, rel=0.3)  # 0.1 · (32 / 8)^½


def test_all_but_inner_kernels_is_adamw():
    first, second = net(), net()
    muon = create_optimizer(first, 0.01, 0.1, kind="muon")
    adamw = create_optimizer(second, 0.01, 0.1)
    step(first, muon, 3)
    step(second, adamw, 3)
    moved = {n: not torch.equal(a, b) for (n, a), b in zip(first.named_parameters(), second.parameters(), strict=True)}
    assert moved == {"0.weight": False, "0.bias": False, "1.weight": True, "3.weight": False, "3.bias": False}


def test_a_checkpoint_holds_all_of_it():
    module = net()
    optimizer = create_optimizer(module, 0.01, 0.1, kind="muon")
    for seed in range(3):
        step(module, optimizer, seed)
    other = copy.deepcopy(module)
    resumed = create_optimizer(other, 0.01, 0.1, kind="muon")
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(module, optimizer, 9)
    step(other, resumed, 9)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))


def test_a_closure_is_refused():
    with pytest.raises(ValueError, match="^Muon takes no closure$"):
        create_optimizer(net(), 0.01, 0.0, kind="muon").step(lambda: None)

import pytest
import tiny
import torch
from torch import nn

from mmretrieval.errors import RecipeError
from mmretrieval.training.optim import create_optimizer, rate_factor, set_rate


def test_every_parameter_is_in_exactly_one_group_with_its_share():
    model = tiny.model()
    optimizer = create_optimizer(model, 0.01, 0.1, {"branches.text": 0.5, "branches.text.encoder": 0.1})
    set_rate(optimizer, 0.01)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters())) == len(rate)
    for name, parameter in model.named_parameters():
        share = 0.1 if name.startswith("branches.text.encoder") else 0.5 if name.startswith("branches.text") else 1.0
        assert rate[id(parameter)] == pytest.approx(0.01 * share), name


def test_vectors_are_not_decayed():
    optimizer = create_optimizer(nn.Linear(3, 2), 0.01, 0.1)
    assert {group["params"][0].ndim: group["weight_decay"] for group in optimizer.param_groups} == {2: 0.1, 1: 0.0}


def test_a_name_that_fits_nothing():
    with pytest.raises(RecipeError) as caught:
        create_optimizer(tiny.model(), 0.01, 0.1, {"branches.txt.encoder": 0.1})
    assert str(caught.value) == (
        "training.rates: no parameter begins with 'branches.txt.encoder'. Did you mean 'branches.text.encoder'?"
    )


def test_one_cycle_rises_to_the_peak_and_falls_to_nothing():
    factors = [rate_factor(step, 100, "one_cycle", 0.2) for step in range(101)]
    assert factors[0] == pytest.approx(0.04)
    assert factors[20] == max(factors) == 1.0
    assert factors[100] == pytest.approx(0.0)
    assert factors[:21] == sorted(factors[:21]) and factors[20:] == sorted(factors[20:], reverse=True)


def test_cosine_and_multi_step():
    assert [rate_factor(step, 8, "cosine", 0.25) for step in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert rate_factor(5, 8, "cosine", 0.25) == pytest.approx(0.5)
    assert rate_factor(8, 8, "cosine", 0.0) == pytest.approx(0.0)
    factors = [rate_factor(step, 10, "multi_step", 0.0, [0.5, 0.8]) for step in range(10)]
    assert factors == pytest.approx([1.0] * 5 + [0.1] * 3 + [0.01] * 2)
    assert rate_factor(0, 10, "multi_step", 0.2, [0.5]) == 0.5


def test_sgd_has_momentum_and_decays_everything():
    optimizer = create_optimizer(nn.Linear(3, 2), 0.1, 0.01, kind="sgd")
    assert isinstance(optimizer, torch.optim.SGD)
    assert all(group["momentum"] == 0.9 and group["weight_decay"] == 0.01 for group in optimizer.param_groups)


def test_a_constant_rate_is_warmed_up():
    assert [rate_factor(step, 10, "constant", 0.2) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    assert rate_factor(0, 10, "constant", 0.0) == 1.0


def test_what_has_no_rate_is_left_out():
    model = tiny.model()
    optimizer = create_optimizer(model, 0.01, 0.1, {"branches.text": 0, "branches.text.head": 0.5})
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        left_out = name.startswith("branches.text") and not name.startswith("branches.text.head")
        assert (id(parameter) not in given) == left_out, name


def test_adam_of_the_papers_decays_through_the_gradient():
    """One step on a zero gradient: Adam makes of the decay a whole step, AdamW only a small share of the weight."""
    moved = {}
    for kind in ("adam", "adamw"):
        layer = nn.Linear(2, 2)
        nn.init.ones_(layer.weight)
        optimizer = create_optimizer(layer, 0.01, 0.1, kind=kind)
        layer.weight.grad, layer.bias.grad = torch.zeros(2, 2), torch.zeros(2)
        optimizer.step()
        moved[kind] = 1 - layer.weight[0, 0].item()
    assert moved["adam"] == pytest.approx(0.01, rel=1e-3)
    assert moved["adamw"] == pytest.approx(0.001, rel=1e-3)
    assert create_optimizer(nn.Linear(2, 2), 0.01, 0.0, kind="adam").defaults["betas"] == (0.9, 0.999)

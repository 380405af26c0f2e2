import pytest
import tiny
import torch
from torch import nn

from mmretrieval.errors import RecipeError
from mmretrieval.training.freeze import freeze
from mmretrieval.training.optim import create_optimizer

BACKBONE = "branches.video.encoder.backbone"


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model, before):
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def train(model, optimizer, steps=3):
    """Steps as the loop takes them, with an evaluation between: modes are switched all the time."""
    for step in range(steps):
        model.train()
        encodings = model(tiny.batch(seed=step))
        loss = sum(e.embedding.square().sum() + e.embedding[:, 0].sum() for e in encodings.values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        model.eval()
        model(tiny.batch(seed=step))


def test_a_frozen_part_stays_bit_for_bit_weights_and_statistics():
    model = tiny.model(similarity="dot")
    rates = {BACKBONE: 0, "branches.text": 0, "branches.text.head": 1.0}
    freeze(model, rates)
    optimizer = create_optimizer(model, 0.01, 0.5, rates)
    before = state(model)
    train(model, optimizer)
    moved = changed(model, before)
    frozen = [n for n in before if n.startswith((BACKBONE, "branches.text")) and not n.startswith("branches.text.head")]
    assert frozen and not moved & set(frozen)
    assert {"branches.speech.encoder.conv1.weight", "branches.speech.encoder.bn1.running_mean"} <= moved
    assert {"branches.text.head.out.weight", "branches.video.norm.running_var"} <= moved


def test_a_frozen_part_has_no_gradient_and_no_optimiser_state():
    model = tiny.model(similarity="dot")
    freeze(model, {BACKBONE: 0.0})
    optimizer = create_optimizer(model, 0.01, 0.5, {BACKBONE: 0.0})
    train(model, optimizer, 1)
    frozen = {id(p) for n, p in model.named_parameters() if n.startswith(BACKBONE)}
    assert frozen.isdisjoint(id(p) for group in optimizer.param_groups for p in group["params"])
    assert all(p.grad is None for p in model.parameters() if id(p) in frozen)
    assert len(optimizer.state) == len(list(model.parameters())) - len(frozen) - unused(model)


def unused(model):
    return sum(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_frozen_part_computes_in_training_what_it_computes_in_evaluation():
    text = {"encoder": {"name": "text_transformer", "dim": 16, "depth": 1, "heads": 2, "dropout": 0.5}}
    model = tiny.model(text={**tiny.CONFIG["text"], **text}, similarity="dot")
    freeze(model, {"branches.text.encoder": 0, BACKBONE: 0})
    batch = tiny.batch()
    for name in ("text", "video"):
        encoder = model.branches[name].encoder
        model.eval()
        expected = encoder(batch.inputs[name]).values
        model.train()
        assert torch.equal(encoder(batch.inputs[name]).values, expected)
        assert model.branches[name].training and model.branches[name].head.training


def test_statistics_are_held_while_weights_learn():
    model = tiny.model(similarity="dot")
    freeze(model, {}, [BACKBONE])
    optimizer = create_optimizer(model, 0.01, 0.0)
    before = state(model)
    train(model, optimizer)
    moved = changed(model, before)
    statistics = [n for n in before if n.startswith(BACKBONE) and ("running" in n or "tracked" in n)]
    assert statistics and not moved & set(statistics)
    weights = {n for n, _ in model.named_parameters() if n.startswith(BACKBONE)}
    assert weights <= moved
    assert "branches.speech.encoder.bn1.running_mean" in moved


def test_a_part_that_learns_inside_a_frozen_one():
    model = tiny.model(similarity="dot")
    freeze(model, {BACKBONE: 0, BACKBONE + ".layer2": 0.1})
    model.train()
    backbone = model.branches["video"].encoder.backbone
    assert backbone.layer2[0].bn1.training and not backbone.layer1[0].bn1.training
    assert not backbone.bn1.training
    assert all(p.requires_grad for p in backbone.layer2.parameters())
    assert not any(p.requires_grad for p in backbone.layer1.parameters())


def test_saving_and_copying_a_frozen_model(tmp_path):
    from copy import deepcopy

    model = tiny.model()
    freeze(model, {BACKBONE: 0})
    copy = deepcopy(model).train()
    assert not copy.branches["video"].encoder.backbone.bn1.training
    assert copy.branches["video"].norm.training
    model.save_pretrained(tmp_path / "model")
    loaded = type(model).from_pretrained(tmp_path / "model").train()
    assert loaded.branches["video"].encoder.backbone.bn1.training  # what is frozen is the run's affair, not the model's
    assert loaded.fingerprint() == model.fingerprint()


def test_messages():
    with pytest.raises(RecipeError) as error:
        freeze(tiny.model(), {"branches.vide.encoder": 0})
    assert str(error.value) == (
        "training.rates: no parameter begins with 'branches.vide.encoder'. Did you mean 'branches.video.encoder'?"
    )
    with pytest.raises(RecipeError) as error:
        freeze(tiny.model(), {}, ["branches.text.encoder"])
    assert str(error.value) == (
        "training.freeze_norm: no batch normalisation lies in 'branches.text.encoder'. "
        "Did you mean 'branches.text.norm'?"
    )
    with pytest.raises(RecipeError) as error:
        create_optimizer(nn.Linear(2, 2), 0.1, 0.0, {"weight": 0, "bias": 0})
    assert str(error.value) == "nothing is left to train: training.rates freezes every parameter of the model"

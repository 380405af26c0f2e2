"""Chunks change memory, not learning: loss, gradients, weights and codes are those of the whole batch."""

import pytest
import tiny
import torch
import training_worker
from torch import nn

from mmretrieval.types import Features

HELD = ["branches.video.encoder", "branches.speech.encoder"]


@pytest.fixture(scope="module")
def whole():
    return training_worker.train(freeze_norm=HELD)


@pytest.mark.parametrize("size", [1, 3, 8, 64])
def test_chunks_equal_the_whole_batch(whole, size):
    parts = training_worker.train(chunk=size, freeze_norm=HELD)
    torch.testing.assert_close(parts["losses"], whole["losses"], rtol=training_worker.ROUNDING, atol=0)
    assert parts["gradients"].keys() == whole["gradients"].keys()
    for kind in ("gradients", "state"):
        for name, value in whole[kind].items():
            torch.testing.assert_close(
                parts[kind][name],
                value,
                rtol=1e-5,
                atol=training_worker.ROUNDING,
                msg=lambda text, n=name: f"{n}: {text}",
            )


def test_norms_of_encoders_see_their_chunk_and_all_others_the_batch():
    """Every normalisation moves once per batch position and step: encoders' five times, the others' once."""
    state = training_worker.train(chunk=2)["state"]
    moved = {name: int(value) for name, value in state.items() if name.endswith("num_batches_tracked")}
    starting = 1  # the codebook is started from one more look at the features
    for name, times in moved.items():
        if ".encoder." in name:
            assert times == 5 * (training_worker.STEPS + starting), name
        elif name.endswith("code_norm.num_batches_tracked"):
            assert times == training_worker.STEPS - 2 + starting, name
        else:
            assert times == training_worker.STEPS, name


@pytest.mark.parametrize("started", [False, True])
def test_encoders_never_see_more_than_a_chunk(started):
    model = tiny.model(started=started).train()
    seen = []
    for branch in model.branches.values():
        branch.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output.mask)))
    encodings = model(tiny.batch(7), 3)
    sum(encoding.embedding.sum() for encoding in encodings.values()).backward()
    assert sorted(set(seen)) == [2, 3] and len(seen) == 2 * 3 * 3
    assert all(parameter.grad is not None for parameter in model.branches["video"].encoder.parameters())


def test_without_codes_only_pooled_features_are_kept():
    model, batch = tiny.model(codebook=None).eval(), tiny.batch(7)
    whole, parts = model(batch), model(batch, 3)
    for name, encoding in parts.items():
        torch.testing.assert_close(encoding.embedding, whole[name].embedding)
        assert encoding.features.values.shape[1] == 1


def test_features_that_come_ready_are_not_cut():
    model = tiny.model().eval()
    batch = tiny.batch(7)
    ready = batch._replace(inputs={name: model.branches[name].encoder(i) for name, i in batch.inputs.items()})
    assert all(isinstance(inputs, Features) for inputs in ready.inputs.values())
    for branch in model.branches.values():
        branch.encoder = nn.Identity()  # would fail if anything called it
    for size in (None, 2):
        for name, encoding in model(ready, size).items():
            expected = tiny.model().eval().encode(name, batch.inputs[name])
            torch.testing.assert_close(encoding.embedding, expected.embedding)
            torch.testing.assert_close(encoding.quantized.distribution, expected.quantized.distribution)

"""The claim of code matching, on concepts that are known: it makes modalities share codes, and retrieval no worse."""

import concepts
import pytest
import torch


@pytest.fixture(scope="module")
def outcomes():
    """Of a fifth of the benchmark's steps, and so with more code matching than the paper has."""
    models = {"continuous": (False, 0.0), "codebook": (True, 0.0), "matched": (True, 1.0)}
    return {name: concepts.train(0, *settings, steps=400) for name, settings in models.items()}


def test_codes_are_shared_with_code_matching_and_not_without(outcomes):
    assert outcomes["matched"].shared >= 0.8
    assert outcomes["codebook"].shared <= 0.3
    assert all(outcomes[name].used >= concepts.CONCEPTS for name in ("codebook", "matched"))


def test_retrieval_is_no_worse(outcomes):
    continuous = outcomes["continuous"].recall
    assert continuous > 0.5 and outcomes["matched"].recall > continuous - 0.04


def test_both_modalities_show_the_same_concepts_in_orders_of_their_own():
    world = concepts.World(3)
    inputs = world.items(20).inputs
    shown = {
        name: torch.cdist(values, world.vectors[name]).argmin(-1) for name, (values, _) in inputs.items()
    }  # the noise is small enough for that
    assert [set(row.tolist()) for row in shown["video"]] == [set(row.tolist()) for row in shown["speech"]]
    assert (shown["video"] != shown["speech"]).any()

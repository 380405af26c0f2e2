"""The types that travel: plain tuples, in one order, with the fields everybody relies on."""

import dataclasses

import pytest
import torch

from mmretrieval import types


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (types.Padded, ("values", "mask")),
        (types.Batch, ("ids", "inputs")),
        (types.Features, ("values", "mask", "grid", "costs")),
        (types.Quantized, ("features", "codes", "distribution", "commitment")),
        (types.Encoding, ("embedding", "features", "quantized")),
        (
            types.Hit,
            ("rank", "score", "id", "path", "start", "end", "confidence", "matched", "best", "moments", "copies"),
        ),
    ],
)
def test_fields_in_order(kind, fields):
    assert kind._fields == fields
    value = kind(*range(len(fields)))
    assert isinstance(value, tuple) and tuple(value) == tuple(range(len(fields)))
    with pytest.raises(AttributeError):
        setattr(value, fields[0], None)


def test_modalities_in_canonical_order():
    assert types.MODALITIES == ("video", "speech", "text")


def test_features_cost_nothing_unless_told():
    features = types.Features(torch.ones(1, 2, 3), torch.ones(1, 2, dtype=torch.bool), (2,))
    assert dict(features.costs) == {}
    assert features._replace(costs={"macs": torch.ones(())}).costs.keys() == {"macs"}
    assert dict(features.costs) == {}


@pytest.mark.parametrize("spec", [types.ClipSpec(), types.SpeechSpec(), types.TextSpec()])
def test_specs_are_frozen_plain_values(spec):
    again = type(spec)(**dataclasses.asdict(spec))
    assert again == spec and hash(again) == hash(spec)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(spec, dataclasses.fields(spec)[0].name, 1)


def test_the_speech_front_end_is_that_of_the_resdavenet_family():
    spec = types.SpeechSpec()
    assert (spec.sample_rate, spec.mels, spec.window_ms, spec.hop_ms) == (16_000, 40, 25.0, 10.0)
    assert (spec.fmin, spec.preemphasis, spec.floor_db) == (20.0, 0.97, -80.0)


def test_objectives_fit_their_protocol():
    from mmretrieval.objectives import AMM, CodeMatching, Commitment

    embedding = torch.eye(3)
    encodings = {name: types.Encoding(embedding, None, None) for name in ("text", "video")}
    for objective in (AMM(), CodeMatching(), Commitment()):
        losses = objective(encodings, same=None)
        assert isinstance(losses, dict) and all(loss.shape == () for loss in losses.values())

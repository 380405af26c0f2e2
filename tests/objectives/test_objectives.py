"""The objectives over encodings: which pairs, which names, which weights, and what bad settings get."""

import pytest
import torch

from mmretrieval.errors import RecipeError, UnknownNameError
from mmretrieval.objectives import AMM, MMS, NCE, SHN, CodeMatching, Commitment, Weighted, build_objective, objectives
from mmretrieval.objectives import functional as F
from mmretrieval.types import Encoding, Features, Quantized

THREE = ("text", "video", "speech")  # not in the canonical order, on purpose


def encoding(seed, batch=4, dim=6, codes=5, quantized=True):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(batch, 3, dim, generator=generator)
    features = Features(values, torch.ones(batch, 3, dtype=torch.bool), (3,))
    embedding = torch.randn(batch, dim, generator=generator)
    if not quantized:
        return Encoding(embedding, features, None)
    distribution = torch.randn(batch, codes, generator=generator).softmax(1)
    commitment = torch.rand((), generator=generator)
    ids = torch.zeros(batch, 3, dtype=torch.long)
    return Encoding(embedding, features, Quantized(features, ids, distribution, commitment))


def batch(names=THREE, **options):
    return {name: encoding(seed, **options) for seed, name in enumerate(names)}


@pytest.mark.parametrize(
    ("objective", "form"),
    [
        (NCE(include_positive=False), lambda S, same: F.nce(S, False, same)),
        (SHN(margin=2.0), lambda S, same: F.shn(S, 2.0, same)),
        (MMS(margin=0.5), lambda S, same: F.mms(S, 0.5, same)),
        (AMM(alpha=0.3, shared_margin=True), lambda S, same: F.amm(S, 0.3, True, False, same)),
        (AMM(detach_margin=True), lambda S, same: F.amm(S, 0.5, False, True, same)),
    ],
)
@pytest.mark.parametrize("same", [None, F.same_groups(torch.tensor([0, 1, 1, 2]))])
def test_every_pair_in_canonical_order_equals_its_functional_form(objective, form, same):
    encodings = batch()
    losses = objective(encodings, same)
    assert list(losses) == ["video_speech", "video_text", "speech_text"]
    for pair, loss in losses.items():
        first, second = (encodings[name].embedding for name in pair.split("_"))
        torch.testing.assert_close(loss, form(first @ second.T, same))


def test_code_matching_compares_distributions():
    encodings = batch()
    losses = CodeMatching()(encodings)
    P, Q = encodings["video"].quantized.distribution, encodings["text"].quantized.distribution
    torch.testing.assert_close(losses["video_text"], F.cmcm(P, Q))
    torch.testing.assert_close(CodeMatching(both=False)(encodings)["video_text"], F.cmcm(P, Q, both=False))


def test_a_modality_without_codes_adds_nothing():
    encodings = batch() | {"text": encoding(0, quantized=False)}
    assert list(CodeMatching()(encodings)) == ["video_speech"]
    assert list(Commitment()(encodings)) == ["video", "speech"]
    assert len(AMM()(encodings)) == 3


def test_pairs_can_be_chosen():
    assert list(AMM(pairs=("speech_text", "video_text"))(batch())) == ["video_text", "speech_text"]


def test_padding_changes_nothing():
    encodings = batch()
    longer = {
        name: e._replace(
            features=Features(
                torch.cat([e.features.values, torch.full_like(e.features.values, torch.nan)], 1),
                torch.cat([e.features.mask, ~e.features.mask], 1),
                (6,),
            )
        )
        for name, e in encodings.items()
    }
    objective = build_objective({"amm": {}, "cmcm": {}, "commitment": {}})
    assert objective(longer)[0] == objective(encodings)[0]


@pytest.mark.parametrize("name", ["nce", "shn", "mms", "amm"])
def test_half_precision_embeddings_and_autocast_are_computed_in_float32(name):
    encodings = {name: e._replace(embedding=e.embedding.bfloat16()) for name, e in batch(dim=64).items()}
    wide = {name: e._replace(embedding=e.embedding.float()) for name, e in encodings.items()}
    objective = objectives.get(name)()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = objective(encodings)
    for pair, loss in objective(wide).items():
        torch.testing.assert_close(losses[pair], loss, atol=0, rtol=0)


@pytest.mark.parametrize("name", ["nce", "shn", "mms", "amm", "cmcm"])
def test_a_batch_that_shrank_to_one_item_has_no_loss_and_no_gradient(name):
    encodings = batch(batch=1)
    for e in encodings.values():
        e.embedding.requires_grad_()
        e.quantized.distribution.requires_grad_()
    loss = sum(objectives.get(name)()(encodings).values())
    loss.backward()
    assert loss == 0
    leaf = encodings["video"].quantized.distribution if name == "cmcm" else encodings["video"].embedding
    assert (leaf.grad == 0).all()


def test_the_scheduled_margin_follows_the_step_it_is_told():
    objective = MMS(growth=1.002, every=1000)
    assert objective.margin_at(999) == 0.001
    assert objective.margin_at(23_400) == pytest.approx(0.001047026, abs=1e-9)
    assert objective.margin_at(100_000) == pytest.approx(0.001221159, abs=1e-9)
    assert objective.margin_at(1_000_000) == pytest.approx(0.007374312, abs=1e-9)
    encodings = batch(("video", "text"))
    S = encodings["video"].embedding @ encodings["text"].embedding.T
    fast = MMS(margin=0.1, growth=2.0, every=10)
    resumed = Weighted({"mms": (MMS(margin=0.1, growth=2.0, every=10), 1.0), "amm": (AMM(), 0.0)})
    for step, margin in [(0, 0.1), (9, 0.1), (10, 0.2), (35, 0.8)]:
        fast.set_step(step)
        torch.testing.assert_close(fast(encodings)["video_text"], F.mms(S, margin))
    resumed.set_step(35)
    assert resumed(encodings)[0] == fast(encodings)["video_text"]


def test_weighted_sum_and_report():
    encodings = batch()
    for e in encodings.values():
        e.embedding.requires_grad_()
    objective = build_objective({"amm": {"alpha": 0.3}, "cmcm": {"weight": 0.1}, "commitment": {"weight": 0.25}})
    total, report = objective(encodings)
    assert list(report) == [
        "amm/video_speech",
        "amm/video_text",
        "amm/speech_text",
        "cmcm/video_speech",
        "cmcm/video_text",
        "cmcm/speech_text",
        "commitment/video",
        "commitment/speech",
        "commitment/text",
    ]
    weights = {"amm": 1.0, "cmcm": 0.1, "commitment": 0.25}
    torch.testing.assert_close(total, sum(weights[name.split("/")[0]] * loss for name, loss in report.items()))
    torch.testing.assert_close(report["amm/video_text"], AMM(alpha=0.3)(encodings)["video_text"].detach())
    assert total.requires_grad and not any(loss.requires_grad for loss in report.values())


def test_same_reaches_every_part():
    encodings = batch()
    same = F.same_groups(torch.tensor([0, 0, 1, 2]))
    objective = build_objective({"nce": {}, "cmcm": {}})
    assert objective(encodings, same)[0] < objective(encodings)[0]


def test_all_six_are_registered_and_built_by_name():
    assert objectives.names() == ["amm", "cmcm", "commitment", "mms", "nce", "shn"]
    for name in objectives.names():
        total, report = build_objective({name: {}})(batch())
        assert total.isfinite() and len(report) == 3


# --- messages


def test_a_list_of_pairs_reaches_the_objective():
    objective = build_objective({"amm": {"pairs": ["video_text"]}})
    assert list(objective(batch())[1]) == ["amm/video_text"]


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (
            {"amn": {}},
            UnknownNameError,
            "unknown objective 'amn'. Did you mean 'amm'? Known: amm, cmcm, commitment, mms, nce, shn.",
        ),
        (
            {"amm": {"alhpa": 0.5}},
            RecipeError,
            "objective 'amm' has no setting 'alhpa'. Did you mean 'alpha'? It has: weight, pairs, alpha, "
            "shared_margin, detach_margin.",
        ),
        ({"amm": {"alpha": "0.5"}}, RecipeError, "objective 'amm': alpha must be a number, got '0.5'"),
        ({"amm": {"alpha": True}}, RecipeError, "objective 'amm': alpha must be a number, got True"),
        ({"amm": {"alpha": float("nan")}}, RecipeError, "objective 'amm': alpha must be a number, got nan"),
        (
            {"amm": {"shared_margin": 1}},
            RecipeError,
            "objective 'amm': shared_margin must be true or false, got 1",
        ),
        ({"mms": {"every": 0}}, RecipeError, "objective 'mms': every must be a whole number above 0, got 0"),
        (
            {"cmcm": {"weight": -1}},
            RecipeError,
            "objective 'cmcm': weight must be a number of at least 0, got -1",
        ),
        (
            {"cmcm": {"weight": None}},
            RecipeError,
            "objective 'cmcm': weight must be a number of at least 0, got None",
        ),
        ({"cmcm": 0.1}, RecipeError, "objective 'cmcm' needs a table of settings, e.g. weight: 0.1; got 0.1"),
        (
            {"amm": {"pairs": "video_text"}},
            RecipeError,
            "objective 'amm': pairs must be a list of names such as video_text, got 'video_text'",
        ),
        (
            {"amm": {"pairs": []}},
            RecipeError,
            "pairs is empty: name at least one, or leave it out to compare every pair of the batch",
        ),
        (
            {"amm": {"pairs": ["text_video"]}},
            UnknownNameError,
            "unknown pair of modalities 'text_video'. Did you mean 'video_text'? Known: video_speech, video_text, "
            "speech_text.",
        ),
        (
            {"amm": {"pairs": ["video_txt"]}},
            UnknownNameError,
            "unknown pair of modalities 'video_txt'. Did you mean 'video_text'? Known: video_speech, video_text, "
            "speech_text.",
        ),
        (
            {},
            RecipeError,
            "training needs at least one objective of amm, cmcm, commitment, mms, nce, shn; got none",
        ),
    ],
)
def test_bad_settings(config, error, message):
    with pytest.raises(error) as caught:
        build_objective(config)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("objective", "names", "error", "message"),
    [
        (
            AMM(),
            ("video",),
            RecipeError,
            "an objective compares at least two of video, speech, text; the batch has video",
        ),
        (
            AMM(pairs=("video_text", "speech_text")),
            ("video", "speech"),
            RecipeError,
            "the objective is told to compare video_text, speech_text, but the batch has video, speech",
        ),
        (
            AMM(),
            ("video", "sound"),
            UnknownNameError,
            "unknown modality 'sound'. Known: video, speech, text.",
        ),
    ],
)
def test_bad_batches(objective, names, error, message):
    with pytest.raises(error) as caught:
        objective(batch(names))
    assert str(caught.value) == message


def test_a_sum_of_nothing_is_refused():
    with pytest.raises(RecipeError) as caught:
        build_objective({"cmcm": {}, "commitment": {}})(batch(quantized=False))
    assert str(caught.value) == (
        "nothing to train on: cmcm, commitment found no codes in the batch; give the model a codebook or add an "
        "objective over embeddings, such as amm"
    )

"""The losses against the numbers of the specification, slow loops, and their limits."""

import math
from functools import partial

import pytest
import torch

from mmretrieval.objectives import functional as F

S = torch.tensor([[2, 1, 0], [0.5, 1.5, -1], [1, 0, 3]], dtype=torch.float64)
SAME = F.same_groups(torch.tensor([0, 0, 1]))

FORMS = {
    "nce": (F.nce, F.nce_rows),
    "nce_excluding": (partial(F.nce, include_positive=False), partial(F.nce_rows, include_positive=False)),
    "shn": (F.shn, F.shn_rows),
    "mms": (F.mms, F.mms_rows),
    "mms_1": (partial(F.mms, margin=1.0), partial(F.mms_rows, margin=1.0)),
    "amm": (F.amm, F.amm_rows),
    "amm_1": (partial(F.amm, alpha=1.0), partial(F.amm_rows, alpha=1.0)),
    "amm_detached": (partial(F.amm, detach_margin=True), partial(F.amm_rows, detach_margin=True)),
    "amm_shared": (partial(F.amm, shared_margin=True), F.amm_rows),
}
BOUNDED = [name for name in FORMS if name != "nce_excluding"]


def slow_rows(name, S, same=None):
    """One direction, an item at a time, in plain Python."""
    S = S.tolist()
    total = 0.0
    for i, row in enumerate(S):
        negatives = [x for j, x in enumerate(row) if j != i and not (same is not None and same[i][j])]
        if not negatives:
            continue
        positive = row[i]
        if name == "shn":
            below = [x for x in negatives if x < positive]
            total += max(max(below) - positive + 1.0, 0.0) if below else 0.0
            continue
        if name == "nce_excluding":
            total += math.log(sum(math.exp(x) for x in negatives)) - positive
            continue
        margin = {"nce": 0.0, "mms": 0.001, "mms_1": 1.0}.get(name)
        if margin is None:
            alpha = 1.0 if name == "amm_1" else 0.5
            margin = alpha * (positive - sum(negatives) / len(negatives))
        lowered = positive - margin
        total += math.log(math.exp(lowered) + sum(math.exp(x) for x in negatives)) - lowered
    return total / len(S)


# --- the numbers of the specification


@pytest.mark.parametrize(
    ("name", "same", "rows", "columns"),
    [
        ("nce", None, 0.316330339, 0.378127764),
        ("nce_excluding", None, -1.057354449, -1.133133214),
        ("mms", None, 0.316597531, 0.378424081),
        ("mms_1", None, 0.689505651, 0.769378593),
        ("amm", None, 0.651931722, 0.645526538),
        ("amm_1", None, 1.212838362, 1.159959142),
        ("shn", None, 0.0, 0.166666667),
        ("mms", SAME, 0.125338395, 0.193691400),
        ("mms_1", SAME, 0.307426977, 0.445690062),
        ("amm", SAME, 0.354541408, 0.397206867),
    ],
)
def test_golden_losses(name, same, rows, columns):
    both, one = FORMS[name]
    assert one(S, same=same).item() == pytest.approx(rows, abs=1e-6)
    assert one(S.T, same=same).item() == pytest.approx(columns, abs=1e-6)
    assert both(S, same=same).item() == pytest.approx(rows + columns, abs=1e-6)


def test_golden_margins_and_totals_of_amm():
    assert F.amm_margins(S).tolist() == pytest.approx([0.75, 0.875, 1.25])
    assert F.amm_margins(S.T).tolist() == pytest.approx([0.625, 0.5, 1.75])
    assert F.amm(S).item() == pytest.approx(1.297458261, abs=1e-6)
    assert F.amm(S, alpha=1.0).item() == pytest.approx(2.372797504, abs=1e-6)
    assert F.amm(S, shared_margin=True).item() == pytest.approx(1.358619429, abs=1e-6)
    assert F.amm(S, alpha=1.0, shared_margin=True).item() == pytest.approx(2.430150446, abs=1e-6)


@pytest.mark.parametrize(
    ("detach", "expected"),
    [
        (
            False,
            [
                [-0.085968358, 0.082711632, 0.003256726],
                [0.098208174, -0.086515672, -0.011692502],
                [0.062941454, 0.002478286, -0.06541974],
            ],
        ),
        (
            True,
            [
                [-0.171936717, 0.125695812, 0.046240905],
                [0.14146601, -0.173031343, 0.031565333],
                [0.095651324, 0.035188156, -0.130839479],
            ],
        ),
    ],
)
def test_golden_gradients_of_amm(detach, expected):
    leaf = S.clone().requires_grad_()
    F.amm_rows(leaf, detach_margin=detach).backward()
    torch.testing.assert_close(leaf.grad, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)


A = torch.tensor([[0.491681484, 0.496555873, 0.011762643], [0.017867982, 0.006573263, 0.975558755]])
B = torch.tensor([[0.708265615, 0.260556359, 0.031178026], [0.066553097, 0.019916719, 0.913530184]])
CODES = torch.tensor([[0.0, 0], [3, 0], [0, 4]], dtype=torch.float64)


def soft_histogram(points, squared=False):
    """Mean over points of the soft-min over distances to the codes, spelled out."""
    distances = ((torch.tensor(points, dtype=torch.float64)[:, None] - CODES) ** 2).sum(-1)
    return (-(distances if squared else distances.sqrt())).softmax(-1).mean(0)


def test_golden_code_matching():
    P = torch.stack([soft_histogram([[0.0, 0], [3, 0]]), soft_histogram([[0.0, 4], [0, 4]])])
    Q = torch.stack([soft_histogram([[1.0, 0]]), soft_histogram([[0.0, 3], [0, 4]])])
    torch.testing.assert_close(P.float(), A, atol=1e-6, rtol=0)
    torch.testing.assert_close(Q.float(), B, atol=1e-6, rtol=0)
    expected = torch.tensor([[-1.701966274, -7.397857000], [-7.558871536, -0.552929336]], dtype=torch.float64)
    torch.testing.assert_close(F.code_similarity(P, Q), expected, atol=1e-6, rtol=0)
    assert F.cmcm(P, Q, both=False).item() == pytest.approx(0.002130090, abs=1e-6)
    assert F.cmcm(Q, P, both=False).item() == pytest.approx(0.001960138, abs=1e-6)
    assert F.cmcm(P, Q).item() == pytest.approx((0.002130090 + 0.001960138) / 2, abs=1e-6)


def test_golden_code_similarity_of_squared_distances():
    P = torch.stack([soft_histogram([[0.0, 0], [3, 0]], True), soft_histogram([[0.0, 4], [0, 4]], True)])
    Q = torch.stack([soft_histogram([[1.0, 0]], True), soft_histogram([[0.0, 3], [0, 4]], True)])
    expected = torch.tensor([[-2.241737362, -29.883609881], [-32.475416868, -0.002853076]], dtype=torch.float64)
    torch.testing.assert_close(F.code_similarity(P, Q), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(F.code_similarity(P.float(), Q.float()), expected.float(), atol=1e-4, rtol=0)


# --- slow references


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("size", [2, 5, 17])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_slow_loop(name, size, masked):
    generator = torch.Generator().manual_seed(size)
    scores = 3 * torch.randn(size, size, generator=generator, dtype=torch.float64)
    same = torch.rand(size, size, generator=generator) < 0.4 if masked else None  # neither symmetric nor reflexive
    both, one = FORMS[name]
    turned = None if same is None else same.T
    rows, columns = slow_rows(name, scores, same), slow_rows(name, scores.T, turned)
    assert one(scores, same=same).item() == pytest.approx(rows, abs=1e-12)
    if name != "amm_shared":
        assert both(scores, same=same).item() == pytest.approx(rows + columns, abs=1e-12)


def test_shared_margins_equal_the_slow_loop():
    scores = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for direction in (scores, scores.T):
        for i in range(6):
            others = [scores[i, j].item() for j in range(6) if j != i]
            lowered = scores[i, i].item() - 0.5 * (scores[i, i].item() - sum(others) / 5)
            against = [direction[i, j].item() for j in range(6) if j != i]
            total += (math.log(math.exp(lowered) + sum(map(math.exp, against))) - lowered) / 6
    assert F.amm(scores, shared_margin=True).item() == pytest.approx(total, abs=1e-12)


def test_code_similarity_equals_the_slow_loop():
    P = torch.rand(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).softmax(1)
    Q = torch.rand(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).softmax(1)
    got = F.code_similarity(P, Q)
    for i in range(4):
        for j in range(4):
            expected = sum(
                P[i, k].item() * math.log(Q[j, k].item()) + Q[j, k].item() * math.log(P[i, k].item()) for k in range(7)
            )
            assert got[i, j].item() == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(F.code_similarity(P.log(), Q.log(), log=True), got)
    assert (got <= 0).all()


# --- limits


def test_alpha_zero_and_margin_zero_are_infonce():
    for same in (None, SAME):
        assert F.amm(S, alpha=0.0, same=same) == F.nce(S, same=same)
        assert F.mms(S, margin=0.0, same=same) == F.nce(S, same=same)


def test_infonce_is_the_cross_entropy_of_the_diagonal():
    expected = torch.nn.functional.cross_entropy(S, torch.arange(3))
    torch.testing.assert_close(F.nce_rows(S), expected)


def test_alpha_one_sends_no_gradient_to_the_positive():
    leaf = S.clone().requires_grad_()
    F.amm(leaf, alpha=1.0).backward()
    assert leaf.grad.diagonal().abs().max() < 1e-15
    assert leaf.grad.abs().max() > 0.01
    leaf.grad = None
    F.amm(leaf, alpha=1.0, detach_margin=True).backward()
    assert leaf.grad.diagonal().abs().min() > 0.01


def test_every_row_of_an_amm_gradient_sums_to_zero():
    leaf = torch.randn(9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    F.amm_rows(leaf).backward()
    assert leaf.grad.sum(1).abs().max() < 1e-15


def test_semi_hard_mining_survives_negative_similarities():
    # hiding by a product with the mask makes a hidden pair 0, which beats the true -3 and gives 2.5
    assert F.shn_rows(torch.tensor([[-1.0, -3.0], [-0.5, -2.0]])).item() == 0.0


def test_a_negative_as_similar_as_the_positive_is_not_semi_hard():
    assert F.shn_rows(torch.tensor([[1.0, 1.0], [0.5, 1.0]])).item() == pytest.approx(0.25)


@pytest.mark.parametrize("name", FORMS)
def test_what_same_says_of_the_diagonal_changes_nothing(name):
    with_diagonal, without = SAME, SAME & ~torch.eye(3, dtype=torch.bool)
    assert FORMS[name][0](S, same=with_diagonal) == FORMS[name][0](S, same=without)


@pytest.mark.parametrize("name", FORMS)
def test_masked_pairs_have_no_influence_and_no_gradient(name):
    leaf = S.clone().requires_grad_()
    loss = FORMS[name][0](leaf, same=SAME)
    loss.backward()
    assert leaf.grad[0, 1] == leaf.grad[1, 0] == 0
    changed = S.clone()
    changed[0, 1], changed[1, 0] = 50.0, -50.0
    assert FORMS[name][0](changed, same=SAME).item() == pytest.approx(loss.item(), abs=1e-12)


@pytest.mark.parametrize("name", FORMS)
def test_a_row_without_negatives_has_no_loss_and_a_sound_gradient(name):
    everything = torch.ones(3, 3, dtype=torch.bool)
    leaf = S.clone().requires_grad_()
    loss = FORMS[name][0](leaf, same=everything)
    loss.backward()
    assert loss.item() == 0.0
    assert (leaf.grad == 0).all()
    one_row = torch.zeros(3, 3, dtype=torch.bool)
    one_row[0] = True
    leaf.grad = None
    FORMS[name][0](leaf, same=one_row).backward()
    assert leaf.grad.isfinite().all()
    assert F.amm_margins(S, same=one_row)[0] == 0


@pytest.mark.parametrize("name", FORMS)
def test_order_of_items_changes_nothing(name):
    order = torch.tensor([2, 0, 1])
    permuted = S[order][:, order]
    assert FORMS[name][0](permuted).item() == pytest.approx(FORMS[name][0](S).item(), abs=1e-12)


def test_permuting_codes_changes_nothing():
    order = torch.tensor([2, 0, 1])
    assert F.cmcm(A[:, order], B[:, order]).item() == pytest.approx(F.cmcm(A, B).item(), abs=1e-7)


def test_an_unused_code_changes_nothing():
    zeros = torch.zeros(2, 1)
    wider = F.code_similarity(torch.cat([A, zeros], 1), torch.cat([B, zeros], 1))
    torch.testing.assert_close(wider, F.code_similarity(A, B))


def test_distributions_with_zeros_give_finite_losses_and_gradients():
    P = torch.eye(3).requires_grad_()
    Q = torch.eye(3)[[1, 2, 0]].clone().requires_grad_()
    loss = F.cmcm(P, Q)
    loss.backward()
    assert loss.isfinite()
    assert P.grad.isfinite().all() and Q.grad.isfinite().all()
    logs = torch.eye(3).log()
    assert F.code_similarity(logs, logs, log=True).isfinite().all()


def test_code_matching_leaves_masked_pairs_out():
    same = torch.ones(2, 2, dtype=torch.bool)
    assert F.cmcm(A, B, same=same).item() == 0.0


# --- numbers of all sizes


# a detached margin is by definition not the derivative
@pytest.mark.parametrize("name", [name for name in FORMS if name != "amm_detached"])
def test_gradients_are_those_of_finite_differences(name):
    scores = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    same = F.same_groups(torch.tensor([0, 1, 0, 2, 3]))
    assert torch.autograd.gradcheck(lambda S: FORMS[name][0](S, same=same), scores)


def test_gradients_of_code_matching_are_those_of_finite_differences():
    P = torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    Q = torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda P, Q: F.cmcm(P.softmax(1), Q.softmax(1)), (P, Q))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype):
    scores = (40 * torch.randn(8, 8, generator=torch.Generator().manual_seed(6))).to(dtype)
    loss = FORMS[name][0](scores)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, FORMS[name][0](scores.float()), atol=0, rtol=0)


@pytest.mark.parametrize("name", FORMS)
def test_float64_stays_and_float32_is_close(name):
    loss = FORMS[name][0](S)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(FORMS[name][0](S.float()).double(), loss, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", BOUNDED)
def test_large_similarities_do_not_overflow(name):
    scores = 1000 * torch.randn(8, 8, generator=torch.Generator().manual_seed(7))
    leaf = scores.requires_grad_()
    loss = FORMS[name][0](leaf)
    loss.backward()
    assert loss.isfinite() and loss >= 0
    assert leaf.grad.isfinite().all()


def test_autocast_does_not_reach_the_code_similarity():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = F.code_similarity(A, B)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, F.code_similarity(A, B), atol=0, rtol=0)


# --- messages


@pytest.mark.parametrize("name", FORMS)
def test_one_item_is_refused(name):
    with pytest.raises(ValueError) as caught:
        FORMS[name][0](torch.ones(1, 1))
    assert str(caught.value) == "a contrastive loss compares at least 2 items, got 1: use larger batches"


@pytest.mark.parametrize("name", FORMS)
def test_shapes_are_checked(name):
    with pytest.raises(ValueError) as caught:
        FORMS[name][0](torch.ones(2, 3))
    assert str(caught.value) == (
        "similarities of paired items are a square (B, B) matrix, got (2, 3): both modalities need the same items in "
        "the same order"
    )
    with pytest.raises(ValueError) as caught:
        FORMS[name][0](S, same=torch.zeros(3, 3))
    assert str(caught.value) == "same must be a bool mask of shape (3, 3), got torch.float32 of shape (3, 3)"


def test_distributions_over_different_codebooks_are_refused():
    with pytest.raises(ValueError) as caught:
        F.code_similarity(torch.ones(2, 3), torch.ones(2, 4))
    assert str(caught.value) == (
        "code distributions are two (B, K) matrices over the same K codes, got (2, 3) and (2, 4)"
    )

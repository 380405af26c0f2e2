"""Ranks, recall and average precision against slow definitions, and the trap of ties."""

import itertools

import numpy as np
import pytest
import torch

from mmretrieval import metrics

TOY = np.array([[0.9, 0.1, 0.3], [0.8, 0.2, 0.5], [0.4, 0.6, 0.5]])


def random_case(seed, queries=12, gallery=9, levels=4):
    """Scores with many ties, and a mask with one to three relevant items per query."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=(queries, gallery)).astype(float) - 2.0
    relevant = np.zeros((queries, gallery), dtype=bool)
    for row in relevant:
        row[rng.choice(gallery, rng.integers(1, 4), replace=False)] = True
    return scores, relevant


def walk(order, relevant):
    """Rank of the first relevant item and average precision of one query, down one ordered list."""
    found, precisions, first = 0, [], None
    for place, item in enumerate(order, start=1):
        if relevant[item]:
            found += 1
            first = first or place
            precisions.append(found / place)
    return first, sum(precisions) / found


def orders(row):
    """All orders of one row that put higher scores first."""
    groups = [np.flatnonzero(row == score) for score in sorted(set(row), reverse=True)]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield [item for part in parts for item in part]


def test_golden_toy():
    assert metrics.ranks(TOY).tolist() == [1, 3, 2]
    assert metrics.recall(TOY, ks=(1, 2, 3)) == {
        "recall@1": pytest.approx(1 / 3),
        "recall@2": pytest.approx(2 / 3),
        "recall@3": 1.0,
    }
    assert metrics.mean_reciprocal_rank(TOY) == pytest.approx(0.611111, abs=1e-6)
    assert metrics.mean_average_precision(TOY) == pytest.approx(0.611111, abs=1e-6)
    assert metrics.median_rank(TOY) == 2


def test_golden_toy_with_a_tie():
    assert metrics.ranks(TOY.T).tolist() == [1, 2, 1.5]
    assert metrics.ranks(TOY.T, ties="pessimistic").tolist() == [1, 2, 2]
    assert metrics.ranks(TOY.T, ties="position").tolist() == [1, 2, 2]
    assert metrics.recall(TOY.T)["recall@1"] == pytest.approx(1 / 3)
    assert metrics.recall(TOY.T, ties="pessimistic")["recall@1"] == pytest.approx(1 / 3)
    assert metrics.recall(TOY.T, ties="expected")["recall@1"] == pytest.approx(0.5)
    assert metrics.recall(TOY.T)["recall@5"] == 1.0


@pytest.mark.parametrize("ties", ["position", "expected"])
def test_trap_constant_scores_give_k_of_n(ties):
    for scores in (np.zeros((100, 100)), np.full((100, 100), -3.7, dtype=np.float32)):
        result = metrics.recall(scores, ties=ties)
        assert result == {
            "recall@1": pytest.approx(0.01),
            "recall@5": pytest.approx(0.05),
            "recall@10": pytest.approx(0.10),
        }
    assert metrics.recall(np.zeros((100, 100)), ties="pessimistic")["recall@10"] == 0
    assert metrics.median_rank(np.zeros((100, 100))) == 50.5
    harmonic = sum(1 / n for n in range(1, 101)) / 100
    assert metrics.mean_average_precision(np.zeros((100, 100)), ties=ties) == pytest.approx(harmonic)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("several", [False, True])
def test_expected_ties_are_the_mean_over_all_orders(seed, several):
    scores, relevant = random_case(seed, queries=6, gallery=7, levels=3)
    if not several:
        relevant = np.eye(7, dtype=bool)[np.random.default_rng(seed).integers(7, size=6)]
    ranks, hits, precisions = [], [], []
    for row, wanted in zip(scores, relevant, strict=True):
        walks = [walk(order, wanted) for order in orders(row)]
        ranks.append(np.mean([first for first, _ in walks]))
        hits.append([np.mean([first <= k for first, _ in walks]) for k in (1, 2, 3, 7)])
        precisions.append(np.mean([precision for _, precision in walks]))
    np.testing.assert_allclose(metrics.ranks(scores, relevant), ranks)
    recall = metrics.recall(scores, (1, 2, 3, 7), relevant, ties="expected")
    np.testing.assert_allclose(list(recall.values()), np.mean(hits, axis=0))
    assert metrics.mean_average_precision(scores, relevant, ties="expected") == pytest.approx(np.mean(precisions))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", ["position", "pessimistic"])
def test_ordered_ties_equal_the_slow_walk(seed, ties):
    scores, relevant = random_case(seed)
    walks = []
    for row, wanted in zip(scores, relevant, strict=True):
        last_resort = (lambda j, w=wanted: (w[j], j)) if ties == "pessimistic" else (lambda j: j)
        order = sorted(range(len(row)), key=lambda j, row=row, last=last_resort: (-row[j], last(j)))
        walks.append(walk(order, wanted))
    firsts, precisions = np.array(walks).T
    np.testing.assert_array_equal(metrics.ranks(scores, relevant, ties), firsts)
    assert metrics.recall(scores, (3,), relevant, ties)["recall@3"] == pytest.approx(np.mean(firsts <= 3))
    assert metrics.mean_average_precision(scores, relevant, ties) == pytest.approx(np.mean(precisions))
    if ties == "position":
        assert metrics.mean_reciprocal_rank(scores, relevant) == pytest.approx(np.mean(1 / firsts))


def test_average_precision_agrees_with_scikit_learn_without_ties():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 50))
    _, relevant = random_case(0, queries=20, gallery=50)
    expected = np.mean([average_precision_score(w, s) for w, s in zip(relevant, scores, strict=True)])
    for ties in metrics.TIES:
        assert metrics.mean_average_precision(scores, relevant, ties) == pytest.approx(expected)


def test_three_ways_to_say_what_is_relevant_agree():
    scores = np.random.default_rng(1).normal(size=(8, 8))
    diagonal = metrics.ranks(scores)
    np.testing.assert_array_equal(metrics.ranks(scores, np.arange(8)), diagonal)
    np.testing.assert_array_equal(metrics.ranks(scores, np.eye(8, dtype=bool)), diagonal)
    np.testing.assert_array_equal(metrics.ranks(torch.tensor(scores), torch.eye(8, dtype=torch.bool)), diagonal)


def test_several_queries_may_share_an_item():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.4]])
    assert metrics.ranks(scores, [1, 0, 0]).tolist() == [1, 1, 2]


def test_torch_half_precision_and_views_are_accepted():
    scores = torch.tensor(TOY, dtype=torch.bfloat16, requires_grad=True)
    assert metrics.ranks(scores).tolist() == [1, 3, 2]
    assert metrics.ranks(scores.T).tolist() == metrics.ranks(TOY.T).tolist()


def test_float32_is_not_rounded_before_counting():
    scores = np.array([[1.0, np.nextafter(np.float32(1), np.float32(2))], [0.0, 1.0]], dtype=np.float32)
    assert metrics.ranks(scores).tolist() == [2, 1]


def test_blocks_of_queries_join():
    scores, relevant = random_case(7)
    parts = [metrics.standings(scores[i : i + 5], relevant[i : i + 5]) for i in range(0, 12, 5)]
    joined, whole = metrics.summary(metrics.concatenate(parts)), metrics.summary(metrics.standings(scores, relevant))
    assert joined == whole
    assert whole == {
        **metrics.recall(scores, relevant=relevant),
        "map": pytest.approx(metrics.mean_average_precision(scores, relevant)),
        "median_rank": metrics.median_rank(scores, relevant),
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.ranks(np.zeros(3)), "scores must be a matrix of queries by gallery, got shape (3,)"),
        (lambda: metrics.ranks(np.zeros((0, 3))), "scores must be a matrix of queries by gallery, got shape (0, 3)"),
        (
            lambda: metrics.ranks([[0.0, 1.0], [np.nan, 0.0]]),
            "scores must be finite, got nan for query 1 and item 0",
        ),
        (
            lambda: metrics.ranks(np.zeros((2, 3))),
            "2 queries and 3 items have no diagonal: say which items are relevant",
        ),
        (
            lambda: metrics.ranks(TOY, np.zeros((3, 3), dtype=bool)),
            "every query needs a relevant item; query 0 has none (3 in all)",
        ),
        (lambda: metrics.ranks(TOY, [0, 1, 3]), "relevant items are numbered 0 to 2, got 3"),
        (
            lambda: metrics.ranks(TOY, np.eye(3)),
            "relevant must be a bool mask of shape (3, 3) or 3 item numbers, got float64 of shape (3, 3)",
        ),
        (
            lambda: metrics.ranks(TOY, ties="optimistic"),
            "ties must be one of expected, position, pessimistic, got 'optimistic'",
        ),
        (lambda: metrics.recall(TOY, ks=(0,)), "recall@k needs k of at least 1, got 0"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message

"""The index that is chosen is the fastest that finds enough, by measurement, within its memory."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmretrieval.collection import candidates, choice
from mmretrieval.collection.choice import RECALL, Trial, choose_index, recall
from mmretrieval.collection.index import build_index, index_from_bytes, index_to_bytes, stored


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr(choice, "EXACT_BELOW", 1000)
    monkeypatch.setattr(choice, "QUERIES", 30)
    rng = np.random.default_rng(0)
    made = rng.normal(size=(40, 16))[rng.integers(0, 40, 3000)] + 0.4 * rng.normal(size=(3000, 16))
    return build_index((made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32))


def test_few_embeddings_are_not_measured():
    chosen = choose_index(build_index(np.eye(5, dtype=np.float32)))
    assert (chosen.kind, chosen.parameters, chosen.measured) == ("exact", {}, [])


def test_the_fastest_that_finds_enough_is_chosen(exact):
    chosen = choose_index(exact)
    tried = [row for row in chosen.measured if "skipped" not in row]
    enough = [row for row in tried if row["recall"] >= RECALL]
    best = min(enough, key=lambda row: row["milliseconds"])
    assert (chosen.kind, chosen.parameters) == (best["kind"], best["parameters"])
    assert tried[0]["kind"] == "exact" and tried[0]["recall"] == 1.0
    assert best["milliseconds"] <= tried[0]["milliseconds"]
    assert {row["kind"] for row in chosen.measured} == {"exact", *(one.kind for one in candidates.CANDIDATES)}
    assert json.loads(json.dumps(chosen.measured)) == chosen.measured


def test_nothing_slower_than_exact_is_chosen(exact, monkeypatch):
    honest = Trial.measure

    def slow(self, index, *count):
        return honest(self, index, *count) | ({} if index is exact else {"milliseconds": 1e6})

    monkeypatch.setattr(Trial, "measure", slow)
    chosen = choose_index(exact)
    assert chosen.kind == "exact" and chosen.index is exact and len(chosen.measured) >= 5


def test_too_little_memory_for_whole_embeddings(exact):
    size = 3000 * (16 + 8)
    chosen = choose_index(exact, memory=size)
    assert chosen.kind == "ivf_sq8"
    skipped = {row["kind"]: row["skipped"] for row in chosen.measured if "skipped" in row}
    assert set(skipped) == {"ivf_flat", "ivf_sq8_refined", "ivf_pq4_refined", "hnsw"}
    assert skipped["ivf_flat"] == "takes 0.00 GB, allowed are 0.00 GB"


def test_the_tuning_is_in_the_file(exact):
    chosen = choose_index(exact)
    read = index_from_bytes(index_to_bytes(chosen.index))
    trial = Trial(exact)
    assert (read.search(trial.queries, 10)[1] == chosen.index.search(trial.queries, 10)[1]).all()


@pytest.mark.parametrize("candidate", candidates.CANDIDATES, ids=lambda candidate: candidate.kind)
def test_every_kind_turned_up_finds_nearly_all(exact, candidate):
    index, _ = candidate.build(exact, candidates.Cells(exact))
    candidate.tune(index, list(candidate.settings(index))[-1])
    assert index.ntotal == exact.ntotal
    assert Trial(exact).measure(index)["recall"] >= 0.97


def test_a_width_that_cannot_be_halved_is_left_out(monkeypatch):
    monkeypatch.setattr(choice, "EXACT_BELOW", 100)
    monkeypatch.setattr(choice, "QUERIES", 5)
    chosen = choose_index(build_index(np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)))
    (reason,) = (row["skipped"] for row in chosen.measured if row["kind"] == "ivf_pq4_refined")
    assert reason == "needs an even width, this is 7"


def test_held_out_queries_lie_near_the_data_and_are_not_in_it(exact):
    trial = Trial(exact)
    queries = trial.queries / np.linalg.norm(trial.queries, axis=1, keepdims=True)
    nearest = (queries @ stored(exact).T).max(axis=1)
    assert (nearest > 0.6).all() and (nearest < 0.9999).all()


def test_recall_counts_shared_answers():
    assert recall(np.array([[1, 2], [3, 4]]), np.array([[2, 9], [4, 3]])) == 0.75

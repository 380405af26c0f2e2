from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mmretrieval.collection.index import build_index, index_from_bytes, index_to_bytes, search_index


@pytest.fixture
def vectors():
    made = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_answers_are_those_of_plain_numpy(vectors):
    queries = vectors[[3, 50]] + 0.1
    scores, rows = search_index(build_index(vectors), queries, 7)
    similarity = queries @ vectors.T
    expected = np.argsort(-similarity, axis=1)[:, :7]
    assert (rows == expected).all()
    np.testing.assert_allclose(scores, np.take_along_axis(similarity, expected, 1), rtol=1e-5)


def test_bytes_give_the_same_index_back(vectors):
    index = index_from_bytes(index_to_bytes(build_index(vectors)))
    assert (index.reconstruct_n(0, 200) == vectors).all()


def test_asking_for_more_than_there_is_gives_all(vectors):
    scores, rows = search_index(build_index(vectors[:3]), vectors[:1], 10)
    assert sorted(rows[0]) == [0, 1, 2] and scores.shape == (1, 3)


def test_an_empty_index_answers_nothing(vectors):
    scores, rows = search_index(build_index(vectors[:0]), vectors[:2], 10)
    assert scores.shape == rows.shape == (2, 0)


def test_only_allowed_rows_are_answers(vectors):
    allowed = np.array([150, 3, 42, 7])
    scores, rows = search_index(build_index(vectors), vectors[:2], 10, allowed)
    similarity = vectors[:2] @ vectors[allowed].T
    expected = np.argsort(-similarity, axis=1)
    assert (rows == allowed[expected]).all()
    np.testing.assert_allclose(scores, np.take_along_axis(similarity, expected, 1), rtol=1e-5)
    assert search_index(build_index(vectors), vectors[:1], 10, allowed[:0])[1].shape == (1, 0)


def test_a_search_leaves_the_threads_of_torch_alone(vectors):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        search_index(build_index(vectors), vectors[:1], 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_searching_a_collection_needs_no_torch_and_no_decoder(collection):
    code = f"""
import sys
from mmretrieval.collection import Collection
collection = Collection.open({str(collection.folder)!r})
scores, rows = collection.nearest(collection.embeddings()[:1], 2)
assert rows[0][0] == 0 and collection.moment(0).end == 2.0, (rows, collection.moment(0))
heavy = {{"torch", "av", "decord", "librosa", "torchaudio", "transformers", "tqdm", "sklearn"}} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")

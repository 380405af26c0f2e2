"""Whatever was added, removed and indexed how: answers are those of comparing with every moment that is left."""

from __future__ import annotations

import crash
import numpy as np
import pytest

from mmretrieval.collection import Collection, Moment, candidates, choice
from mmretrieval.collection.index import exact_part
from mmretrieval.errors import CollectionError

KINDS = ["exact", *(candidate.kind for candidate in candidates.CANDIDATES)]
ROUNDED = {"ivf_sq8"}


def vectors(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(20, crash.DIM))
    made = centres[rng.integers(0, 20, count)] + 0.7 * rng.normal(size=(count, crash.DIM))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def moments(start: int, count: int) -> list[Moment]:
    return crash.moments_of([f"moment-{number}" for number in range(start, start + count)])


def reference(embeddings: np.ndarray, queries: np.ndarray, k: int, rows=None) -> tuple[list, list]:
    """Slow and obvious: scores and rows of the k best."""
    allowed = range(len(embeddings)) if rows is None else rows
    scores, best = [], []
    for query in queries:
        ranked = sorted(((float(query @ embeddings[row]), -int(row)) for row in allowed), reverse=True)[:k]
        scores.append([score for score, _ in ranked])
        best.append([-row for _, row in ranked])
    return scores, best


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch):
    """Let every collection have one kind of index, tuned to find everything."""
    monkeypatch.setattr("mmretrieval.collection.upkeep.TAIL", 100)
    only = [candidate for candidate in candidates.CANDIDATES if candidate.kind == request.param]
    monkeypatch.setattr(choice, "CANDIDATES", only)
    if only:
        monkeypatch.setattr(choice, "EXACT_BELOW", 100)
        monkeypatch.setattr(choice, "QUERIES", 20)
        monkeypatch.setattr(choice, "_is_better", lambda tried, best: tried["kind"] != "exact")
        monkeypatch.setattr(choice, "RECALL", 1.1)  # never enough: every setting is tried, the last one is kept
        monkeypatch.setattr(choice, "_is_slower", lambda tried, slowest: False)
    return request.param


@pytest.fixture
def made(tmp_path, kind):
    collection = Collection.create(tmp_path / "made", moments(0, 400), vectors(400, 0), crash.FakeModel(), "model")
    assert collection.info()["index"] == kind
    return collection


def check(collection: Collection, kind: str, k: int = 10) -> None:
    """Compare answers, with and without a filter, with those of the reference; after opening again, too."""
    embeddings, queries = collection.embeddings(), vectors(8, 5)
    few = np.arange(3, len(embeddings), 7)
    for state in (collection, Collection.open(collection.folder)):
        for rows in (None, few, few[:4], few[:0]):
            scores, best = reference(embeddings, queries, k, rows)
            found_scores, found = state.nearest(queries, k, rows)
            assert found.shape == (8, min(k, len(embeddings) if rows is None else len(rows)))
            if kind in ROUNDED:
                shared = [len(set(a) & set(b)) / max(len(b), 1) for a, b in zip(found.tolist(), best)]
                assert len(few) and np.mean(shared) > 0.9 or not found.size
                np.testing.assert_allclose(found_scores, scores, atol=0.03)
            else:
                assert found.tolist() == best
                np.testing.assert_allclose(found_scores, scores, atol=1e-5)
    assert collection.verify() == []


def test_a_fresh_collection(made, kind):
    check(made, kind)
    check(made, kind, k=3)
    check(made, kind, k=50)


def test_after_removals_and_additions_the_index_file_is_the_same(made, kind):
    file = made.folder / made.manifest.index["file"]
    before = file.read_bytes()
    made.remove([f"moment-{number}" for number in range(0, 400, 9)])
    check(made, kind)
    made.append(moments(400, 60), vectors(60, 1))
    check(made, kind)
    made.remove([f"moment-{number}" for number in range(397, 430)])
    check(made, kind)
    assert file.read_bytes() == before and made.manifest.index["rows"] == 400
    assert made.info()["index_details"]["beside"] == 60


def test_when_much_was_added_it_is_appended_to_the_index(made, kind):
    made.remove(["moment-7"])
    made.append(moments(400, 60), vectors(60, 1))
    made.append(moments(460, 60), vectors(60, 2))
    assert made.manifest.index["rows"] == 520
    assert made.manifest.index["measured_rows"] == (520 if kind == "exact" else 400)
    check(made, kind)
    made.append(moments(520, 300), vectors(300, 3))
    assert made.manifest.index["rows"] == made.manifest.index["measured_rows"] == 820
    check(made, kind)


def test_a_compaction_keeps_rows_and_answers(made, kind):
    made.append(moments(400, 60), vectors(60, 1))
    made.remove([f"moment-{number}" for number in range(0, 460, 3)])
    ids, embeddings = [moment.id for moment in made.moments], made.embeddings()
    assert made.compact() > 0
    assert [moment.id for moment in made.moments] == ids and (made.embeddings() == embeddings).all()
    assert made.manifest.removed == {} and len(made.manifest.segments) == 1
    check(made, kind)
    generation = made.manifest.generation
    assert made.compact() == 0 and made.manifest.generation == generation


def test_a_filter_over_more_than_a_few_rows(made, kind, monkeypatch):
    monkeypatch.setattr("mmretrieval.collection.index.FEW", 5)
    made.remove(["moment-7"])
    check(made, kind)
    # rows that lie together, far from what is asked for
    embeddings = made.embeddings()
    query = -embeddings.mean(axis=0, keepdims=True)
    near = np.argsort(-(embeddings @ embeddings[0]))[:50]
    wanted = set(reference(embeddings, query, 10, near)[1][0])
    found = made.nearest(query, 10, near)[1][0]
    assert set(found.tolist()) <= set(near.tolist()) and len(set(found.tolist()) & wanted) >= 9


def test_everything_removed_and_something_new(made, kind):
    made.remove([moment.id for moment in made.moments])
    assert made.nearest(vectors(2, 5), 10)[1].shape == (2, 0) and made.verify() == []
    made.compact()
    assert made.nearest(vectors(2, 5), 10)[1].shape == (2, 0) and made.verify() == []
    assert made.manifest.segments == []
    made.append(moments(900, 3), vectors(3, 6))
    assert made.nearest(vectors(2, 5), 10)[1].shape == (2, 3) and made.verify() == []


def test_many_removals_are_compacted_away(tmp_path, monkeypatch):
    monkeypatch.setattr("mmretrieval.collection.upkeep.REMOVED", 10)
    collection = Collection.create(tmp_path / "made", moments(0, 60), vectors(60, 0), crash.FakeModel(), "model")
    collection.remove([f"moment-{number}" for number in range(18)])
    assert sum(map(len, collection.manifest.removed.values())) == 18
    collection.remove(["moment-30"])
    assert collection.manifest.removed == {} and len(collection) == 41 and collection.verify() == []
    assert [file.name for file in (collection.folder / "segments").iterdir()] == ["segment-000002.parquet"]


def test_large_segments_are_left_alone_small_neighbours_merged(tmp_path, monkeypatch):
    for room in ("generations", "compaction"):
        monkeypatch.setattr(f"mmretrieval.collection.{room}.SEGMENT_ROWS", 20)
    collection = Collection.create(tmp_path / "made", moments(0, 45), vectors(45, 0), crash.FakeModel(), "model")
    assert len(collection.manifest.segments) == 3
    for start in (45, 50, 55):
        collection.append(moments(start, 5), vectors(5, start))
    collection.remove(["moment-21"])
    collection.compact()
    sizes = {name: collection.manifest.files[name]["rows"] for name in collection.manifest.segments}
    assert list(sizes.values()) == [20, 20, 19]
    assert "segments/segment-000001.parquet" in sizes and "segments/segment-000002.parquet" not in sizes
    assert [moment.id for moment in collection.moments] == [f"moment-{n}" for n in range(60) if n != 21]
    assert collection.verify() == []


@pytest.mark.parametrize(
    ("ids", "shape", "message"),
    [
        ([], (0, 16), "0 moments with embeddings of shape (0, 16): give one or more and (moments, 16)"),
        (["a"], (1, 3), "1 moments with embeddings of shape (1, 3): give one or more and (moments, 16)"),
        (["moment-5"], (1, 16), "there is a moment 'moment-5' already: give it another id"),
        (["a", "a"], (2, 16), "there is a moment 'a' already: give it another id"),
        (["a", "nan"], (2, 16), "the embedding of moment 'nan' has numbers that are not finite"),
    ],
)
def test_moments_that_cannot_be_appended(tmp_path, ids, shape, message):
    collection = Collection.create(tmp_path / "made", moments(0, 9), vectors(9, 0), crash.FakeModel(), "model")
    embeddings = np.ones(shape, np.float32)
    embeddings[[one == "nan" for one in ids]] = np.nan
    with pytest.raises(CollectionError) as caught:
        collection.append(crash.moments_of(ids), embeddings)
    assert str(caught.value) == message
    assert len(Collection.open(collection.folder)) == 9


def test_a_collection_is_not_created_over_another(tmp_path):
    made = Collection.create(tmp_path / "made", moments(0, 9), vectors(9, 0), crash.FakeModel(), "model")
    with pytest.raises(CollectionError) as caught:
        Collection.create(made.folder, moments(0, 9), vectors(9, 0), crash.FakeModel(), "model")
    assert str(caught.value) == f"'{made.folder}' is not empty: give a new folder"
    assert exact_part(made.index) is made.index

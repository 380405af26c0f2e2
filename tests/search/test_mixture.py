"""Several queries at once: weighted sums of unit embeddings."""

from pathlib import Path

import numpy as np
import pytest
from fakes import COLOURS, recording, video

from mmretrieval.collection import Collection
from mmretrieval.errors import MediaError, QueryError
from mmretrieval.search.mixture import mix
from mmretrieval.search.searcher import Searcher


@pytest.fixture
def searcher(model, collection):
    return Searcher(model, collection)


def names(answer):
    return [Path(hit.path).stem for hit in answer]


def test_the_weighted_sum_of_unit_embeddings():
    random = np.random.default_rng(0)
    rows, weights = random.standard_normal((3, 5)), [1.0, 0.25, -0.5]
    total = sum(weight * row / np.sqrt(sum(row**2)) for weight, row in zip(weights, rows))
    np.testing.assert_allclose(mix(rows, weights, "inner_product"), total, rtol=1e-5)
    np.testing.assert_allclose(mix(rows, weights, "cosine"), total / np.sqrt(sum(total**2)), rtol=1e-5)


def test_one_query_alone_is_searched_for_as_it_is():
    np.testing.assert_array_equal(mix([np.array([3.0, 4.0])], [7.0], "inner_product"), [3.0, 4.0])


def test_queries_that_cancel_out(searcher):
    with pytest.raises(QueryError) as caught:
        searcher.search(text="a red thing", without="a red thing", weights={"without": -1.0})
    assert str(caught.value) == "the queries cancel each other out: give them other weights"


def test_weights_decide(searcher, clips, tmp_path):
    spoken = recording(tmp_path / "q.wav", "blue")
    both = {"text": "a red thing", "speech": spoken}
    assert names(searcher.search(**both, weights={"text": 2.0}))[0] == "red"
    assert names(searcher.search(**both, weights={"speech": 2.0}))[0] == "blue"
    assert names(searcher.search(**both))[2] == "green"
    three = searcher.search(**both, video=clips / "green.mp4", weights={"video": 5.0})
    assert names(three)[0] == "green"


def test_without_turns_away(searcher):
    assert names(searcher.search(text="a red green thing", without="a red thing"))[0] == "green"
    assert names(searcher.search(text="a red green thing", without="a green thing"))[0] == "red"


def test_more_like_a_moment_leaves_out_itself_and_what_overlaps_it(tmp_path, model):
    long = video(tmp_path / "clips/long.mp4", *["red"] * 3, *["green"] * 3, *["blue"] * 3)
    other = video(tmp_path / "clips/other.mp4", *["red"] * 3)
    searcher = Searcher(model, Collection.build(tmp_path / "made", [long.parent], model, "model"))
    asked = searcher.search(text="a red thing", fold=False)
    first = next(hit for hit in asked if Path(hit.path) == long)
    found = searcher.search(like=first.id)
    assert Path(found[0].path) == other and first.id not in [hit.id for hit in found]
    assert len(found) == 3


def test_an_unknown_moment(searcher, collection):
    with pytest.raises(QueryError) as caught:
        searcher.search(like="nobody")
    assert str(caught.value) == f"there is no moment 'nobody' in {collection.folder}: give an id from a search"


def test_the_only_moment_has_no_others_like_it(tmp_path, model):
    clip = video(tmp_path / "clips/a.mp4", "red", "red")
    searcher = Searcher(model, Collection.build(tmp_path / "made", [clip], model, "model"))
    answer = searcher.search(like=searcher.collection.moments[0].id)
    assert (len(answer), answer.matched) == (0, False)
    assert answer.notes == ("there is no other moment to compare with",)


def test_what_is_not_heard_of_ten_minutes_is_said(searcher, tmp_path):
    long = recording(tmp_path / "long.wav", "red", seconds=600)
    answer = searcher.search(speech=long)
    assert names(answer)[0] == "red"
    assert answer.notes == (f"{long}: only the first 20 s are heard, it lasts 600 s: say it in a sentence",)


def test_noise_is_answered(searcher):
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    assert len(searcher.search(speech=noise)) == len(COLOURS)


def test_an_unsupported_container(searcher, tmp_path):
    (tmp_path / "q.doc").write_bytes(b"no sound at all" * 100)
    with pytest.raises(MediaError) as caught:
        searcher.search(speech=tmp_path / "q.doc")
    reason = "is not a recording, or is damaged (invalid data found when processing input)."
    assert str(caught.value) == f"{tmp_path}/q.doc: {reason}"


def test_filters_come_before_ranking(searcher, clips):
    from mmretrieval.search.filters import Filter

    answer = searcher.search(text="a red thing", k=1, filters=Filter(path_glob="b*.mp4"))
    assert names(answer) == ["blue"] and not answer.more
    nothing = searcher.search(text="a red thing", filters=Filter(folder="/nowhere"))
    assert (nothing.hits, nothing.matched) == ((), False)
    assert nothing.notes == ("no moment passes the filter: none of 3 has a path in /nowhere",)


def test_pages(searcher):
    whole = searcher.search(text="a red thing")
    pages = [searcher.search(text="a red thing", k=1, offset=offset) for offset in range(4)]
    assert [hit for page in pages for hit in page] == list(whole.hits)
    assert [page.more for page in pages] == [True, True, False, False]
    assert pages[3].notes == ("there are 3 hits: nothing comes after the first 3",)


def test_scores_below_the_least(searcher):
    best, *_ = searcher.search(text="a red thing")
    answer = searcher.search(text="a red thing", min_score=1.5)
    assert (answer.hits, answer.notes) == ((), (f"no moment scores 1.5 or more: the best has {best.score:.3f}",))
    assert searcher.search(text="a red thing", min_score=0.9).hits == (best,)

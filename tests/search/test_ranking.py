"""Hits, merged and folded, against the slow way: one list of all moments, best first, looked at one by one."""

import numpy as np
import pytest
from galleries import ArrayCollection, cut_videos

from mmretrieval.search import merging, ranking
from mmretrieval.search.gallery import Gallery
from mmretrieval.search.ranking import rank


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Few moments at a time, so that every ranking has to go deeper."""
    monkeypatch.setattr(ranking, "DEPTH", 4)


def slowly(gallery, query, merge, fold, rows=None):
    """All hits: (row, start, end)."""
    vectors = gallery.embeddings
    scores = vectors @ query
    free = set(range(len(gallery)) if rows is None else rows)
    usual = float(np.median(scores))
    norms = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    bound = 1 - merging.DUPLICATE * (1 - np.mean(norms @ norms.T))
    hits = []
    for row in sorted(range(len(gallery)), key=lambda row: (-scores[row], row)):
        if row not in free:
            continue
        start, end = gallery.starts[row], gallery.ends[row]
        covered = {row}
        if merge:
            start, end, covered = grow(gallery, scores, row, free, usual)
        free -= covered
        if not (fold and any(norms[row] @ norms[other] >= bound for other, _, _ in hits)):
            hits.append((row, start, end))
    return hits


def grow(gallery, scores, row, free, usual):
    """The same span by walking to both sides, window by window (all of 3 s, 1.5 s apart)."""
    level = usual + merging.LEVEL * (scores[row] - usual)
    level = min(level, scores[row])
    borders, covered = [], {row}
    for step in (-1, 1):
        here = row
        while True:
            beside = here + step
            inside = 0 <= beside < len(gallery) and gallery.videos[beside] == gallery.videos[row]
            edge = gallery.starts[here] if step < 0 else gallery.ends[here]
            if not inside or (scores[beside] >= level and beside not in free):
                borders.append(edge)
                break
            if scores[beside] < level:
                middle = gallery.starts[here] + 1.5
                crossing = middle + step * 1.5 * (scores[here] - level) / (scores[here] - scores[beside])
                borders.append(max(crossing, edge) if step < 0 else min(crossing, edge))
                break
            here = beside
            covered.add(here)
    start, end = borders
    if end - start < 3.0:
        beside = gallery.videos == gallery.videos[row]
        start = min(max((start + end) / 2 - 1.5, gallery.starts[beside].min()), gallery.ends[beside].max() - 3.0)
        end = start + 3.0
    for other in range(len(gallery)):
        shown = min(end, gallery.ends[other]) - max(start, gallery.starts[other])
        if gallery.videos[other] == gallery.videos[row] and other in free and shown >= 1.5:
            covered.add(other)
    return start, end, covered


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("merge", "fold"), [(True, True), (True, False), (False, True), (False, False)])
def test_the_same_hits_as_one_by_one(seed, merge, fold):
    random = np.random.default_rng(seed)
    gallery = cut_videos(random, videos=5, windows=9)
    query = random.standard_normal(8).astype(np.float32)
    expected = slowly(gallery, query, merge, fold)
    found = rank(gallery, query, 1000, None, merge, fold)
    assert [group.row for group in found] == [row for row, _, _ in expected]
    np.testing.assert_allclose([(g.start, g.end) for g in found], [(a, b) for _, a, b in expected], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_pages_neither_repeat_nor_lose_a_hit(seed):
    random = np.random.default_rng(seed)
    gallery = cut_videos(random, videos=6, windows=8)
    query = random.standard_normal(8).astype(np.float32)
    whole = [(group.row, group.start, group.end) for group in rank(gallery, query, 1000)]
    for wanted in range(1, len(whole) + 2):
        assert [(g.row, g.start, g.end) for g in rank(gallery, query, wanted)] == whole[:wanted]


def test_every_moment_belongs_to_one_hit():
    random = np.random.default_rng(0)
    gallery = cut_videos(random, videos=6, windows=8)
    groups = rank(gallery, random.standard_normal(8).astype(np.float32), 1000, fold=False)
    members = np.concatenate([group.members for group in groups])
    assert sorted(members.tolist()) == list(range(len(gallery)))


def test_moments_that_are_not_allowed_are_no_part_of_a_hit():
    random = np.random.default_rng(3)
    gallery = cut_videos(random, videos=4, windows=9)
    query = random.standard_normal(8).astype(np.float32)
    rows = np.flatnonzero(random.random(len(gallery)) < 0.6)
    expected = slowly(gallery, query, True, True, rows.tolist())
    found = rank(gallery, query, 1000, rows)
    assert [group.row for group in found] == [row for row, _, _ in expected]
    assert set(np.concatenate([group.members for group in found])) <= set(rows)


def test_a_scene_in_the_middle_of_windows_is_shown_as_long_as_it_is():
    """Scores that grow with how much of a scene of 4.5 to 10.5 s a window sees give back that scene."""
    starts = np.arange(12) * 1.5
    share = np.clip(np.minimum(starts + 3, 10.5) - np.maximum(starts, 4.5), 0, 3) / 3
    moments = [{"path": "/v.mp4", "start": start, "end": start + 3} for start in starts]
    gallery = Gallery(ArrayCollection(moments, np.stack([share, 1 - share], axis=1)))
    (hit, *_) = rank(gallery, np.array([1, 0], np.float32), 5)
    assert abs(hit.start - 4.5) < 1 and abs(hit.end - 10.5) < 1


def test_equal_moments_of_other_videos_are_copies_and_their_neighbours_go_with_them():
    starts = [0.0, 1.5, 3.0, 4.5]
    moments = [{"path": f"/{name}.mp4", "start": s, "end": s + 3} for name in "abc" for s in starts]
    video = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1]])
    other = np.array([[0, 1, 1], [0, 1, 0.9], [0, 0.5, 1], [0.1, 0.2, 1]])
    gallery = Gallery(ArrayCollection(moments, np.concatenate([video, video, other])))
    first, *rest = rank(gallery, np.array([1, 0, 0], np.float32), 100)
    assert (first.row, first.copies) == (0, [4])
    assert not {1, 4, 5} & {group.row for group in rest}


def test_scores_below_the_least_are_no_hits():
    random = np.random.default_rng(1)
    gallery = cut_videos(random, videos=6, windows=8)
    query = random.standard_normal(8).astype(np.float32)
    everything = rank(gallery, query, 1000)
    least = everything[3].score
    assert [group.row for group in rank(gallery, query, 1000, least=least)] == [g.row for g in everything[:4]]
    assert rank(gallery, query, 1000, least=1e9) == []


def test_an_index_that_finds_less_than_was_asked_for():
    gallery = cut_videos(np.random.default_rng(1), videos=2, windows=3)
    nearest = gallery.collection.nearest

    def partial(queries, k, rows=None):
        scores, found = nearest(queries, k, rows)
        found[:, 2:] = -1
        return scores, found

    gallery.collection.nearest = partial
    assert len(rank(gallery, np.ones(8, np.float32), 100, merge=False, fold=False)) == 2

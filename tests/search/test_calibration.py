"""Confidence: what a score means beside the best answers to questions that mean nothing."""

from contextlib import suppress

import numpy as np
import pytest
from fakes import COLOURS, ColourModel
from galleries import ArrayCollection

from mmretrieval.errors import QueryError
from mmretrieval.search.calibration import PROBES, Calibration, Curve
from mmretrieval.search.gallery import Gallery
from mmretrieval.search.searcher import Searcher

CURVE = {name: Curve(2.0, 1.0) for name in ("text", "speech", "video")}


@pytest.fixture
def gallery():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((12, 4))
    moments = [{"path": f"/{row // 3}.mp4", "start": row % 3} for row in range(12)]
    return Gallery(ArrayCollection(moments, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))


@pytest.mark.parametrize("modality", ["text", "speech"])
def test_scores_are_compared_with_those_of_meaningless_captions(gallery, model, modality):
    asked = []
    original = model.embed
    spy = ColourModel()
    spy.embed = lambda kind, items: asked.append((kind, len(items))) or original(kind, items)
    calibration = Calibration(spy, gallery, CURVE)
    random, best, tokenizer = np.random.default_rng(0), [], spy.processor.tokenizer
    while len(best) < PROBES:
        with suppress(QueryError):
            tokens = spy.processor.text(tokenizer.decode(random.integers(tokenizer.size, size=8).tolist()))
            best.append((gallery.embeddings @ original("text", [tokens])[0]).max())
    scores = np.array([0.1, 0.5, 0.9])
    expected = 1 / (1 + np.exp(-2 * ((scores - np.mean(best)) / max(np.std(best), 0.01) - 1)))
    np.testing.assert_allclose(calibration.confidence(modality, scores), expected, rtol=1e-4)
    calibration.confidence(modality, scores)
    assert asked == [("text", PROBES)], "they are asked once"


def test_example_clips_are_compared_with_the_nearest_moments_of_other_videos(gallery, model):
    best = []
    for row in range(12):
        others = [other for other in range(12) if other // 3 != row // 3]
        best.append(max(float(gallery.embeddings[row] @ gallery.embeddings[other]) for other in others))
    found = Calibration(model, gallery, CURVE).deviations("video", np.array([0.2]))
    np.testing.assert_allclose(found, (0.2 - np.mean(best)) / np.std(best), rtol=1e-5)


def test_a_model_without_text_is_asked_noise(gallery):
    deaf = Calibration(ColourModel(modalities=("video", "speech")), gallery, CURVE)
    confidence = deaf.confidence("speech", np.array([-1.0, 0.5, 1.0]))
    assert np.isfinite(confidence).all() and (np.diff(confidence) >= 0).all()


def test_higher_scores_are_more_probable_and_a_collection_of_one_moment_is_no_trouble(model):
    lonely = Gallery(ArrayCollection([{"path": "/a.mp4"}], np.eye(4)[:1]))
    for modality in ("text", "speech", "video"):
        confidence = Calibration(model, lonely).confidence(modality, np.array([-1.0, 0.0, 1.0]))
        assert np.isfinite(confidence).all() and (np.diff(confidence) >= 0).all()


def test_no_good_match(model, collection):
    searcher = Searcher(model, collection)
    searcher.calibration = Calibration(model, searcher.gallery, CURVE, threshold=0.999)
    searcher.calibration._nulls = {"words": (0.5, 0.2), "video": (0.5, 0.2)}
    good = searcher.search(text="a red thing")
    searcher.calibration._nulls["words"] = (1.5, 0.2)
    bad = searcher.search(text="a red thing")
    assert len(bad) == len(good) == len(COLOURS), "the nearest there is can still be looked at"
    assert not bad.matched and not any(hit.matched for hit in bad)
    assert good[0].confidence > bad[0].confidence
    searcher.calibration.threshold = 0.5
    searcher.calibration._nulls["words"] = (0.5, 0.2)
    assert searcher.search(text="a red thing").matched
    assert searcher.search(text="a red thing", offset=2, k=1).matched, "a later page belongs to the same answer"

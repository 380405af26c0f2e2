"""TREC files, read back with slow code: they say what the report says."""

from collections import defaultdict

import numpy as np
import pytest

from mmretrieval.evaluation.retrieval import retrieval_report
from mmretrieval.evaluation.trec import escape, unescape, write_trec


def embeddings(count, names=("video", "speech", "text"), seed=0):
    rng = np.random.default_rng(seed)
    meaning = rng.normal(size=(count, 4))
    # few digits, so that scores tie
    return {name: np.round(meaning + rng.normal(size=(count, 4))).astype(np.float32) for name in names}


def read(stem):
    """Run: query → documents in the order of their ranks; qrels: query → right documents."""
    run, qrels = defaultdict(list), defaultdict(set)
    for line in stem.with_suffix(".run").read_text().splitlines():
        query, q0, document, rank, score, tag = line.split(" ")
        assert (q0, tag) == ("Q0", "mmretrieval") and int(rank) == len(run[query]) + 1
        run[query].append((document, float(score)))
    for line in stem.with_suffix(".qrels").read_text().splitlines():
        query, zero, document, grade = line.split(" ")
        assert (zero, grade) == ("0", "1")
        qrels[query].add(document)
    return run, qrels


def slow_measures(run, qrels):
    """Recall and MAP of a run as its ranks have it, one query after the other."""
    recalls, precisions = defaultdict(list), []
    for query, right in qrels.items():
        documents = [document for document, _ in run[query]]
        places = [place for place, document in enumerate(documents, start=1) if document in right]
        for k in (1, 5, 10):
            recalls[f"recall@{k}"].append(any(place <= k for place in places))
        precisions.append(sum((number + 1) / place for number, place in enumerate(places)) / len(right))
    return {key: np.mean(hits) for key, hits in recalls.items()} | {"map": np.mean(precisions)}


@pytest.mark.parametrize("relevance", ["both", "video", "pair"])
@pytest.mark.parametrize("repeats", [1, 3])
def test_files_and_report_agree(tmp_path, relevance, repeats):
    vectors = embeddings(30)
    vectors["video"] = np.repeat(vectors["video"][::repeats], repeats, axis=0)
    ids = [f"clip {i}" for i in range(30)]
    videos = [f"video {i // repeats}" for i in range(30)] if repeats > 1 else ids
    files = write_trec(tmp_path, vectors, ids, videos, relevance)
    report = retrieval_report(vectors, videos, relevance=relevance)
    parts = [(tmp_path, report)] + ([(tmp_path / "strict", report["strict"])] if "strict" in report else [])
    assert len(files) == 12 * len(parts) and ("strict" in report) == (relevance == "both" and repeats > 1)
    for folder, part in parts:
        for direction in (name for name in part if "_to_" in name):
            measured = slow_measures(*read(folder / direction))
            assert measured == {key: pytest.approx(part[direction][key], abs=1e-12) for key in measured}


def test_scores_tell_ties_from_differences(tmp_path):
    a, b = np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(1))
    write_trec(tmp_path, {"video": np.array([[a], [b], [a]]), "text": np.ones((3, 1), np.float32)}, ["x", "y", "z"])
    run, _ = read(tmp_path / "text_to_video")
    assert [document for document, _ in run["x"]] == ["y", "x", "z"]
    scores = [score for _, score in run["x"]]
    assert scores[0] > scores[1] == scores[2]
    assert np.float32(scores[0]) == b and np.float32(scores[1]) == a


def test_depth(tmp_path):
    vectors = embeddings(30, names=("video", "text"))
    ids = [str(i) for i in range(30)]
    write_trec(tmp_path / "all", vectors, ids)
    write_trec(tmp_path / "ten", vectors, ids, depth=10)
    whole, qrels = read(tmp_path / "all/text_to_video")
    short, same = read(tmp_path / "ten/text_to_video")
    assert qrels == same and {query: documents[:10] for query, documents in whole.items()} == short
    recalls = retrieval_report(vectors)["text_to_video"]
    assert slow_measures(short, same)["recall@10"] == pytest.approx(recalls["recall@10"])
    with pytest.raises(ValueError) as caught:
        write_trec(tmp_path, vectors, ids, depth=0)
    assert str(caught.value) == "a run lists at least 1 item per query, got a depth of 0"


@pytest.mark.parametrize("name", ["plain", "a b", "100%", "tab\tand\nline", "a%20b", "wide\u3000space", "ä ö"])
def test_ids_are_one_word_and_come_back(name):
    word = escape(name)
    assert word.split() == [word]
    assert unescape(word) == name


def test_escaped_ids_are_readable():
    assert escape("adult male singing/clip 1.mp4") == "adult%20male%20singing/clip%201.mp4"
    assert escape("über") == "über"

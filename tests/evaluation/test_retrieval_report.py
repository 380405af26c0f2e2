"""The retrieval report against plain matrices: directions, repeated videos, subsets and the table for people."""

import json

import numpy as np
import pytest
import torch

from mmretrieval import metrics
from mmretrieval.errors import ModelError, UnknownNameError
from mmretrieval.evaluation.retrieval import format_report, retrieval_report, subset_rows

DIRECTIONS = [
    "text_to_speech",
    "text_to_video",
    "speech_to_text",
    "speech_to_video",
    "video_to_text",
    "video_to_speech",
]


def embeddings(count, dim=8, noise=0.8, names=("video", "speech", "text"), seed=0):
    rng = np.random.default_rng(seed)
    meaning = rng.normal(size=(count, dim))
    return {name: (meaning + noise * rng.normal(size=(count, dim))).astype(np.float32) for name in names}


def measured(scores, relevant=None, ks=(1, 5, 10)):
    return {
        **metrics.recall(scores, ks, relevant),
        "map": pytest.approx(metrics.mean_average_precision(scores, relevant)),
        "median_rank": metrics.median_rank(scores, relevant),
    }


def test_all_six_directions_equal_their_score_matrices():
    vectors = embeddings(40)
    report = retrieval_report(vectors)
    assert sorted(report) == sorted([*DIRECTIONS, "mean"])
    for direction in DIRECTIONS:
        query, gallery = direction.split("_to_")
        assert report[direction] == measured(vectors[query].astype(float) @ vectors[gallery].astype(float).T)
    assert report["mean"]["recall@1"] == pytest.approx(np.mean([report[name]["recall@1"] for name in DIRECTIONS]))
    assert report["text_to_video"] != report["video_to_text"]


def test_two_modalities_have_two_directions():
    report = retrieval_report(embeddings(10, names=("text", "video")))
    assert list(report) == ["text_to_video", "video_to_text", "mean"]


def test_more_queries_than_one_block(monkeypatch):
    vectors = embeddings(50)
    whole = retrieval_report(vectors, [f"v{i // 2}" for i in range(50)])
    monkeypatch.setattr("mmretrieval.evaluation.retrieval.BLOCK", 7)
    assert retrieval_report(vectors, [f"v{i // 2}" for i in range(50)]) == whole


def test_torch_and_numpy_give_the_same_report():
    vectors = embeddings(20)
    assert retrieval_report({name: torch.tensor(array) for name, array in vectors.items()}) == retrieval_report(vectors)


def test_perfect_and_collapsed_models():
    vectors = embeddings(30, noise=0.0)
    perfect = retrieval_report(vectors, metric="cosine")
    assert perfect["mean"] == {"recall@1": 1, "recall@5": 1, "recall@10": 1, "map": 1, "median_rank": 1}
    collapsed = {name: np.tile(array[:1], (30, 1)) for name, array in vectors.items()}
    mean = retrieval_report(collapsed)["mean"]
    assert [mean["recall@1"], mean["recall@10"]] == pytest.approx([1 / 30, 1 / 3])
    assert mean["median_rank"] == 15.5


def test_several_captions_of_one_video():
    ids = ["a", "b", "a", "c", "b", "a"]
    vectors = embeddings(6, names=("video", "text"))
    for i, name in enumerate(ids):
        vectors["video"][i] = vectors["video"][ids.index(name)]
    report = retrieval_report(vectors, ids, ks=(1, 2))
    text, videos = vectors["text"].astype(float), vectors["video"][[0, 1, 3]].astype(float)
    relevant = np.array([[name == video for video in "abc"] for name in ids])
    assert report["text_to_video"] == measured(text @ videos.T, relevant, (1, 2))
    assert report["video_to_text"] == measured(videos @ text.T, relevant.T, (1, 2))
    strict = text @ vectors["video"].astype(float).T
    assert report["strict"]["text_to_video"] == measured(strict, None, (1, 2))
    assert report["strict"]["video_to_text"] == measured(strict.T, None, (1, 2))


def test_captions_of_one_video_answer_each_other():
    vectors = {"text": np.eye(2)[[0, 0, 1]], "speech": np.array([[0.5, 0], [1, 0], [0, 1]])}
    report = retrieval_report(vectors, ["a", "a", "b"], ks=(1,))
    assert report["text_to_speech"]["recall@1"] == 1
    assert report["strict"]["text_to_speech"]["recall@1"] == pytest.approx(2 / 3)


def test_ids_that_do_not_repeat_change_nothing():
    vectors = embeddings(12)
    assert retrieval_report(vectors, [str(i) for i in range(12)]) == retrieval_report(vectors)


def test_cosine_ignores_length():
    vectors = embeddings(12)
    longer = {name: array * np.arange(1, 13, dtype=np.float32)[:, None] for name, array in vectors.items()}
    assert retrieval_report(longer, metric="cosine") == retrieval_report(vectors, metric="cosine")
    assert retrieval_report(longer) != retrieval_report(vectors)


# --- subsets


def test_no_subsets_up_to_a_thousand():
    assert "subsets" not in retrieval_report(embeddings(1000, dim=2, names=("video", "text")))


def test_five_random_thousands():
    vectors = embeddings(1200, dim=4, names=("video", "text"))
    report = retrieval_report(vectors)
    rows = report["subsets"]["rows"]
    assert rows == subset_rows(1200)
    assert [len(set(part)) for part in rows] == [1000] * 5
    assert len({tuple(part) for part in rows}) == 5
    singles = [retrieval_report({name: a[part] for name, a in vectors.items()})["text_to_video"] for part in rows]
    for key in ("recall@1", "map", "median_rank"):
        values = [single[key] for single in singles]
        assert report["subsets"]["text_to_video"][key] == {
            "mean": pytest.approx(np.mean(values)),
            "std": pytest.approx(np.std(values, ddof=1)),
        }
    assert retrieval_report(vectors, subsets=None).keys() == {"text_to_video", "video_to_text", "mean"}
    json.dumps(report)


def test_subsets_of_ones_own():
    vectors = embeddings(20, names=("video", "text"))
    report = retrieval_report(vectors, subsets=[range(10), range(5, 15)])
    assert report["subsets"]["rows"] == [list(range(10)), list(range(5, 15))]
    single = retrieval_report(vectors, subsets=[range(10)])["subsets"]["text_to_video"]["map"]
    first_ten = retrieval_report({name: array[:10] for name, array in vectors.items()})
    assert single == {"mean": first_ten["text_to_video"]["map"], "std": 0.0}


def test_subset_rows_are_the_same_everywhere_and_for_any_number_of_sets():
    # written down once: a change means that published numbers can no longer be compared
    assert subset_rows(20, size=6, sets=2) == [[1, 2, 3, 11, 13, 15], [4, 7, 10, 11, 15, 18]]
    assert subset_rows(5000, sets=2) == subset_rows(5000)[:2]
    assert subset_rows(5000, seed=1) != subset_rows(5000)


# --- what people read


def test_the_table():
    row = {"recall@1": 0.5, "recall@10": 1.0, "map": 0.7512, "median_rank": 1.5}
    spread = {key: {"mean": value, "std": value / 10} for key, value in row.items()}
    report = {"text_to_video": row, "mean": row, "strict": {"mean": row}}
    report["subsets"] = {"rows": [[1, 2], [3, 4]], "mean": spread}
    assert format_report(report).splitlines() == [
        "direction       R@1   R@10   mAP  median",
        "text to video  50.0  100.0  75.1     1.5",
        "mean           50.0  100.0  75.1     1.5",
        "",
        "own row only   R@1   R@10   mAP  median",
        "mean          50.0  100.0  75.1     1.5",
        "",
        "2 sets of 2         R@1          R@10         mAP     median",
        "mean         50.0 ± 5.0  100.0 ± 10.0  75.1 ± 7.5  1.5 ± 0.1",
    ]


# --- messages


@pytest.mark.parametrize(
    ("vectors", "options", "error", "message"),
    [
        (
            {"video": np.ones((2, 2)), "txt": np.ones((2, 2))},
            {},
            UnknownNameError,
            "unknown modality 'txt'. Did you mean 'text'? Known: video, speech, text.",
        ),
        ({"video": np.ones((2, 2))}, {}, ValueError, "retrieval needs at least two modalities, got video"),
        (
            {"video": np.ones((2, 2)), "text": np.ones((3, 2))},
            {},
            ValueError,
            "all modalities need embeddings (N, D) of the same N and D, got {'video': (2, 2), 'text': (3, 2)}",
        ),
        (
            {"video": np.ones((2, 2)), "text": np.ones((2, 2))},
            {"video_ids": ["a"]},
            ValueError,
            "2 samples need 2 video ids, got 1",
        ),
        (
            {"video": np.ones((2, 2)), "text": np.array([[1, 1], [np.nan, 1]])},
            {},
            ModelError,
            "the text embedding of sample 1 is not finite: the model has diverged",
        ),
        (
            {"video": np.ones((2, 2)), "text": np.ones((2, 2))},
            {"metric": "cosin"},
            UnknownNameError,
            "unknown metric 'cosin'. Did you mean 'cosine'? Known: inner_product, cosine.",
        ),
    ],
)
def test_messages(vectors, options, error, message):
    with pytest.raises(error) as caught:
        retrieval_report(vectors, **options)
    assert str(caught.value) == message

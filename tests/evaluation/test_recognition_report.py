"""Recognition in figures: every one against a loop, and at its limits."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mmretrieval.evaluation.recognition import format_recognition, recognition_report

LABELS = ["a", "b", "c", "d", "e", "f", "g"]


def random_case(clips=40, seed=0):
    random = np.random.default_rng(seed)
    truth = [list(random.choice(LABELS[:6], random.integers(1, 3), replace=False)) for _ in range(clips)]
    return random.standard_normal((clips, len(LABELS))), truth


def test_top_k_equals_a_loop():
    scores, truth = random_case()
    report = recognition_report(scores, truth, LABELS)
    for k in (1, 5):
        hits = [
            any(LABELS[i] in given for i in sorted(range(7), key=lambda i: -row[i])[:k])
            for row, given in zip(scores, truth, strict=True)
        ]
        assert report[f"top{k}"] == pytest.approx(np.mean(hits))
    for label in LABELS[:6]:
        mine = [(row, given) for row, given in zip(scores, truth, strict=True) if label in given]
        right = [LABELS[int(np.argmax(row))] in given for row, given in mine]
        assert report["per_class"][label] == pytest.approx(np.mean(right))
    assert "g" not in report["per_class"] and report["clips"] == 40 and report["unknown"] == 0


def test_mean_average_precision_is_that_of_scikit_learn():
    scores, truth = random_case()
    right = np.array([[label in given for label in LABELS] for given in truth])
    expected = np.mean([average_precision_score(right[:, i], scores[:, i]) for i in range(6)])
    assert recognition_report(scores, truth, LABELS)["map"] == pytest.approx(expected)


def test_opposites_are_compared_with_each_other_alone():
    scores = np.array([[1.0, 0, 9], [0, 1, 9], [1, 0, 9], [0, 0, 9], [0, 1, 0]])
    report = recognition_report(scores, [["a"], ["b"], ["b"], ["a"], ["c"]], ["a", "b", "c"], [("a", "b")])
    assert report["pairs"] == {"a / b": 0.5} and report["opposites"] == 0.5  # a tie tells nothing apart
    assert report["top1"] == 0.0
    report = recognition_report(scores[4:], [["c"]], ["a", "b", "c"], [("a", "b")])
    assert report["pairs"] == {"a / b": None} and report["opposites"] is None


def test_clips_of_unknown_classes_count_as_wrong():
    report = recognition_report(np.array([[1.0, 0], [1.0, 0]]), [["a"], ["z"]], ["a", "b"])
    assert (report["top1"], report["unknown"]) == (0.5, 1)
    assert format_recognition(report).splitlines()[-1] == (
        "1 clips have only labels that the model does not know; they count as wrong"
    )


def test_nothing_to_describe():
    with pytest.raises(ValueError, match="do not fit 0 clips and 2 classes"):
        recognition_report(np.zeros((0, 2)), [], ["a", "b"])

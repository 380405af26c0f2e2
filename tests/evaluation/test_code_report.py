"""Usage statistics of a codebook against numbers worked out by hand."""

import json
import math

import numpy as np
import pytest

from mmretrieval.evaluation.codes import code_counts, code_report, usage_report


def test_golden_perplexity():
    # assignments 0, 0, 1, 2 of the specification's codebook step
    assert usage_report({"video": [2, 1, 1]})["perplexity"]["joint"] == pytest.approx(2.828427, abs=1e-6)


def test_a_small_codebook_by_hand():
    report = usage_report({"text": [2, 2, 0, 0, 0], "video": [9, 0, 1, 0, 0]})
    assert report["size"] == 5 and report["used"] == 3 and report["dead"] == 2
    assert report["shared"] == pytest.approx(1 / 3)  # only code 0
    assert report["balanced"] == pytest.approx(1 / 3)  # code 0 is .9 of video's usage and .5 of text's
    assert list(report["perplexity"]) == ["joint", "video", "text"]
    assert report["perplexity"]["text"] == pytest.approx(2)
    entropy = -(11 * math.log(11 / 14) + 2 * math.log(2 / 14) + math.log(1 / 14)) / 14
    assert report["perplexity"]["joint"] == pytest.approx(math.exp(entropy))
    p, q = np.array([0.9, 0, 0.1]), np.array([0.5, 0.5, 0])
    middle = (p + q) / 2
    expected = sum(x * math.log2(x / m) for part in (p, q) for x, m in zip(part, middle, strict=True) if x) / 2
    assert report["jsd"] == {"video_text": pytest.approx(expected)}
    json.dumps(report)


def test_more_positions_of_one_modality_do_not_unbalance_a_code():
    report = usage_report({"video": [1000, 1000], "speech": [10, 10], "text": [1, 1]})
    assert report["shared"] == report["balanced"] == 1
    assert report["jsd"] == pytest.approx({"video_speech": 0, "video_text": 0, "speech_text": 0})


def test_a_fifth_is_the_border_of_balance():
    # three equal usages are a third each; with .2/.8 of code 0 the lesser modality has exactly one fifth
    assert usage_report({"video": [2, 8], "text": [8, 2]})["balanced"] == 0
    assert usage_report({"video": [21, 79], "text": [79, 21]})["balanced"] == 1


def test_separate_halves():
    report = usage_report({"video": [3, 3, 0, 0], "text": [0, 0, 3, 3]})
    assert report["shared"] == report["balanced"] == 0
    assert report["jsd"]["video_text"] == pytest.approx(1)
    assert report["perplexity"] == pytest.approx({"joint": 4, "video": 2, "text": 2})


def test_padding_is_not_counted():
    padded = np.array([[0, 1, -1, -1], [2, 2, 2, -1]])
    np.testing.assert_array_equal(code_counts(padded, 4), [1, 1, 3, 0])
    np.testing.assert_array_equal(code_counts([[0, 1], np.array([2, 2, 2]), []], 4), [1, 1, 3, 0])
    wide = np.pad(padded, ((0, 0), (0, 9)), constant_values=-1)
    text = np.array([0, 3])
    assert code_report({"video": padded, "text": text}, 4) == code_report({"video": wide, "text": text}, 4)


def test_permuting_codes_changes_nothing():
    counts = {"video": np.array([5, 0, 3, 1]), "text": np.array([1, 2, 0, 0])}
    turned = {name: array[[2, 3, 0, 1]] for name, array in counts.items()}
    assert usage_report(turned)["jsd"] == pytest.approx(usage_report(counts)["jsd"])
    assert usage_report(turned)["perplexity"] == pytest.approx(usage_report(counts)["perplexity"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: code_counts([0, 4], 4),
            "codes of a codebook of 4 are 0 to 3, or -1 where padded; got 4",
        ),
        (
            lambda: code_report({"video": [0], "text": [-1, -1]}, 4),
            "'text' assigned no code: every position is padding, or there is no sample",
        ),
        (
            lambda: usage_report({"video": [1, 2], "text": [1]}),
            "each modality needs one count per code of one codebook, got {'video': (2,), 'text': (1,)}",
        ),
        (lambda: usage_report({}), "each modality needs one count per code of one codebook, got {}"),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message

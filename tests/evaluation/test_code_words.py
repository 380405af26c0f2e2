"""Precision, recall and F1 of codes against slow, obvious counting, and against the specification's toy by hand."""

import json
import math

import numpy as np
import pytest

from mmretrieval.evaluation.code_words import (
    STOP_WORDS,
    Mention,
    agreement,
    detected,
    detectors,
    label_mentions,
    ranking,
    same_meaning,
    spoken_mentions,
    typed_mentions,
)

WORDS = [("dog", 0.0, 0.40), ("runs", 0.40, 0.80)]
CODES = np.array([5, 5, 7, 7, 7])


def value(table, what, code, name):
    return getattr(table, what)[code, table.names.index(name)]


def test_the_toy_of_the_specification():
    table = detectors([(CODES, spoken_mentions(WORDS, 5, 0.16))], 8)
    assert value(table, "precision", 5, "dog") == 1
    assert value(table, "precision", 7, "runs") == 1
    assert value(table, "precision", 7, "dog") == pytest.approx(1 / 3)
    assert (
        value(table, "recall", 5, "dog") == value(table, "recall", 7, "dog") == value(table, "recall", 7, "runs") == 1
    )
    assert value(table, "f1", 7, "dog") == pytest.approx(0.5)
    assert [(row["code"], row["name"], row["f1"]) for row in ranking(table)] == [(5, "dog", 1), (7, "runs", 1)]


def slow(samples, size, step, offset, half_width, stop_words):
    """The protocol in loops: {(code, word): (precision, recall)}."""
    fired, hit, said, found = {}, {}, {}, {}
    for codes, words in samples:
        for index, code in enumerate(codes):
            if code < 0:
                continue
            fired[code] = fired.get(code, 0) + 1
            centre = (index + offset) * step
            here = {w for w, start, end in words if centre - half_width < end and start < centre + half_width}
            for word in here - stop_words:
                hit[code, word] = hit.get((code, word), 0) + 1
        for word, start, end in words:
            if word in stop_words:
                continue
            said[word] = said.get(word, 0) + 1
            first = math.floor(start / step + 0.5 - offset)
            last = math.ceil(end / step + 0.5 - offset)
            for code in {codes[i] for i in range(max(first, 0), min(last, len(codes)))} - {-1}:
                found[code, word] = found.get((code, word), 0) + 1
    return {
        (code, word): (hit.get((code, word), 0) / fired.get(code, 1), found.get((code, word), 0) / said[word])
        for code in range(size)
        for word in said
    }


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_equals_slow_counting(offset):
    random = np.random.default_rng(0)
    samples = []
    for _ in range(30):
        borders = np.cumsum(random.uniform(0.05, 0.4, 7)) + 0.01
        names = random.choice(["dog", "cat", "runs", "the", "red"], 6)
        words = [(str(n), float(a), float(b)) for n, a, b in zip(names, borders, borders[1:])]
        codes = random.integers(0, 6, 16)
        codes[random.integers(10, 17) :] = -1
        samples.append((codes, words))
    made = [(codes, spoken_mentions(words, len(codes), 0.16, offset)) for codes, words in samples]
    table = detectors(made, 6)
    expected = slow(samples, 6, 0.16, offset, 0.04, STOP_WORDS)
    assert "the" not in table.names and set(table.names) == {"dog", "cat", "runs", "red"}
    for (code, word), (precision, recall) in expected.items():
        assert value(table, "precision", code, word) == pytest.approx(precision), (code, word)
        assert value(table, "recall", code, word) == pytest.approx(recall), (code, word)
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
        assert value(table, "f1", code, word) == pytest.approx(f1)


def test_padding_changes_nothing():
    padded = np.concatenate([CODES, [-1, -1]])
    plain, longer = (
        detectors([(codes, spoken_mentions([*WORDS, ("late", 0.8, 1.2)], len(codes), 0.16))], 8)
        for codes in (CODES, padded)
    )
    np.testing.assert_array_equal(plain.positions, longer.positions)
    np.testing.assert_array_equal(plain.hits, longer.hits)
    np.testing.assert_array_equal(plain.found, longer.found)


def test_permuting_codes_permutes_the_answer_alone():
    random = np.random.default_rng(1)
    samples = [(random.integers(0, 9, 12), spoken_mentions(WORDS, 12, 0.1)) for _ in range(5)]
    turn = random.permutation(9)
    table = detectors(samples, 9)
    turned = detectors([(turn[codes], mentions) for codes, mentions in samples], 9)
    np.testing.assert_array_equal(turned.precision[turn], table.precision)
    np.testing.assert_array_equal(turned.recall[turn], table.recall)
    assert detected(turned) == detected(table)
    strip = lambda rows: sorted((row["f1"], row["precision"], row["name"]) for row in rows)  # noqa: E731
    assert strip(ranking(turned)) == strip(ranking(table))


def test_a_position_on_two_mentions_of_one_name_counts_once():
    at = np.array([True, True, False])
    table = detectors([(np.array([0, 1, 1]), [Mention("dog", at, at), Mention("dog", at, at)])], 2)
    assert value(table, "precision", 0, "dog") == 1
    assert table.occurrences.tolist() == [2] and value(table, "recall", 0, "dog") == 1


def test_labels_of_whole_clips_are_conditional_probabilities():
    clips = [([0, 1], ["jump"]), ([0], ["jump", "dog"]), ([0, 2], ["run"]), ([2], ["run", "run"])]
    table = detectors([(np.array(c), label_mentions(names, len(c))) for c, names in clips], 4)
    assert value(table, "precision", 0, "jump") == pytest.approx(2 / 3)  # P(jump | 0)
    assert value(table, "recall", 0, "jump") == 1  # P(0 | jump)
    assert value(table, "precision", 2, "run") == 1 and value(table, "recall", 0, "run") == 0.5
    assert value(table, "precision", 3, "run") == 0  # a code nobody uses
    assert [row["code"] for row in ranking(table)] == [2, 0, 1]
    assert table.at_least(2).names == ("jump", "run")


def test_words_of_typed_captions_lie_at_their_tokens():
    words = [("a", slice(0, 1)), ("tiger", slice(1, 3)), ("runs", slice(3, 4)), ("away", slice(4, 5))]
    mentions = typed_mentions(words, 4)  # the caption was cut after four tokens
    assert [(m.name, m.at.tolist()) for m in mentions] == [
        ("tiger", [False, True, True, False]),
        ("runs", [False, False, False, True]),
    ]


def test_codes_of_nothing_and_a_codebook_larger_than_what_is_seen():
    empty = detectors([], 4)
    assert empty.names == () and ranking(empty) == [] and detected(empty) == []
    table = detectors([(CODES, spoken_mentions(WORDS, 5, 0.16))], 4096)
    assert table.f1.shape == (4096, 2) and len(ranking(table)) == 2


def test_an_id_outside_the_codebook():
    with pytest.raises(ValueError) as caught:
        detectors([(CODES, [])], 6)
    assert str(caught.value) == "codes of a codebook of 6 are 0 to 5, or -1 where padded; got 7"


def test_agreement_compares_meanings_and_knows_chance():
    row = lambda code, name: {"code": code, "name": name}  # noqa: E731
    seen = [row(3, "flash"), row(1, "move_right"), row(4, "dog"), row(9, "cat")]
    said = [row(1, "moves"), row(3, "flashes"), row(4, "bird")]
    found = agreement(seen, said, top=20)
    assert found["codes"] == 3 and found["agreeing"] == pytest.approx(2 / 3)
    assert found["by_chance"] == pytest.approx(2 / 9)
    assert found["pairs"][0] == {"code": 3, "seen": "flash", "said": "flashes", "agree": True}
    assert agreement(seen, said, top=1)["codes"] == 1
    assert agreement([], said) == {"codes": 0, "agreeing": 0.0, "by_chance": 0.0, "pairs": []}
    json.dumps(found)


@pytest.mark.parametrize(
    ("label", "word", "same"),
    [
        ("dog", "dogs", True), ("moving_right", "moves", True), ("running", "run", True),
        ("jump over", "jumping", True),
        ("adult+male+singing", "sings", True), ("grass", "grass", True), ("red", "bed", False), ("dog", "puppy", False),
    ],
)  # fmt: skip
def test_same_meaning(label, word, same):
    assert same_meaning(label, word) is same

"""What may be asked, and what is said about what may not."""

import pytest

from mmretrieval.errors import QueryError
from mmretrieval.search.filters import Filter
from mmretrieval.search.request import Request

BAD = {
    "no query": ({}, "give something to look for: text, speech, video or like, got nothing"),
    "weights alone": (
        {"weights": {"text": 2.0}},
        "give something to look for: text, speech, video or like, got weights for text alone",
    ),
    "no answers": ({"text": "a", "k": 0}, "k is the number of answers and at least 1, got 0"),
    "a page before the first": (
        {"text": "a", "offset": -1},
        "offset is the number of answers to pass over and at least 0, got -1",
    ),
    "weight of an unknown query": (
        {"text": "a", "weights": {"txt": 1.0}},
        "there is no query 'txt' to weigh. Did you mean 'text'? Known are text, speech, video, like, without",
    ),
    "weight of no query": (
        {"text": "a", "weights": {"video": 1.0}},
        "there is a weight for video, but no video query",
    ),
    "weight of nothing": (
        {"text": "a", "weights": {"text": 0.0}},
        "the weight of text is a number other than 0, negative for what is not wanted, got 0.0",
    ),
    "only what is not wanted": (
        {"without": "a"},
        "nothing is asked for, only what is not wanted: give a query with a weight above 0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(name):
    arguments, expected = BAD[name]
    with pytest.raises(QueryError) as caught:
        Request(**arguments)
    assert str(caught.value) == expected


def test_queries_weigh_one_and_what_is_not_wanted_turns_away():
    request = Request(text="a", like="b", without="c", weights={"like": 0.25})
    assert request.parts() == [("text", "a", 1.0), ("like", "b", 0.25), ("without", "c", -0.5)]


FILTERS = {
    "no date": ({"after": "yesterday"}, "after: 'yesterday' is no date: write it like 2026-01-31 or 2026-01-31T18:00"),
    "no such day": (
        {"before": "2026-02-30"},
        "before: '2026-02-30' is no date: write it like 2026-01-31 or 2026-01-31T18:00",
    ),
    "dates the wrong way round": (
        {"after": "2026-02-01", "before": "2026-01-01"},
        "nothing is after 2026-02-01 and before 2026-01-01: 'after' must be the earlier one",
    ),
    "less than nothing": ({"min_seconds": -1.0}, "min_seconds is a length in seconds and at least 0, got -1"),
    "lengths the wrong way round": (
        {"min_seconds": 9, "max_seconds": 3},
        "nothing lasts at least 9 s and at most 3 s: min_seconds must be the smaller one",
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_bad_filters(name):
    arguments, expected = FILTERS[name]
    with pytest.raises(QueryError) as caught:
        Filter(**arguments)
    assert str(caught.value) == expected


def test_no_condition_is_no_filter():
    assert not Filter() and Filter(tags="dog") and Filter(min_seconds=0)
    assert Filter(tags="dog").tags == ("dog",)

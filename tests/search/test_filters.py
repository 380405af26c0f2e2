"""Filters against the slow way: look at every moment, one after the other."""

import fnmatch
import os
from datetime import UTC, datetime

import numpy as np
import pytest
from galleries import ArrayCollection

from mmretrieval.search.filters import Filter
from mmretrieval.search.gallery import Gallery

MOMENTS = [
    {"path": "/films/sea/a.mp4", "metadata": {"duration": 8.0, "modified": "2026-01-31T12:00:00+00:00"}},
    {"path": "/films/sea/b.mov", "metadata": {"duration": 60.0, "labels": ["Dog", "run"]}},
    {"path": "/films/seaside/c.mp4", "metadata": {"modified": "2026-02-01T00:00:00+00:00", "labels": ["dog"]}},
    {"path": "/films/d.mp4", "metadata": {"duration": 3.0, "modified": "2025-12-24T18:00:00+01:00", "labels": ["cat"]}},
    {"path": "/films/old.mp4", "hash": "moved", "metadata": {"duration": 3.0}},
]
MOVED = {"moved": "/films/sea/new.mp4"}
FILTERS = [
    Filter(folder="/films/sea"),
    Filter(folder="/films"),
    Filter(path_glob="*.mov"),
    Filter(path_glob="sea/*"),
    Filter(path_glob="/films/sea*/?.mp4"),
    Filter(path_glob="new.mp4"),
    Filter(after="2026-01-31"),
    Filter(after="2026-01-31T12:00:01", before="2026-02-01T00:00:01"),
    Filter(before="2026-02-01"),
    Filter(before="2025-12-24T17:00:01"),
    Filter(min_seconds=3.0, max_seconds=8.0),
    Filter(tags=("dog",)),
    Filter(tags=("DOG", "run")),
    Filter(folder="/films/sea", tags=("dog",), min_seconds=10),
]


@pytest.fixture
def gallery():
    return Gallery(ArrayCollection(MOMENTS, np.eye(5), MOVED))


def meets(moment: dict, wanted: Filter) -> bool:
    """One moment, one condition after the other."""
    path, facts = MOVED.get(moment.get("hash"), moment["path"]), moment["metadata"]
    utc = [datetime.fromisoformat(day).replace(tzinfo=UTC) if day else None for day in (wanted.after, wanted.before)]
    changed = datetime.fromisoformat(facts["modified"]) if "modified" in facts else None
    glob = wanted.path_glob
    return all(
        (
            wanted.folder is None or path.startswith(wanted.folder + "/"),
            glob is None
            or (fnmatch.fnmatch(os.path.basename(path), glob) if "/" not in glob else False)
            or ("/" in glob and (fnmatch.fnmatch(path, glob) or fnmatch.fnmatch(path, f"*/{glob}"))),
            utc[0] is None or (changed is not None and changed >= utc[0]),
            utc[1] is None or (changed is not None and changed < utc[1]),
            wanted.min_seconds is None or facts.get("duration", -1) >= wanted.min_seconds,
            wanted.max_seconds is None or facts.get("duration", 1e9) <= wanted.max_seconds,
            all(tag.lower() in [label.lower() for label in facts.get("labels", [])] for tag in wanted.tags),
        )
    )


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_the_same_moments_as_one_after_the_other(gallery, wanted):
    expected = [row for row, moment in enumerate(MOMENTS) if meets(moment, wanted)]
    assert expected, "a filter that excludes all would show nothing"
    assert wanted.rows(gallery).tolist() == expected


def test_no_condition_allows_all(gallery):
    assert Filter().rows(gallery) is None


def test_metadata_is_read_once_however_often_it_is_shared_or_asked_for(monkeypatch):
    import json

    read = []
    original = json.loads
    gallery = Gallery(ArrayCollection([MOMENTS[0], MOMENTS[1]] * 500, np.zeros((1000, 2))))
    monkeypatch.setattr(json, "loads", lambda text: read.append(text) or original(text))
    for _ in range(3):
        assert len(Filter(tags=("dog",), min_seconds=10).rows(gallery)) == 500
    assert len(read) == 2


NOTHING = {
    "folder": (Filter(folder="/music"), "no moment passes the filter: none of 5 has a path in /music"),
    "pattern": (Filter(path_glob="*.avi"), "no moment passes the filter: none of 5 has a path like '*.avi'"),
    "date": (
        Filter(after="2030-01-01"),
        "no moment passes the filter: none of 5 has a file changed at or after 2030-01-01",
    ),
    "length": (Filter(min_seconds=100), "no moment passes the filter: none of 5 has a video of at least 100 s"),
    "tag": (
        Filter(tags=("dgo",)),
        "no moment passes the filter: none of 5 has the tag 'dgo'. Did you mean 'dog'?",
    ),
    "together": (
        Filter(folder="/films/sea", tags=("cat",)),
        "no moment passes the filter: none of 5 has a path in /films/sea and the tag 'cat' at once",
    ),
}


@pytest.mark.parametrize("name", NOTHING)
def test_why_nothing_passes(gallery, name):
    wanted, expected = NOTHING[name]
    assert not len(wanted.rows(gallery))
    assert wanted.why_nothing(gallery) == expected

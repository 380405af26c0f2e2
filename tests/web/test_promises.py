"""SECURITY.md promises nothing without a test."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_promise_names_tests_that_exist():
    rows = [row for row in TEXT.splitlines() if row.startswith("| ") and not row.startswith("| promise")]
    assert len(rows) >= 15
    for row in rows:
        promise, tests = row.strip("| ").rsplit(" | ", 1)
        named = re.findall(r"`([\w/.]+)::(\w+)`", tests)
        assert named, promise
        for file, test in named:
            path = ROOT / file if "/" in file else Path(__file__).parent / file
            assert f"def {test}(" in path.read_text(encoding="utf-8"), f"{file} has no {test}"


def test_the_numbers_are_those_of_the_code():
    from mmretrieval.web import asking, gate, server
    from mmretrieval.web.decoding import unpacking, uploads

    assert f"{uploads.BYTES >> 20} MB" in TEXT and f"{uploads.SECONDS:g} s" in TEXT
    assert f"within {uploads.PATIENCE:g} s" in TEXT and f"{gate.HEADER_BYTES >> 10} KB" in TEXT
    assert f"Connections ({server.CONNECTIONS})" in TEXT and f"waiting questions ({asking.MOST})" in TEXT
    assert f"one of {len(unpacking.CONTAINERS)} containers" in TEXT

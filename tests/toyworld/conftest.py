"""One small world for all tests that only look at it."""

import json
from pathlib import Path

import pytest

from mmretrieval.toyworld import build
from mmretrieval.toyworld.plan import plan

CLIPS, SEED, LONG = 12, 5, 1


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toyworld") / "world"
    build(folder, CLIPS, SEED, long=LONG, workers=1, progress=False)
    return folder


@pytest.fixture(scope="session")
def truth(world) -> list[dict]:
    return [json.loads(line) for line in (world / "truth.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def planned():
    """Many clips, decided but not drawn."""
    return plan(800, 3)

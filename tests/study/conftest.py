from pathlib import Path

import pytest
from clips import write_recipe, write_world

from mmretrieval.study.plan import plan_runs, read_study

STUDY = """\
# A small question.
question: Is a fast rate better?
base: recipe.yaml
runs:
  slow: {training.lr: 0.0001}
  fast:
    - "training.lr=0.01"
seeds: [0, 1]
metrics:
  R@1: [retrieval.text_to_video.recall@1, retrieval.video_to_text.recall@1]
  rank: retrieval.mean.median_rank
  loss: {keys: losses.-1, better: none}
baseline: slow
"""


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("data") / "world")


@pytest.fixture
def study_file(world, tmp_path):
    """A study file beside its base recipe; changes are (old, new) pairs of its text."""

    def write(*changes, name="rates.yaml", text=STUDY):
        write_recipe(tmp_path, world, tmp_path / "unused")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.fixture
def planned(study_file, tmp_path):
    """A study and its runs below tmp_path/out."""

    def plan(*changes, overrides=(), seeds=None):
        study = read_study(study_file(*changes), "rates.yaml")
        return study, plan_runs(study, Path(tmp_path / "out"), overrides, seeds)

    return plan

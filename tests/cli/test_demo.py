import json
import sys

import pytest

from mmretrieval.cli import demo
from mmretrieval.cli.main import main

SMALLEST = """\
include: {quick}
training: {{epochs: 1, batch_size: 16, evaluate_every: 1}}
model:
  dim: 32
  video: {{backbone: {{name: tsm_resnet_tiny, width: 8}}, size: 32}}
  speech: {{encoder: {{name: resdavenet_small, widths: [8, 8, 16]}}}}
  text: {{encoder: {{name: text_transformer, dim: 16, depth: 1, heads: 2}}, vocab_size: 200}}
  codebook: {{size: 16, dim: 16}}
"""


@pytest.fixture
def smallest(tmp_path, monkeypatch):
    """The demo with a world of 60 clips and a model of a few thousand parameters: every stage, a few seconds."""
    from mmretrieval.recipe import find_recipe

    recipe = tmp_path / "smallest.yaml"
    recipe.write_text(SMALLEST.format(quick=find_recipe("toyworld/quick").resolve()))
    monkeypatch.setattr(demo, "QUICK_CLIPS", 60)
    monkeypatch.setattr(demo, "QUICK_RECIPE", str(recipe))
    monkeypatch.setattr(sys, "argv", ["mmretrieval", "demo", "--quick", "--out", str(tmp_path / "demo")])

    def run(capsys):
        with pytest.raises(SystemExit) as caught:
            main()
        assert not caught.value.code
        return capsys.readouterr().out

    return run


def test_the_whole_demo_and_its_second_start(smallest, tmp_path, capsys):
    out = smallest(capsys)
    folder = tmp_path / "demo"
    report = json.loads((folder / "report.json").read_text())
    assert set(report) == {"retrieval", "codes", "environment", "stages", "answers"}
    assert set(report["stages"]) == {"world", "train", "index", "ask"}
    assert [answer["kind"] for answer in report["answers"]] == ["typed"] * 3 + ["spoken"] * 3
    assert all(len(answer["hits"]) == 5 for answer in report["answers"])
    assert {"used", "shared", "perplexity"} <= set(report["codes"])
    assert (folder / "answers.png").read_bytes().startswith(b"\x89PNG")
    assert f"mmretrieval search {folder}/collection" in out
    assert f"mmretrieval index build my-index --model {folder}/run/model ~/Videos" in out

    written = (folder / "run/model/model.safetensors").stat().st_mtime_ns
    smallest(capsys)
    assert (folder / "run/model/model.safetensors").stat().st_mtime_ns == written, "a finished demo trained again"
    later = json.loads((folder / "report.json").read_text())
    assert later["retrieval"] == report["retrieval"]
    assert later["stages"]["train"] > report["stages"]["train"], "seconds of the first start are lost"

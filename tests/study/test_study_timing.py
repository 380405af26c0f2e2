"""Times of the networks of a study: measured once, together, when everything is trained."""

import json

import pytest

from mmretrieval.errors import RecipeError, StorageError
from mmretrieval.evaluation import cost
from mmretrieval.recipe import dump_recipe
from mmretrieval.recognizer import Recognizer
from mmretrieval.study.plan import plan_runs, read_study
from mmretrieval.study.results import collect
from mmretrieval.study.runner import Ledger, only_one
from mmretrieval.study.table import markdown
from mmretrieval.study.timing import check_timed, measure_times

STUDY = """\
name: networks
base: toyworld/recognition
runs:
  TSN: {model.video.backbone: {name: resnet_tiny}}
  TAM: {model.video.backbone: {name: tam_resnet_tiny}}
seeds: [0, 1]
metrics:
  top-1: {keys: recognition.top1, percent: true}
  latency [ms]: {keys: timing.latency, better: none, scale: 1.0e+3}
baseline: TSN
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "networks.yaml").write_text(STUDY)
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.jsonl").write_text("")
    return tmp_path / "networks.yaml"


@pytest.fixture
def overrides(tmp_path):
    return [f"data.{split}={tmp_path / split}.jsonl" for split in ("train", "val", "test")]


@pytest.fixture
def study(file):
    return read_study(file)


@pytest.fixture
def planned(study, tmp_path, overrides):
    def plan(*more):
        return plan_runs(study, tmp_path / "out", [*overrides, *more])

    return plan


def finish(runs):
    for run in runs:
        config = run.recipe.model.model_dump(mode="json") | {"labels": ["rise", "fall"]}
        Recognizer.from_config(config).save_pretrained(run.folder / "model")
        (run.folder / "recipe.yaml").write_text(dump_recipe(run.recipe))
        environment = {"processor": "p", "cores": 2, "python": "3", "packages": {"torch": "2", "mmretrieval": "1"}}
        report = {"recognition": {"top1": 0.5}, "stages": {"train": 1.0}, "environment": environment}
        (run.folder / "report.json").write_text(json.dumps(report))


@pytest.fixture
def measured(monkeypatch):
    """Which networks were timed together, instead of how fast they are."""
    calls = []

    def measure(networks, rounds):
        calls.append({label: type(network).__name__ for label, network in networks.items()})
        return {label: cost.Timing(0.001 * (place + 1), 50.0, 8, 2) for place, label in enumerate(networks)}

    monkeypatch.setattr(cost, "measure", measure)
    return calls


def times(study, runs, out):
    rows = collect(study, runs, Ledger(out / "networks/ledger.json")).rows
    return {row.label: row.values["latency [ms]"] for row in rows}


def test_networks_are_timed_together_once(study, planned, tmp_path, measured):
    out, said, runs = tmp_path / "out", [], planned()
    measure_times(study, runs, out, said.append)
    assert not measured and not out.exists()  # nothing is finished
    finish(runs)
    page = markdown(collect(study, runs, Ledger(out / "networks/ledger.json")), "command")
    assert "Note: latency [ms]: networks are timed when all runs are done." in page
    measure_times(study, runs, out, said.append)
    assert len(measured) == 1 and sorted(measured[0]) == ["TAM", "TSN"]
    assert said == ["timing 2 networks, which takes quiet"]
    assert sorted(value for seeds in times(study, runs, out).values() for value in seeds.values()) == [1.0, 2.0]
    assert all(list(seeds) == [0] for seeds in times(study, runs, out).values())
    page = markdown(collect(study, runs, Ledger(out / "networks/ledger.json")), "command")
    row = next(line for line in page.splitlines() if line.startswith("| TSN | 2 |"))
    assert "±" not in row.split("|")[4] and "Note:" not in page
    measure_times(study, runs, out, said.append)
    assert len(measured) == 1


def test_other_networks_are_timed_anew(study, planned, tmp_path, measured):
    runs = planned()
    finish([run for run in runs if run.label == "TSN"])
    measure_times(study, runs, tmp_path / "out", print)
    finish(runs)
    measure_times(study, runs, tmp_path / "out", print)
    assert [sorted(call) for call in measured] == [["TSN"], ["TAM", "TSN"]]
    runs = planned("model.video.frames=4")
    finish(runs)
    measure_times(study, runs, tmp_path / "out", print)
    assert len(measured) == 3


def test_nobody_is_timed_beside_runs_at_work(study, planned, tmp_path, measured):
    runs = planned()
    finish(runs)
    with only_one(tmp_path / "out"), pytest.raises(StorageError, match="is at work there"):
        measure_times(study, runs, tmp_path / "out", print)
    assert not measured and not (tmp_path / "out/networks/timing.json").exists()


def test_times_are_of_recognition(file, overrides, tmp_path):
    file.write_text(STUDY.replace("toyworld/recognition", "toyworld/base"))
    study = read_study(file)
    with pytest.raises(RecipeError) as caught:
        check_timed(study, plan_runs(study, tmp_path / "out", overrides))
    assert str(caught.value) == (
        f"{file}: timing.* are times of recognition networks, run 'TSN' has task retrieval: take these metrics out"
    )
    file.write_text(STUDY.replace("toyworld/recognition", "toyworld/base").replace("timing.", "losses."))
    check_timed(read_study(file), plan_runs(read_study(file), tmp_path / "out", overrides))


def test_the_command_times_what_is_finished(file, planned, tmp_path, overrides, run):
    """Really measured: the same networks in the same command, the table says what came out."""
    finish(planned())
    command = ("study", file, *overrides, "--out", tmp_path / "out")
    code, page, _ = run(*command, "--report")
    assert code == 0 and "networks are timed when all runs are done" in page
    assert not (tmp_path / "out/networks/timing.json").exists()
    code, page, said = run(*command)
    assert code == 0 and "networks: timing 2 networks" in said and "networks are timed" not in page
    kept = json.loads((tmp_path / "out/networks/timing.json").read_text())
    assert all(kept[label]["latency"] > 0 and kept[label]["batch"] == 8 for label in ("TSN", "TAM"))
    assert f"{1000 * kept['TAM']['latency']:.3g}" in page

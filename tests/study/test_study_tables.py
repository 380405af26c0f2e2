"""From reports to pages: every number against a slow recomputation, and runs that are not there."""

import json
import statistics
import struct

import pytest

from mmretrieval.recipe import dump_recipe
from mmretrieval.study.picture import points
from mmretrieval.study.results import collect, look_up
from mmretrieval.study.runner import Ledger, chosen, duration, expected_seconds, state_of
from mmretrieval.study.table import as_json, markdown, write_pages

ENVIRONMENT = {"processor": "a processor", "cores": 2, "python": "3.11", "packages": {"torch": "2", "mmretrieval": "1"}}


def report(text_to_video, video_to_text, rank, loss):
    return {
        "retrieval": {
            "text_to_video": {"recall@1": text_to_video},
            "video_to_text": {"recall@1": video_to_text},
            "mean": {"median_rank": rank},
        },
        "codes": None,
        "losses": [9.0, loss],
        "stages": {"train": 30.0, "codes": 10.0},
        "environment": ENVIRONMENT,
    }


REPORTS = {
    ("slow", 0): report(0.10, 0.20, 5.0, 2.5),
    ("slow", 1): report(0.20, 0.30, 4.0, 2.25),
    ("fast", 0): report(0.30, 0.30, 4.5, 1.0),
    ("fast", 1): report(0.25, 0.25, 4.0, 1.5),
}


def finish(runs, only=REPORTS):
    for run in runs:
        if (run.label, run.seed) in only:
            run.folder.mkdir(parents=True, exist_ok=True)
            (run.folder / "recipe.yaml").write_text(dump_recipe(run.recipe))
            (run.folder / "report.json").write_text(json.dumps(REPORTS[run.label, run.seed]))


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "out/rates/ledger.json")


def test_every_number_equals_a_slow_recomputation(planned, ledger):
    study, runs = planned()
    finish(runs)
    content = json.loads(as_json(collect(study, runs, ledger), "command"))
    shares = {
        label: [
            (REPORTS[label, seed]["retrieval"]["text_to_video"]["recall@1"]
             + REPORTS[label, seed]["retrieval"]["video_to_text"]["recall@1"]) / 2
            for seed in (0, 1)
        ]
        for label in ("slow", "fast")
    }  # fmt: skip
    slow, fast = (row["metrics"] for row in content["runs"])
    for row, label in ((slow, "slow"), (fast, "fast")):
        assert row["R@1"]["values"] == {"0": pytest.approx(shares[label][0]), "1": pytest.approx(shares[label][1])}
        assert row["R@1"]["mean"] == pytest.approx(statistics.mean(shares[label]))
        assert row["R@1"]["std"] == pytest.approx(statistics.stdev(shares[label]))
        assert row["R@1"]["n"] == 2
    differences = [fast_one - slow_one for fast_one, slow_one in zip(shares["fast"], shares["slow"], strict=True)]
    assert fast["R@1"]["difference"] == {
        "mean": pytest.approx(statistics.mean(differences)),
        "std": pytest.approx(statistics.stdev(differences)),
        "n": 2,
    }
    assert "difference" not in slow["R@1"]
    assert [fast["R@1"]["best"], slow["R@1"]["best"]] == [True, False]
    assert [fast["rank"]["best"], slow["rank"]["best"]] == [True, False]  # lower ranks are better
    assert [fast["loss"]["best"], slow["loss"]["best"]] == [False, False]
    assert [slow["R@1"]["near_best"], slow["rank"]["near_best"]] == [False, True]
    assert slow["loss"]["values"] == {"0": 2.5, "1": 2.25}
    assert content["runs"][0]["seconds"] == {"0": 40.0, "1": 40.0}


def test_the_page(planned, ledger):
    study, runs = planned()
    finish(runs)
    ledger.note(runs[0], 100.0, None, finished=True)
    assert markdown(collect(study, runs, ledger), "mmretrieval study rates.yaml") == PAGE


PAGE = """\
# rates

Is a fast rate better?

| run | seeds | R@1 [%] ↑ | rank ↓ | loss | time |
|---|---|---|---|---|---|
| slow | 2 | 20.0 ± 7.1 | 4.5 ± 0.707 ≈ | 2.38 ± 0.177 | 70 s |
| fast | 2 | **27.5 ± 3.5** | **4.25 ± 0.354** | 1.25 ± 0.354 | 40 s |

Mean ± standard deviation over seeds (divisor n − 1) where they differ; time is that of one run. **Bold**: \
the best mean. ≈: within one \
standard deviation of it, the larger of the two.

Difference to slow, paired by seed:

| run | R@1 | rank | loss |
|---|---|---|---|
| fast | +7.5 ± 10.6 | -0.25 ± 0.354 | -1.12 ± 0.53 |

![rates](rates.png)

What the runs change in recipe.yaml:

- slow: `training.lr=0.0001`
- fast: `training.lr=0.01`

Made by `mmretrieval study rates.yaml`. Trained on: a processor, 2 cores, Python 3.11, torch 2, mmretrieval 1.
"""


def test_seeds_that_are_missing_failed_or_stand_alone(planned, ledger):
    study, runs = planned()
    finish(runs, [("slow", 0), ("slow", 1), ("fast", 1)])
    ledger.note(runs[1], 3.0, "out of luck")
    results = collect(study, runs, ledger)
    slow, fast = results.rows
    assert (fast.seeds, fast.missing, fast.failures) == ([1], [0], {0: "out of luck"})
    assert results.difference(fast, "R@1") == (pytest.approx(0.0), None, 1)  # paired: seed 1 only
    page = markdown(results, "command")
    assert "| fast | 1 | **25.0** | **4** | 1.5 | 40 s |" in page
    assert "Failed:\n\n- fast, seed 0: out of luck\n" in page


def test_nothing_finished_is_a_page_without_a_picture(planned, ledger, tmp_path):
    study, runs = planned()
    pages = write_pages(tmp_path / "out/rates", collect(study, runs, ledger), "command")
    assert [page.name for page in pages] == ["rates.md", "rates.json"]
    text = pages[0].read_text()
    assert "| slow | 0 | – | – | – | – |" in text and "![" not in text
    assert "Not finished: slow, seed 0; slow, seed 1; fast, seed 0; fast, seed 1." in text
    assert "Trained on: nothing is finished." in text


def test_best_first(planned, ledger):
    study, runs = planned(("baseline: slow", "order: best"))
    finish(runs)
    assert [row.label for row in collect(study, runs, ledger).rows] == ["fast", "slow"]


def test_a_key_that_no_report_has_is_named(planned, ledger):
    study, runs = planned(("losses.-1", "losses.2"))
    finish(runs)
    note = "Note: loss: no finished run has a number at 'losses.2' in its report.json."
    assert note in markdown(collect(study, runs, ledger), "command")


def test_the_picture_is_a_png_of_the_size_of_its_table(planned, ledger, tmp_path):
    study, runs = planned(("baseline: slow", "plot: {metrics: [R@1, rank], title: Rates}"))
    finish(runs)
    picture = write_pages(tmp_path / "out/rates", collect(study, runs, ledger), "command")[2].read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    # inches: 1.8 for labels and 2.6 per panel; 1.1 of frame and 0.32 per run; 120 dots each
    assert (width, height) == (round(120 * (1.8 + 2 * 2.6)), int(120 * (1.1 + 2 * 0.32)))


def test_points_over_a_cost(planned, ledger, tmp_path):
    study, runs = planned(
        ("{keys: losses.-1, better: none}", "{keys: losses.-1, better: none, scale: 1.0e+3}"),
        ("baseline: slow", "plot: {metrics: [R@1], against: loss}"),
    )
    finish(runs)
    results = collect(study, runs, ledger)
    assert results.rows[0].values["loss"] == {0: 2500.0, 1: 2250.0}
    (axes,) = points(results, ["R@1"]).axes
    drawn = [line.get_data() for line in axes.lines if line.get_marker() not in ("_", "|", "None")]
    assert [tuple(float(value[0]) for value in data) for data in drawn] == [
        (2375.0, pytest.approx(20.0)),
        (1250.0, pytest.approx(27.5)),
    ]
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == ("log", "loss", "R@1 [%]")
    picture = write_pages(tmp_path / "out/rates", results, "command")[2].read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")


def test_pages_made_twice_are_equal(planned, ledger, tmp_path):
    study, runs = planned()
    finish(runs)
    first = [page.read_bytes() for page in write_pages(tmp_path / "a", collect(study, runs, ledger), "command")]
    assert [page.read_bytes() for page in write_pages(tmp_path / "b", collect(study, runs, ledger), "command")] == first


@pytest.mark.parametrize(
    ("key", "value"),
    [("a.b", 2.0), ("list.-1", 4.0), ("list.7", None), ("a", None), ("a.c.d", None), ("nan", None), ("a.b.c", None)],
)
def test_looking_up_a_key(key, value):
    assert look_up({"a": {"b": 2, "c": None}, "list": [3.0, 4.0], "nan": float("nan")}, key) == value


# --- where runs stand


def test_states(planned):
    _, runs = planned()
    finish(runs, [("slow", 0)])
    assert state_of(runs[0]) == ("finished", "")
    assert state_of(runs[1]) == ("new", "")
    (runs[0].folder / "report.json").unlink()
    assert state_of(runs[0]) == ("started", "")
    (runs[0].folder / "checkpoint").mkdir()
    (runs[0].folder / "checkpoint/progress.json").write_text('{"step": 12}')
    assert state_of(runs[0]) == ("started", "at step 12")


def test_a_run_of_another_recipe_is_not_taken_for_this_one(planned, ledger):
    _, before = planned()
    finish(before)
    study, runs = planned(overrides=["training.epochs=2"])
    state, detail = state_of(runs[0])
    assert state == "of another recipe"
    assert detail == (
        f"{runs[0].folder} was trained with training.epochs=3, this recipe says 2: resume with the same recipe, or "
        "choose another folder with output=…"
    )
    row = collect(study, runs, ledger).rows[0]
    assert row.seeds == [] and row.failures[0] == detail


def test_times_come_from_the_same_label_first(planned, ledger):
    _, runs = planned()
    assert expected_seconds(runs[0], runs, ledger) is None
    ledger.note(runs[0], 60.0, None)
    ledger.note(runs[0], 40.0, None, finished=True)
    assert expected_seconds(runs[2], runs, ledger) == 100.0
    assert expected_seconds(runs[1], runs, ledger) == 100.0
    ledger.note(runs[1], 20.0, None, finished=True)
    assert expected_seconds(runs[3], runs, ledger) == 20.0
    ledger.note(runs[1], 5.0, "it failed", anew=True)
    assert expected_seconds(runs[3], runs, ledger) == 100.0
    again = Ledger(ledger.file)
    assert (again.seconds(runs[0]), again.failure(runs[1])) == (100.0, "it failed")


def test_choosing_runs(planned):
    _, runs = planned()
    assert [run.name for run in chosen(runs, "f*")] == ["fast, seed 0", "fast, seed 1"]
    with pytest.raises(ValueError) as caught:
        chosen(runs, "x*")
    assert str(caught.value) == "--only x*: no run of this study fits. Runs: slow, fast."


def test_durations_as_people_say_them():
    said = [duration(seconds) for seconds in (4.4, 89, 90, 3540, 5100)]
    assert said == ["4 s", "89 s", "2 min", "59 min", "1 h 25 min"]

"""Study files: what they may say, what becomes of it, and every message."""

from pathlib import Path

import pytest

from mmretrieval.errors import ManifestError, RecipeError
from mmretrieval.recipe import load_recipe, shipped_recipes
from mmretrieval.study.plan import Metric, find_studies, plan_runs, read_study, run_folder


def test_every_way_of_writing_a_run_and_a_metric(study_file):
    study = read_study(study_file())
    assert (study.name, study.baseline, study.seeds, study.order) == ("rates", "slow", [0, 1], "file")
    assert study.runs == {"slow": ["training.lr=0.0001"], "fast": ["training.lr=0.01"]}
    assert study.metrics == {
        "R@1": Metric(
            keys=["retrieval.text_to_video.recall@1", "retrieval.video_to_text.recall@1"], better="higher", percent=True
        ),
        "rank": Metric(keys=["retrieval.mean.median_rank"], better="lower", percent=False),
        "loss": Metric(keys=["losses.-1"], better="none", percent=False),
    }


def test_a_value_replaces_what_the_base_has_there_whole(planned):
    _, runs = planned(("{training.lr: 0.0001}", "{objective: {nce: {}}, model.codebook: null, training.lr: 0.00001}"))
    assert runs[0].recipe.objective == {"nce": {}}
    assert runs[0].recipe.model.codebook is None
    assert runs[0].recipe.training.lr == 1e-5
    assert runs[1].recipe.objective.keys() == {"amm", "cmcm", "commitment"}


def test_small_numbers_in_free_sections_stay_numbers(planned):
    _, runs = planned(("{training.lr: 0.0001}", "{objective: {mms: {margin: 0.00001}}}"))
    assert runs[0].recipe.objective == {"mms": {"margin": 1e-5}}


def test_all_labels_of_a_seed_come_before_the_next_seed(planned, tmp_path):
    study, runs = planned()
    assert [run.name for run in runs] == ["slow, seed 0", "fast, seed 0", "slow, seed 1", "fast, seed 1"]
    assert [run.recipe.seed for run in runs] == [0, 0, 1, 1]
    assert runs[3].folder == tmp_path / "out/rates/fast/seed-1"
    assert {run.recipe.output for run in runs} == {str(run.folder) for run in runs}
    assert {run.recipe.data.cache for run in runs} == {str(tmp_path / "out/cache")}
    again = plan_runs(study, tmp_path / "out", seeds=[7])
    assert [run.recipe.seed for run in again] == [7, 7]


def test_overrides_hold_for_all_runs_but_what_a_run_changes_wins(planned):
    _, runs = planned(overrides=["training.epochs=9", "training.lr=0.5", "data.cache=here"])
    assert [run.recipe.training.epochs for run in runs] == [9] * 4
    assert [run.recipe.training.lr for run in runs[:2]] == [0.0001, 0.01]
    assert runs[0].recipe.data.cache == "here"


def test_labels_become_folders():
    assert run_folder(Path("x"), "AMM, α 0.2 / B", 3) == Path("x/AMM-α-0.2-B/seed-3")
    assert run_folder(Path("x"), "K=64", 0) == Path("x/K=64/seed-0")
    assert run_folder(Path("x"), "..", 0) == Path("x/run/seed-0")


def test_numbers_as_labels(planned):
    study, _ = planned(
        ("slow: {training.lr: 0.0001}", "6: {training.batch_size: 6}"),
        ('  fast:\n    - "training.lr=0.01"', "  9: {training.batch_size: 9}"),
        ("baseline: slow", "baseline: 6"),
    )
    assert list(study.runs) == ["6", "9"] and study.baseline == "6"


def message(call, *arguments):
    with pytest.raises((RecipeError, ManifestError)) as caught:
        call(*arguments)
    return str(caught.value)


MISTAKES = {
    "unknown key": (
        ("baseline: slow", "baselin: slow"),
        "line 13: a study has no key 'baselin'. Did you mean 'baseline'?",
    ),
    "unknown key of a metric": (
        ("better: none}", "beter: none}"),
        "line 12: metrics.loss has no key 'beter'. Did you mean 'better'?",
    ),
    "wrong value": (
        ("seeds: [0, 1]", "seeds: [0, one]"),
        "line 8: seeds.1: got 'one'; input should be a valid integer, unable to parse string as an integer",
    ),
    "unknown baseline": (
        ("baseline: slow", "baseline: slo"),
        "line 13: baseline: no run 'slo'. Did you mean 'slow'? Runs: slow, fast.",
    ),
    "unknown metric in the plot": (
        ("baseline: slow", "plot: {metrics: [rang]}"),
        "line 13: plot.metrics: no metric 'rang'. Did you mean 'rank'? Metrics: R@1, rank, loss.",
    ),
    "a mapping within a list": (
        ('"training.lr=0.01"', "training.lr: 0.01"),
        "line 6: runs.fast: got [{'training.lr': 0.01}]; write a mapping like {training.lr: 0.001}, or a list of "
        'overrides, each in quotes: ["training.lr=0.001"]',
    ),
    "labels that make one folder": (
        ("  fast:", "  slow!:"),
        "line 6: runs: 'slow' and 'slow!' would both lie in 'slow': rename one",
    ),
    "unknown metric to plot against": (
        ("baseline: slow", "plot: {against: macs}"),
        "line 13: plot.against: no metric 'macs'. Metrics: R@1, rank, loss.",
    ),
    "no metrics": (
        ("metrics:\n", "metrics: {}\nplot:\n"),
        "line 9: metrics: a mapping of names to keys of report.json is needed, e.g. {R@1: retrieval.mean.recall@1}",
    ),
    "runs that are a list": (
        ("runs:\n  slow: {training.lr: 0.0001}\n  fast:\n    -", "runs:\n    -"),
        "line 4: runs: a mapping of labels to changes is needed, got ['training.lr=0.01']",
    ),
    "a name that is no file name": (
        ("question:", "name: a/b\nquestion:"),
        "line 2: name: 'a/b' names files: use letters, digits and . _ = + - only, e.g. a-b",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_name_file_and_line(study_file, case):
    change, expected = MISTAKES[case]
    file = study_file(change)
    assert message(read_study, file) == f"{file}, {expected}"


def test_no_base(study_file):
    file = study_file(("base: recipe.yaml\n", ""))
    assert message(read_study, file) == f"{file}: base is missing: name the recipe that all runs start from"


def test_a_wrong_recipe_names_the_run(study_file, tmp_path):
    file = study_file(("{training.lr: 0.0001}", "{training.rate: 0.0001}"))
    assert message(plan_runs, read_study(file), tmp_path / "out") == (
        f"{file}: run 'slow': override 'training.rate=0.0001': training has no key 'rate'. Did you mean 'rates'?"
    )


def test_a_missing_manifest_is_said_before_anything_is_trained(study_file, tmp_path):
    file = study_file(("{training.lr: 0.0001}", "{data.val: nowhere.jsonl}"))
    assert message(plan_runs, read_study(file), tmp_path / "out") == (
        f"{file}: run 'slow' needs nowhere.jsonl (data.val), which is not there: make it (a toy world: 'mmretrieval "
        "toyworld'), or add data.val=… to the command"
    )


# --- recipes and studies side by side


@pytest.fixture
def shipped(study_file, tmp_path, monkeypatch):
    """A recipes folder with one recipe and, below it, one study."""
    folder = tmp_path / "recipes"
    (folder / "toyworld/study").mkdir(parents=True)
    file = study_file()
    (tmp_path / "recipe.yaml").rename(folder / "toyworld/base.yaml")
    file.write_text(file.read_text().replace("recipe.yaml", "../base.yaml"))
    file.rename(folder / "toyworld/study/rates.yaml")
    for module in ("recipe", "study.plan"):
        monkeypatch.setattr(f"mmretrieval.{module}.recipes_folder", lambda: folder)
    return folder


def test_the_shipped_studies_ask_what_they_say(world, tmp_path):
    data = [f"data.{split}={world}/train.jsonl" for split in ("train", "val", "test")]
    plans = {}
    for file in find_studies("toyworld/study"):
        study = read_study(file)
        plans[study.name] = {run.label: run.recipe for run in plan_runs(study, tmp_path, data, seeds=[0])}
        assert study.seeds == ([0] if study.name == "depth" else [0, 1, 2]) and study.baseline in study.runs
    assert plans.keys() == {"batch", "depth", "losses", "passes", "recognition", "representation"}
    # one contrastive loss each, and nothing beside it
    assert all(len(recipe.objective) == 1 for recipe in plans["losses"].values())
    assert {recipe.training.batch_size for recipe in plans["batch"].values()} == {16, 32, 64, 128, 256}
    with_codes = {
        label: recipe.objective["cmcm"]["weight"]
        for label, recipe in plans["representation"].items()
        if recipe.model.codebook is not None
    }
    # one budget for all networks, but where the budget is the question
    assert plans["passes"].pop("12 passes").training.epochs == 12
    networks = plans["recognition"] | plans["depth"] | plans["passes"]
    first, *others = (recipe.training for recipe in networks.values())
    assert all(training == first for training in others)
    assert len(with_codes) == 9 and with_codes.pop("codebook") == 0 and set(with_codes.values()) == {0.5}


def test_a_study_is_no_shipped_recipe_and_is_found_as_a_study(shipped):
    assert shipped_recipes() == ["toyworld/base"]
    file = shipped / "toyworld/study/rates.yaml"
    names = (
        "toyworld/study/rates",
        "toyworld/study/rates.yaml",
        "recipes/toyworld/study/rates",
        "toyworld/study",
        file,
    )
    assert [find_studies(name) for name in names] == [[file]] * 5
    assert read_study(file).base.resolve() == shipped / "toyworld/base.yaml"


def test_training_a_study_says_what_to_type(shipped):
    assert message(load_recipe, "toyworld/study/rates") == (
        "recipes/toyworld/study/rates.yaml is a study of several runs, not a recipe of one: type 'mmretrieval study "
        "toyworld/study/rates'"
    )


def test_studying_a_recipe_says_what_to_type(shipped):
    assert message(find_studies, "toyworld/base") == (
        f"{shipped}/toyworld/base.yaml is no study: it has no 'runs:'. If it is a recipe, type 'mmretrieval train "
        "toyworld/base'"
    )
    assert (
        message(find_studies, "toyworld") == f"{shipped}/toyworld holds no study: a study is a YAML file with 'runs:'"
    )


def test_an_unknown_study_offers_the_nearest(shipped):
    assert message(find_studies, "toyworld/study/rate") == (
        "no study 'toyworld/study/rate': it is neither a file nor a folder, and no shipped study. Did you mean "
        "'toyworld/study/rates'? Shipped: toyworld/study/rates."
    )

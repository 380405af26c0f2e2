import json
import os
import re
import signal

import numpy as np
import pytest
import torch
import yaml
from clips import write_recipe, write_world

from mmretrieval.errors import ManifestError, ModelError, RecipeError
from mmretrieval.evaluate import evaluate_saved
from mmretrieval.model import RetrievalModel
from mmretrieval.recipe import load_recipe
from mmretrieval.run import train
from mmretrieval.training import loop
from mmretrieval.training.loop import Interrupted


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("data") / "world")


@pytest.fixture
def recipe(world, tmp_path):
    return lambda *overrides, out="run": load_recipe(write_recipe(tmp_path, world, tmp_path / out), list(overrides))


@pytest.fixture
def stop_at(monkeypatch):
    """Let Ctrl-C arrive in the middle of the given step."""

    def at(step):
        take_step = loop._step

        def interrupted(task, module, optimizer, loaded, settings, progress, accelerator):
            if progress.step == step:
                os.kill(os.getpid(), signal.SIGINT)
            return take_step(task, module, optimizer, loaded, settings, progress, accelerator)

        monkeypatch.setattr(loop, "_step", interrupted)

    return at


def test_a_run_leaves_everything_a_reader_needs(recipe, tmp_path):
    report = train(recipe())
    run = tmp_path / "run"
    assert {p.name for p in run.iterdir()} == {
        "recipe.yaml", "environment.json", "report.json", "curves.png", "log", "checkpoint", "model",
    }  # fmt: skip
    assert json.loads((run / "report.json").read_text()) == json.loads(json.dumps(report))
    assert set(report) >= {"retrieval", "codes", "stages", "environment"}
    assert set(report["retrieval"]["text_to_video"]) == {"recall@1", "recall@5", "recall@10", "map", "median_rank"}
    assert {"perplexity", "used", "shared"} <= set(report["codes"])
    assert yaml.safe_load((run / "recipe.yaml").read_text())["training"]["warmup"] == 0.2
    assert len(report["losses"]) == report["steps"] == 9
    assert [row["epoch"] for row in report["history"]] == [1, 2, 3]
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "log").iterdir())
    assert RetrievalModel.from_pretrained(run / "model").discrete


def test_training_lowers_the_loss(recipe):
    losses = train(recipe("training.epochs=12", "objective={amm: {}}", "training.evaluate_every=12"))["losses"]
    assert np.mean(losses[-6:]) < 0.85 * np.mean(losses[:3])


def test_golden_losses(recipe):
    """The first losses of a fixed recipe: whatever changes them changes what everybody trains."""
    losses = train(recipe("training.epochs=7", "model.codebook=null", "objective={amm: {}}"))["losses"]
    np.testing.assert_allclose(losses[:20], GOLDEN, rtol=1e-2)


def test_resuming_in_the_middle_of_an_epoch_gives_the_losses_of_an_uninterrupted_run(recipe, stop_at, monkeypatch):
    whole = train(recipe(out="whole"))
    with monkeypatch.context() as patched:
        patched.setattr("mmretrieval.training.loop._step", loop._step)
        stop_at(4)
        with pytest.raises(Interrupted) as caught:
            train(recipe(out="parts"))
    assert str(caught.value) == "stopped at step 5 and saved; the same command with --resume goes on"
    monkeypatch.undo()
    parts = train(recipe(out="parts"), resume=True)
    assert parts["losses"] == whole["losses"]
    assert parts["history"] == whole["history"]
    assert parts["retrieval"] == whole["retrieval"]


def test_interrupted_before_and_after_the_codebook_starts(recipe, stop_at, monkeypatch):
    whole = train(recipe(out="whole"))["losses"]
    for step in (1, 3):
        stop_at(step)
        with pytest.raises(Interrupted):
            train(recipe(out="parts"), resume=step > 1)
        monkeypatch.undo()
    assert train(recipe(out="parts"), resume=True)["losses"] == whole


def test_loader_processes_do_not_change_the_losses(recipe):
    assert (
        train(recipe("training.epochs=1"))["losses"]
        == train(recipe("training.epochs=1", "data.workers=2", out="workers"))["losses"]
    )


def test_a_cache_does_not_stop_training_from_learning(recipe, tmp_path):
    report = train(recipe(f"data.cache={tmp_path}/cache", "training.epochs=1"))
    assert len(report["losses"]) == 3 and np.isfinite(report["losses"]).all()


def test_two_modalities_are_enough(recipe):
    report = train(recipe("data.modalities=[video, text]", "model.speech=null", "training.epochs=1"))
    assert {name for name in report["retrieval"] if "_to_" in name} == {"text_to_video", "video_to_text"}


def test_without_a_codebook(recipe):
    report = train(recipe("model.codebook=null", "objective={nce: {}}", "training.epochs=1"))
    assert report["codes"] is None


def test_one_broken_file_is_counted_and_training_goes_on(recipe, tmp_path):
    own = write_world(tmp_path / "own")
    (own / "videos/7.mp4").write_bytes(b"this is no video")
    (own / "speech/9.wav").unlink()
    splits = [f"data.{split}={own}/{split}.jsonl" for split in ("train", "val")]
    report = train(recipe(*splits, "training.epochs=2"))
    assert len(report["losses"]) == 6
    assert report["unreadable_clips"] > 0


def test_a_broken_file_stops_training_if_asked_to(recipe, tmp_path):
    own = write_world(tmp_path / "own")
    (own / "videos/7.mp4").write_bytes(b"this is no video")
    splits = [f"data.{split}={own}/{split}.jsonl" for split in ("train", "val")]
    with pytest.raises(Exception, match=r"videos/7\.mp4"):
        train(recipe(*splits, "data.on_bad=raise"))


def test_an_output_in_use_is_refused(recipe, tmp_path):
    train(recipe("training.epochs=1"))
    with pytest.raises(RecipeError) as caught:
        train(recipe("training.epochs=1"))
    expected = (
        f"{tmp_path}/run already holds a run: add --resume to go on with it, or choose another folder with output=…"
    )
    assert str(caught.value) == expected


def test_resuming_with_another_recipe_is_refused(recipe, tmp_path):
    train(recipe("training.epochs=1"))
    with pytest.raises(RecipeError) as caught:
        train(recipe("training.epochs=2"), resume=True)
    assert str(caught.value) == (
        f"{tmp_path}/run was trained with training.epochs=1, this recipe says 2: "
        "resume with the same recipe, or choose another folder with output=…"
    )


def test_a_damaged_checkpoint_is_one_clear_line(recipe, tmp_path):
    train(recipe("training.epochs=1"))
    (tmp_path / "run/checkpoint/optimizer.pt").write_bytes(b"nothing")
    with pytest.raises(
        ModelError, match=r"^the checkpoint .*/checkpoint cannot be used \(.*\): train without --resume"
    ):
        train(recipe("training.epochs=1"), resume=True)


def test_too_few_clips_for_a_batch(recipe):
    with pytest.raises(RecipeError) as caught:
        train(recipe("training.batch_size=64"))
    assert str(caught.value) == (
        "training.batch_size is 64 but there are only 18 usable training clips: "
        "lower it with training.batch_size=18 or add clips"
    )


def test_a_codebook_larger_than_the_features_seen(recipe):
    with pytest.raises(ModelError) as caught:
        train(recipe("model.codebook.size=5000"))
    assert re.fullmatch(
        r"a codebook of 5000 codes needs at least 5000 vectors to start from, got \d+: "
        r"give more, or make the codebook smaller",
        str(caught.value),
    )


def test_a_manifest_without_the_modalities(recipe, world, tmp_path):
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    silent = world / "silent.jsonl"
    silent.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "speech"}) + "\n" for row in rows))
    with pytest.raises(ManifestError) as caught:
        train(recipe(f"data.train={silent}"))
    assert str(caught.value) == (
        f"{silent}: none of its 18 clips has all of video, speech, text: add what is missing, or name fewer modalities"
    )


def test_a_saved_model_evaluates_to_the_same_report(recipe, world, tmp_path):
    report = train(recipe())
    again = evaluate_saved(tmp_path / "run/model", world / "val.jsonl", workers=0)
    assert again["retrieval"] == report["retrieval"]
    assert again["failures"] == []


def test_codes_do_not_depend_on_dropout_noise_between_runs(recipe):
    first, second = train(recipe(out="a")), train(recipe(out="b"))
    assert first["losses"] == second["losses"]
    weights = [RetrievalModel.from_pretrained(recipe(out=name).output + "/model").state_dict() for name in "ab"]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


GOLDEN = [
    21.8376,
    23.2565,
    23.3476,
    20.4563,
    15.6689,
    16.7995,
    15.347,
    14.004,
    14.3175,
    14.9207,
    12.5845,
    13.6317,
    12.1249,
    12.3371,
    11.4686,
    12.1953,
    11.3539,
    11.817,
    10.2239,
    11.3466,
]

"""Recognition from a recipe to an answer: the model, its training, its evaluation and its words."""

import json
import os
import signal

import pytest
import tiny
import torch
import yaml
from clips import write_world
from torch.nn import functional as F

from mmretrieval.backbones.weights import load_weights
from mmretrieval.data.manifest import Sample, read_manifest
from mmretrieval.errors import ManifestError, ModelError, RecipeError, TrainingError
from mmretrieval.evaluation.cost import count_macs, count_parameters
from mmretrieval.model import RetrievalModel
from mmretrieval.recipe import load_recipe
from mmretrieval.recognizer import Recognizer, RecognizerStream, per_step
from mmretrieval.run import train
from mmretrieval.training import loop
from mmretrieval.training.recognition import RecognitionTask, target
from mmretrieval.types import Batch, Features, Padded

LABELS = ["a", "b", "c"]


def config():
    video = {"backbone": {"name": "tsm_resnet_test"}, "frames": 4, "size": 16, "fps": None}
    return {"video": video, "dropout": 0.5, "labels": LABELS}


def model(seed=0):
    torch.manual_seed(seed)
    return Recognizer.from_config(config()).eval()


def clips(lengths=(4, 2), seed=0):
    random = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (len(lengths), 4, 3, 16, 16), generator=random, dtype=torch.uint8)
    return Padded(frames, torch.arange(4) < torch.tensor(lengths)[:, None])


def labelled(*labels):
    return Sample("one", "one.mp4", labels=labels)


def test_logits_are_the_mean_over_time_of_a_classifier_per_step():
    net = model()
    features = net.encoder(clips())
    for row, steps in ((0, 4), (1, 2)):
        places = features.values[row].view(4, -1, net.encoder.feature_dim)[:steps]
        expected = net.fc(places.mean(1)).mean(0)
        torch.testing.assert_close(net.logits(clips())[row], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", [None, "max"])
def test_a_stream_says_of_all_frames_so_far_what_the_model_says_of_the_clip(pool):
    causal = config()
    causal["video"]["backbone"] |= {"causal": True, "temporal_pool": pool}
    torch.manual_seed(0)
    net, given = Recognizer.from_config(causal).eval(), clips((4, 4))
    stream, brief = RecognizerStream(net), RecognizerStream(net, last=1)
    for length in range(1, 5):
        logits = stream.step(given.values[:, length - 1])
        expected = net.logits(Padded(given.values[:, :length], given.mask[:, :length]))
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
        latest = brief.step(given.values[:, length - 1])
    assert not torch.allclose(latest, logits)
    stream.reset()
    first = net.logits(Padded(given.values[:, :1], given.mask[:, :1]))
    torch.testing.assert_close(stream.step(given.values[:, 0]), first, rtol=1e-4, atol=1e-5)


def test_steps_are_averages_of_their_real_places():
    values = torch.arange(12.0).view(1, 6, 2)
    mask = torch.tensor([[True, False, True, True, False, False]])
    steps, real = per_step(Features(values, mask, (3, 1, 2)))
    assert steps.tolist() == [[[0, 1], [5, 6], [0, 0]]] and real.tolist() == [[True, True, False]]


def test_dropout_falls_on_every_step_apart():
    net = model().train()
    seen = []
    net.dropout.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net.logits(clips((4, 4)))
    assert seen[0].shape == (2, 4, net.encoder.feature_dim)


def test_the_target_is_spread_over_several_labels():
    assert target(labelled("a", "c", "unknown"), LABELS).tolist() == [0.5, 0, 0.5]
    assert not target(labelled("unknown"), LABELS).any()


def test_the_loss_is_the_cross_entropy_of_the_batch():
    net = model()
    task = RecognitionTask(net, net, [labelled("b")], lambda: [], [])
    batch = Batch(["one"], {"video": clips((4,))})
    total, report = task.losses(batch)
    logits = net(batch)
    assert torch.allclose(total, F.cross_entropy(logits, torch.tensor([1])))
    assert float(report["accuracy"]) == float(logits.argmax() == 1)


def test_saved_and_loaded_is_equal(tmp_path):
    net = model()
    net.save_pretrained(tmp_path / "model")
    copy = Recognizer.from_pretrained(tmp_path / "model")
    assert torch.equal(copy.logits(clips()), net.logits(clips())) and copy.labels == net.labels
    assert copy.processor.clip_spec == net.processor.clip_spec and copy.fingerprint() == net.fingerprint()


def test_a_model_of_another_kind_is_one_clear_line(tmp_path):
    model().save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError) as caught:
        RetrievalModel.from_pretrained(tmp_path / "model")
    assert str(caught.value) == f"'{tmp_path}/model' is a model for recognition, not for retrieval"


@pytest.mark.parametrize("labels", [["a"], ["a", "a"]])
def test_classes_that_are_none(labels):
    with pytest.raises(ModelError, match="at least two classes of different names, got"):
        Recognizer.from_config(config() | {"labels": labels})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Clips whose colour is their label."""
    folder = write_world(tmp_path_factory.mktemp("data") / "world")
    for split in ("train", "val"):
        rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        for row in rows:
            row["labels"] = [row["text"].split()[1]]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def recipe(world, tmp_path):
    values = {
        "task": "recognition",
        "data": {"train": f"{world}/train.jsonl", "val": f"{world}/val.jsonl", "workers": 0},
        "model": {"dropout": 0.0, "video": {"backbone": {"name": "tsm_resnet_test"}, "frames": 4, "size": 16}},
        "training": {"epochs": 20, "batch_size": 6, "lr": 0.01, "evaluate_every": 20},
    }

    def make(*overrides, out="run"):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values | {"output": str(tmp_path / out)}))
        return load_recipe(tmp_path / "recipe.yaml", list(overrides))

    return make


def test_a_run_learns_what_it_is_shown(recipe, world, tmp_path, run):
    colours = sorted({label for sample in read_manifest(world / "train.jsonl").samples for label in sample.labels})
    report = train(recipe(f"data.opposites=[[{colours[0]}, {colours[1]}]]"))
    assert report["recognition"]["top1"] > 0.8 and report["losses"][-1] < 0.5 * report["losses"][0]
    assert report["cost"].keys() == {"params", "macs", "latency", "throughput", "threads"}
    backbone = Recognizer.from_pretrained(tmp_path / "run/model").encoder.backbone
    assert report["cost"]["macs"] == count_macs(backbone) and report["cost"]["params"] == count_parameters(backbone)
    assert report["cost"]["latency"] > 0 and report["cost"]["throughput"] > 0
    assert (tmp_path / "run/curves.png").read_bytes().startswith(b"\x89PNG")
    assert Recognizer.from_pretrained(tmp_path / "run/model").labels == tuple(colours)

    saved = tmp_path / "run/model"
    code, out, _ = run("evaluate", saved, world / "val.jsonl", "--json", "--workers", 0)
    again = json.loads(out[out.index("{") :])
    assert code == 0 and again["top1"] == report["recognition"]["top1"] and again["failed"] == 0
    code, out, _ = run("evaluate", saved, world / "val.jsonl", "--workers", 0)
    assert out.startswith(f"clips: {again['clips']}\ntop-1: ")

    videos = sorted((world / "videos").glob("*.mp4"))[:2]
    code, out, err = run("recognize", saved, *videos, tmp_path / "none.mp4", "-k", 2, "--json")
    assert code == 1 and err == f"mmretrieval: {tmp_path}/none.mp4: no such file.\n"
    answers = json.loads(out)
    assert list(answers) == [str(video) for video in videos]
    for guesses in answers.values():
        assert len(guesses) == 2 and guesses[0]["probability"] >= guesses[1]["probability"]
    code, out, _ = run("recognize", saved, videos[0], "-k", 1)
    assert code == 0 and out.splitlines()[1].endswith(answers[str(videos[0])][0]["label"])


def test_resumed_in_the_middle_of_an_epoch_it_is_the_same_run(recipe, monkeypatch):
    published = ["training.optimizer=sgd", "training.schedule=multi_step", "model.video.sampling=uniform"]
    published += ["data.augment=multi_scale", "data.flip=true", "training.epochs=2", "training.evaluate_every=1"]
    whole = train(recipe(*published, out="whole"))
    take_step = loop._step

    def interrupted(task, module, optimizer, loaded, settings, progress, accelerator):
        if progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return take_step(task, module, optimizer, loaded, settings, progress, accelerator)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_step", interrupted)
        with pytest.raises(loop.Interrupted):
            train(recipe(*published, out="parts"))
    parts = train(recipe(*published, out="parts"), resume=True)
    assert len(whole["losses"]) == 6 and parts["losses"] == whole["losses"]
    assert whole["recognition"]["views"]["sampling"].startswith("uniform, 1 clip of 4 frames: ")


def test_other_classes_need_a_new_head(recipe, tmp_path, world):
    brief = ["training.epochs=1", "training.evaluate_every=1"]
    train(recipe(*brief, out="first"))
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {"labels": ["dark" if "r" in row["labels"][0] else "light"], "video": str(world / row["video"])}
        row |= {"speech": str(world / row["speech"])}
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = [f"data.train={tmp_path}/other.jsonl", f"data.val={tmp_path}/other.jsonl"]
    other += [*brief, f"init_from={tmp_path}/first/model"]
    with pytest.raises(ModelError) as caught:
        train(recipe(*other, out="second"))
    known = len(Recognizer.from_pretrained(tmp_path / "first/model").labels)
    assert str(caught.value) == (
        f"init_from: {tmp_path}/first/model knows {known} classes, the training clips have 2, and not the same ones: "
        "add reset_head=true to begin with a new classifier"
    )
    train(recipe(*other, "reset_head=true", out="second"))
    assert Recognizer.from_pretrained(tmp_path / "second/model").labels == ("dark", "light")


def test_a_loss_that_is_no_number_stops_the_run(recipe, monkeypatch):
    losses = RecognitionTask.losses
    steps = []

    def diverging(task, batch):
        total, report = losses(task, batch)
        steps.append(total)
        return (total * float("nan") if len(steps) == 3 else total), report

    monkeypatch.setattr(RecognitionTask, "losses", diverging)
    with pytest.raises(TrainingError) as caught:
        train(recipe())
    assert len(steps) == 3
    assert str(caught.value) == (
        "the loss is nan at step 3: training has diverged. Lower training.lr (now 0.01), or try "
        "training.precision=fp32 and training.clip_grad"
    )


def test_clips_without_labels(recipe, world):
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    (world / "bare.jsonl").write_text("".join(json.dumps({**row, "labels": []}) + "\n" for row in rows))
    with pytest.raises(ManifestError, match="none of its .* clips has labels, which recognition learns"):
        train(recipe(f"data.train={world}/bare.jsonl"))


def test_wrong_keys_are_told_by_the_recipe_of_the_task(recipe):
    with pytest.raises(RecipeError, match="training has no key 'codebook_start'"):
        recipe("training.codebook_start=0.5")
    with pytest.raises(RecipeError) as caught:
        recipe("task=dreaming")
    assert str(caught.value) == "override 'task=dreaming': task: got 'dreaming'; allowed: retrieval, recognition"


def test_its_backbone_goes_into_a_retrieval_model(tmp_path):
    recognizer, retriever = model(seed=3), tiny.model(seed=4)
    recognizer.save_pretrained(tmp_path / "recognizer")
    backbone = retriever.branches["video"].encoder.backbone
    loaded = load_weights(backbone, tmp_path / "recognizer")
    assert loaded.stayed == [] and torch.equal(loaded.classifier["weight"], recognizer.fc.weight)
    for (name, expected), got in zip(
        recognizer.encoder.backbone.named_parameters(), backbone.parameters(), strict=True
    ):
        assert torch.equal(got, expected), name

    retriever.save_pretrained(tmp_path / "retriever")
    other = model(seed=5)
    assert load_weights(other.encoder.backbone, tmp_path / "retriever").classifier == {}
    assert torch.equal(other.encoder.backbone.conv1.weight, recognizer.encoder.backbone.conv1.weight)


def test_models_that_have_no_backbone_to_give(tmp_path):
    tiny.model(video=None).save_pretrained(tmp_path / "mute")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("mute", "is a model without a video backbone"),
        ("empty", "is not a saved model: it has no"),
    ):
        with pytest.raises(ModelError, match=f"^'{tmp_path}/{name}' {message}"):
            load_weights(model().encoder.backbone, tmp_path / name)


def test_opposites_that_no_clip_shows(recipe):
    with pytest.raises(RecipeError) as caught:
        train(recipe("data.opposites=[[red, gren]]"))
    assert str(caught.value) == "data.opposites: no training clip shows 'gren'. Did you mean 'green'?"


def test_a_manifest_of_which_nothing_can_be_read(tmp_path, run):
    model().save_pretrained(tmp_path / "model")
    (tmp_path / "clips.jsonl").write_text('{"id": "one", "video": "none.mp4", "labels": ["a"]}\n')
    code, _, err = run("evaluate", tmp_path / "model", tmp_path / "clips.jsonl", "--workers", 0)
    assert code == 2 and "none.mp4" in err and "Traceback" not in err

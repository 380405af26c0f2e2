"""The published protocol: which frames are looked at, in how many views, and how training clips are cut."""

import json

import numpy as np
import pytest
import torch
import yaml
from clips import write_world

from mmretrieval.data.cache import ClipCache
from mmretrieval.data.dataset import ClipDataset
from mmretrieval.data.manifest import read_manifest
from mmretrieval.data.processor import Processor
from mmretrieval.errors import MediaError, ModelError, RecipeError
from mmretrieval.evaluate import evaluate_recognition
from mmretrieval.media.sampling import dense_clips, uniform_clips, uniform_indices
from mmretrieval.media.transforms import Augmentation, fit, jittered_crop, multi_scale_crop
from mmretrieval.media.video import open_video
from mmretrieval.media.views import Views, cut_views
from mmretrieval.recipe import load_recipe
from mmretrieval.recognizer import Recognizer, changed_by_a_mirror
from mmretrieval.run.recognition import RecognitionWork
from mmretrieval.run.work import clip_dataset
from mmretrieval.types import ClipSpec, Padded

OLD = {"backbone": {"name": "tsm_resnet_test"}, "frames": 4, "size": 16, "fps": None}
"""The video section of a model that was saved before there was a choice of sampling."""


def recognizer(**video):
    torch.manual_seed(0)
    config = {"video": OLD | video, "dropout": 0.5, "labels": ["blue", "green", "red", "white"]}
    return Recognizer.from_config(config).eval()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Clips of 12 frames whose colour is their label."""
    folder = write_world(tmp_path_factory.mktemp("data") / "world")
    for split in ("train", "val"):
        rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        rows = [row | {"labels": [row["text"].split()[1]]} for row in rows]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def recipe(world, tmp_path):
    def make(*overrides, out="run"):
        values = {
            "task": "recognition",
            "output": str(tmp_path / out),
            "data": {"train": f"{world}/train.jsonl", "val": f"{world}/val.jsonl", "workers": 0},
            "model": {"video": {"backbone": {"name": "tsm_resnet_test"}, "frames": 4, "size": 16}},
            "training": {"epochs": 2, "batch_size": 6, "lr": 0.01},
        }
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
        return load_recipe(tmp_path / "recipe.yaml", list(overrides))

    return make


def test_models_from_before_there_was_a_choice_look_at_the_same_frames():
    processor = recognizer().processor
    assert processor.clip_spec == ClipSpec(frames=4, size=16)
    for total in (1, 3, 4, 50):
        assert np.array_equal(processor.choose_frames(total, 25.0), uniform_indices(total, 4))
        drawn = processor.choose_frames(total, 25.0, np.random.default_rng(3))
        assert np.array_equal(drawn, uniform_indices(total, 4, np.random.default_rng(3)))
    # features of frozen encoders are kept by this
    assert list(processor.to_config()["clip"]) == ["frames", "size", "fps", "mean", "std", "resize", "crop", "resample"]


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        ({"sampling": "uniform"}, uniform_clips(50, 4)),
        ({"sampling": "uniform", "per_group": 2}, uniform_clips(50, 4)),
        ({"sampling": "dense", "stride": 3, "crop": 0.875}, dense_clips(50, 4, 3)),
    ],
)
def test_a_saved_model_keeps_its_sampling(tmp_path, video, expected):
    net = recognizer(**video)
    net.save_pretrained(tmp_path / "model")
    processor = Recognizer.from_pretrained(tmp_path / "model").processor
    assert processor.clip_spec == net.processor.clip_spec
    assert processor.clip_spec.crop == video.get("crop", 1.0)
    assert np.array_equal(processor.choose_frames(50, 25.0), expected[0])
    again = Processor.from_config(processor.to_config())
    assert again.clip_spec == processor.clip_spec
    drawn = again.choose_frames(50, 25.0, np.random.default_rng(1))
    assert np.array_equal(drawn, again.sampling(25.0).train(50, np.random.default_rng(1)))


@pytest.mark.parametrize("video", [{}, {"fps": 6.0}, {"sampling": "dense", "stride": 2, "crop": 0.875}])
def test_one_view_is_what_training_evaluates_on(world, video):
    processor, path = recognizer(**video).processor, world / "videos/0.mp4"
    assert torch.equal(processor.views(path, Views())[0], processor.video(path))


@pytest.mark.parametrize("crops", [1, 3])
def test_views_are_clips_times_crops(world, crops):
    processor, path = recognizer(sampling="uniform", crop=0.875).processor, world / "videos/0.mp4"
    views = processor.views(path, Views(3, crops), 0.0, 0.75)
    with open_video(path) as video:
        clips = [video.read(indices) for indices in uniform_clips(9, 4, 3)]
    if crops == 1:
        expected = torch.stack([fit(clip, 16, share=0.875) for clip in clips])
    else:
        expected = cut_views(np.stack(clips), 16, 3)
    assert torch.equal(views, expected)


def test_several_clips_of_a_model_with_a_rate_are_windows_at_that_rate(world):
    processor = recognizer(fps=6.0).processor  # every other frame of 12 a second
    assert processor.choose_clips(12, 12.0, 3).tolist() == [[0, 2, 4, 6], [2, 4, 6, 8], [4, 6, 8, 10]]
    assert processor.choose_clips(12, 12.0, 1).tolist() == [[2, 4, 6, 8]]  # the middle, as ever


def test_logits_of_views_are_the_mean_of_single_views(world):
    net = recognizer(sampling="dense", stride=2, crop=0.875)
    views = [net.processor.views(world / f"videos/{number}.mp4", Views(2, 5)) for number in (0, 1)]
    with torch.no_grad():
        together = net.logits(Padded(torch.stack(views), torch.ones(2, 10, dtype=torch.bool)))
        whole = torch.ones(1, 4, dtype=torch.bool)
        single = [torch.stack([net.logits(Padded(view[None], whole))[0] for view in seen]).mean(0) for seen in views]
    torch.testing.assert_close(together, torch.stack(single), rtol=1e-5, atol=1e-6)


def test_evaluation_of_several_views(world, tmp_path, run):
    net = recognizer(sampling="uniform", crop=0.875)
    net.save_pretrained(tmp_path / "model")
    report = evaluate_recognition(tmp_path / "model", world / "val.jsonl", workers=0, views=Views(2, 3))["recognition"]
    right = []
    for sample in read_manifest(world / "val.jsonl").samples:
        [[guess]] = net.recognize([sample.video], 1, Views(2, 3))
        right.append(guess.label in sample.labels)
    assert report["top1"] == np.mean(right) and report["clips"] == len(right)
    sampling = "uniform, 2 clips of 4 frames: 8 of 300 frames, counted from 0: 37, 112, 187, 262; 38, 113, 188, 263"
    assert report["views"] == {"clips": 2, "crops": 3, "sampling": sampling}

    code, out, _ = run("evaluate", tmp_path / "model", world / "val.jsonl", "--workers", 0, "--clips", 2, "--crops", 3)
    assert code == 0 and out.splitlines()[-2:] == [
        "views: 2 clips × 3 crops = 6 of each video, logits averaged",
        f"sampling, of a video of 300 frames at 30 per second: {sampling}",
    ]
    code, out, _ = run("recognize", tmp_path / "model", world / "videos/0.mp4", "--clips", 2, "--crops", 3, "--json")
    [[guess]] = net.recognize([world / "videos/0.mp4"], 1, Views(2, 3))
    best = json.loads(out)[str(world / "videos/0.mp4")][0]
    assert code == 0 and best["label"] == guess.label and best["probability"] == pytest.approx(guess.probability)


@pytest.mark.parametrize(
    ("video", "words"),
    [
        ({}, "uniform, 1 clip of 4 frames: 4 of 300 frames, counted from 0: 37, 112, 187, 262"),
        ({"fps": 15.0}, "dense, 1 clip of 4 frames, 2 apart: 4 of 300 frames, counted from 0: 146, 148, 150, 152"),
        ({"fps": 12.0}, "dense, 1 clip of 4 frames, 2.5 apart: 4 of 300 frames, counted from 0: 146, 148, 151, 153"),
        (
            {"sampling": "dense", "stride": 2},
            "dense, 1 clip of 4 frames, 2 apart: 4 of 300 frames, counted from 0: 0, 2, 4, 6",
        ),
    ],
)
def test_the_sampling_in_words(video, words):
    assert recognizer(**video).processor.describe(Views()) == words


def test_views_that_cannot_be(world, tmp_path, run):
    with pytest.raises(MediaError) as caught:
        Views(0)
    assert str(caught.value) == "0 clips were asked for; at least 1 is needed"
    recognizer().save_pretrained(tmp_path / "model")
    code, _, err = run("evaluate", tmp_path / "model", world / "val.jsonl", "--crops", 4)
    assert code == 2 and err == "mmretrieval: 4 crops were asked for; 1, 3, 5 and 10 are allowed\n"
    with pytest.raises(ModelError) as caught:
        Processor(ClipSpec(size=16, resize="squash")).views(world / "videos/0.mp4", Views(1, 3))
    assert str(caught.value) == "this model squashes whole frames, which leaves one crop; 3 were asked for"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text('{"format": 1, "model": {}}')
    code, _, err = run("evaluate", tmp_path / "other", world / "val.jsonl", "--clips", 2)
    expected = f"--clips and --crops are for recognition, and {tmp_path}/other is a model for retrieval"
    assert code == 2 and err == f"mmretrieval: {expected}\n"


def test_mirror_images_of_classes_that_have_a_side(world):
    names = ["Move_LEFT", "pushing [it] from right to left", "spin_counterclockwise", "upright", "Brightly lit", "bowl"]
    assert changed_by_a_mirror(names) == names[:3]
    net = recognizer()
    net.labels = ("jump", "move_left", "move_right", "sit")
    with pytest.raises(ModelError) as caught:
        net.recognize([world / "videos/0.mp4"], views=Views(1, 10))
    assert str(caught.value) == (
        "5 of 10 crops are mirror images, and 'move_left' is not the same in a mirror: use 1, 3 or 5 crops"
    )


def pictures(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize("flip", [False, True])
def test_augmentations_are_those_of_their_names(flip):
    spec, seen = ClipSpec(frames=3, size=28, crop=0.875), set()
    middle = fit(pictures(), 28, share=0.875)
    for seed in range(6):

        def draws(seed=seed):
            return np.random.default_rng(seed)

        def cut(name):
            return Augmentation(name, flip)(pictures(), spec, draws())

        assert torch.equal(cut("crop"), fit(pictures(), 28, draws(), flip))
        assert torch.equal(cut("multi_scale"), multi_scale_crop(pictures(), 28, draws(), flip))
        assert torch.equal(cut("jitter"), jittered_crop(pictures(), 28, draws(), flip, (32, 40)))
        as_is, mirrored = (torch.equal(cut("none"), one) for one in (middle, middle.flip(-1)))
        assert as_is or mirrored
        seen.add(mirrored)
    assert seen == ({False, True} if flip else {False})
    with pytest.raises(ValueError) as caught:
        Augmentation("blur")
    assert str(caught.value) == "the augmentation is 'blur'; crop, multi_scale, jitter, none are allowed"


def test_augmentation_depends_on_seed_epoch_and_index_and_leaves_evaluation_alone(world):
    plain = recognizer(sampling="dense", stride=2).processor
    processor = plain.augmented(Augmentation("multi_scale", flip=True))
    samples = read_manifest(world / "train.jsonl").samples

    def draw(seed, epoch, index):
        dataset = ClipDataset(samples, processor, ["video"], train=True, seed=seed)
        dataset.set_epoch(epoch)
        return dataset[index].inputs["video"]

    first = draw(1, 0, 0)
    assert torch.equal(first, draw(1, 0, 0))
    assert not torch.equal(first, draw(1, 1, 0)) and not torch.equal(first, draw(2, 0, 0))
    assert torch.equal(processor.video(samples[0].video), plain.video(samples[0].video))
    assert processor.to_config() == plain.to_config()


def test_a_recipe_augments_training_alone(recipe, world):
    augmented, samples = recipe("data.augment=jitter", "data.flip=true"), read_manifest(world / "train.jsonl").samples
    sets = [clip_dataset(augmented, recognizer(), samples, train=train) for train in (True, False)]
    assert [one.processor.augmentation for one in sets] == [Augmentation("jitter", True), Augmentation()]
    assert clip_dataset(recipe(), recognizer(), samples, train=True).processor.augmentation == Augmentation()


def test_flipping_classes_that_have_a_side(recipe, world, tmp_path):
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {"labels": ["move_left" if row["labels"] == ["red"] else "stay"]}
        row |= {name: str(world / row[name]) for name in ("video", "speech")}
    (tmp_path / "sided.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = read_manifest(tmp_path / "sided.jsonl").samples
    with pytest.raises(RecipeError) as caught:
        RecognitionWork(recipe("data.flip=true"), None).new_model(samples)
    assert str(caught.value) == (
        "data.flip mirrors clips, and 'move_left' (1 such of 2 classes) is not the same in a mirror: leave it out, or "
        "write flip: always to mirror all the same"
    )
    assert RecognitionWork(recipe("data.flip=always"), None).new_model(samples).labels == ("move_left", "stay")


def test_what_a_cache_cannot_serve(world, tmp_path):
    samples = read_manifest(world / "train.jsonl").samples[:2]
    with pytest.raises(ModelError) as caught:
        ClipCache.build(tmp_path / "cache", samples, recognizer(sampling="dense").processor)
    assert str(caught.value) == (
        "data.cache holds a few evenly spaced frames of each clip, and model.video.sampling: dense chooses among all "
        "of them: leave one of the two out"
    )
    assert not (tmp_path / "cache").exists()
    processor = recognizer().processor
    cache = ClipCache.build(tmp_path / "cache", samples, processor, ["video"], workers=0)
    cut = processor.augmented(Augmentation("multi_scale"))
    seen = [cache.read(samples[0], one, ["video"], np.random.default_rng(0))["video"] for one in (cut, processor)]
    assert seen[0].shape == seen[1].shape == (4, 3, 16, 16) and not torch.equal(*seen)


def test_another_sampling_than_it_was_trained_with_is_told(recipe, world, tmp_path, capsys):
    recognizer(sampling="dense", stride=2).save_pretrained(tmp_path / "model")
    samples = read_manifest(world / "train.jsonl").samples
    begun = f"init_from={tmp_path}/model"
    same = ["model.video.sampling=dense", "model.video.stride=2", "model.video.frames=8"]
    RecognitionWork(recipe(begun, *same), None).new_model(samples)
    assert capsys.readouterr().err == ""
    RecognitionWork(recipe(begun), None).new_model(samples)
    assert capsys.readouterr().err == (
        f"init_from: {tmp_path}/model learned from clips with sampling=dense, stride=2, per_group=1, fps=None, this "
        "recipe has sampling=None, stride=1, per_group=1, fps=None\n"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model.video.stride=2"],
            "stride and per_group belong to a sampling: add sampling: dense or sampling: uniform",
        ),
        (
            ["model.video.sampling=dense", "model.video.fps=12"],
            "fps and sampling both say which frames are looked at: leave one of them out",
        ),
        (
            ["model.video.sampling=uniform", "model.video.stride=2"],
            "uniform sampling has no stride, got 2; 'dense' has one",
        ),
    ],
)
def test_samplings_that_contradict_themselves(recipe, overrides, message):
    with pytest.raises(RecipeError) as caught:
        recipe(*overrides)
    assert str(caught.value).partition("model.video: ")[2] == message

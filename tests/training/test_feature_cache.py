"""Frozen encoders look at every clip once."""

import json
import os
import shutil

import numpy as np
import pytest
import tiny
import torch
from clips import write_recipe, write_world

from mmretrieval.data.dataset import ClipDataset, create_loader
from mmretrieval.data.manifest import read_manifest
from mmretrieval.errors import RecipeError
from mmretrieval.media.tokens import Tokenizer
from mmretrieval.model import RetrievalModel
from mmretrieval.recipe import load_recipe
from mmretrieval.run import train
from mmretrieval.training import loop
from mmretrieval.training.feature_cache import CacheSettings, build_features, fingerprint, frozen_modalities
from mmretrieval.training.loop import Interrupted
from mmretrieval.types import Features, Padded

ALL = ("video", "speech", "text")
FROZEN = "training.rates={branches.video.encoder: 0, branches.text.encoder: 0}"


class Alone:
    """What the cache asks of accelerate, for one process."""

    device, is_main_process, process_index, num_processes = torch.device("cpu"), True, 0, 1

    def wait_for_everyone(self):
        pass

    def main_process_first(self):
        from contextlib import nullcontext

        return nullcontext()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("data") / "world")


@pytest.fixture
def world(shared, tmp_path):
    return shutil.copytree(shared, tmp_path / "world")


@pytest.fixture
def samples(world):
    return [read_manifest(world / f"{split}.jsonl").samples for split in ("train", "val")]


def frozen_model(samples, seed=0, **changes):
    torch.manual_seed(seed)
    model = RetrievalModel.from_config(tiny.config(**changes), Tokenizer.train([s.text for s in samples[0]], 128))
    for branch in model.branches.values():
        branch.encoder.requires_grad_(False)
    return model.eval()


def build(folder, model, samples, modalities=ALL, **settings):
    return build_features(folder, model, *samples, modalities, CacheSettings("float32")._replace(**settings), Alone())


def batches(model, samples, store=None):
    dataset = ClipDataset(samples, model.processor, ALL, features=store)
    return [loaded.batch for loaded in create_loader(dataset, [list(range(len(samples)))])]


def count_reads(monkeypatch, model):
    """Let the processor tell what it reads from now on."""
    read, once = [], model.processor.sample

    def sample(sample, modalities, *rest):
        read.extend((sample.id, name) for name in modalities)
        return once(sample, modalities, *rest)

    monkeypatch.setattr(model.processor, "sample", sample)
    return read


@pytest.mark.parametrize(("number", "close"), [("float32", 1e-5), ("float16", 2e-2), ("bfloat16", 1e-1)])
def test_encoding_stored_features_is_encoding_the_files(tmp_path, samples, number, close):
    model = frozen_model(samples)
    model.codebook.start_from(torch.randn(16, 16))
    store = build(tmp_path / "cache", model, samples, number=number)
    [stored], [read] = batches(model, samples[1], store), batches(model, samples[1])
    assert all(isinstance(inputs, Features) for inputs in stored.inputs.values())
    assert list(stored.inputs) == list(read.inputs) and stored.ids == read.ids
    with torch.no_grad():
        got, expected = model(stored), model(read)
    for name in ALL:
        torch.testing.assert_close(got[name].embedding, expected[name].embedding, rtol=close, atol=close)
        assert torch.equal(got[name].features.mask, expected[name].features.mask)
        assert got[name].features.grid == expected[name].features.grid


def test_without_a_codebook_one_pooled_vector_is_kept(tmp_path, samples):
    model = frozen_model(samples, codebook=None)
    store = build(tmp_path / "cache", model, samples)
    lengths = {name: batches(model, samples[1], store)[0].inputs[name].mask.shape[1] for name in ALL}
    assert lengths["video"] == lengths["speech"] == 1  # mean and max
    assert lengths["text"] > 1  # attention learns
    [stored], [read] = batches(model, samples[1], store), batches(model, samples[1])
    with torch.no_grad():
        for name in ALL:
            torch.testing.assert_close(
                model.encode(name, stored.inputs[name]).embedding, model.encode(name, read.inputs[name]).embedding
            )


def test_only_frozen_encoders_are_computed(tmp_path, samples):
    model = frozen_model(samples)
    next(model.branches["speech"].encoder.parameters()).requires_grad_(True)
    assert frozen_modalities(model) == ["video", "text"]
    store = build(tmp_path / "cache", model, samples)
    [batch] = batches(model, samples[0], store)
    assert isinstance(batch.inputs["speech"], Padded) and isinstance(batch.inputs["video"], Features)
    assert build(tmp_path / "cache", model, samples, modalities=("video", "speech")).modalities == ("video",)


def test_the_second_time_nothing_is_read(tmp_path, samples, monkeypatch):
    model = frozen_model(samples)
    build(tmp_path / "cache", model, samples)
    read = count_reads(monkeypatch, model)
    store = build(tmp_path / "cache", model, samples)
    batches(model, samples[0], store)
    assert read == []
    build(tmp_path / "cache", model, samples, number="float16")
    assert len(read) == 3 * 12  # the world has every clip twice: the same content is computed once


def test_a_moved_file_is_known_by_its_content(tmp_path, world, samples, monkeypatch):
    model = frozen_model(samples)
    build(tmp_path / "cache", model, samples)
    (world / "videos/9.mp4").rename(world / "videos/nine.mp4")
    rows = (world / "train.jsonl").read_text().replace("videos/9.mp4", "videos/nine.mp4")
    (world / "train.jsonl").write_text(rows)
    moved = [read_manifest(world / "train.jsonl").samples, samples[1]]
    read = count_reads(monkeypatch, model)
    batches(model, moved[0], build(tmp_path / "cache", model, moved))
    assert read == []


def test_a_changed_file_is_computed_again(tmp_path, world, samples, monkeypatch):
    model = frozen_model(samples)
    build(tmp_path / "cache", model, samples)
    shutil.copy(world / "videos/8.mp4", world / "videos/9.mp4")
    with open(world / "videos/9.mp4", "ab") as file:
        file.write(b"\0\0\0\x08free")
    read = count_reads(monkeypatch, model)
    build(tmp_path / "cache", model, samples)
    assert read == [("clip-9", "video")]


def test_interrupted_it_goes_on_where_it_was(tmp_path, samples, monkeypatch):
    model = frozen_model(samples)
    once, seen = model.processor.sample, []

    def stops(sample, modalities, *rest):
        if len(seen) == 9:
            raise KeyboardInterrupt
        seen.append(sample.id)
        return once(sample, modalities, *rest)

    monkeypatch.setattr(model.processor, "sample", stops)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "cache", model, samples, ("video",), batch_size=4)
    monkeypatch.setattr(model.processor, "sample", once)
    read = count_reads(monkeypatch, model)
    build(tmp_path / "cache", model, samples, ("video",), batch_size=4)
    assert len(read) == 12 - 8 and not {name for name, _ in read} & set(seen[:8])


def test_other_weights_or_preprocessing_have_a_folder_of_their_own(tmp_path, samples):
    model = frozen_model(samples)
    same, other = frozen_model(samples), frozen_model(samples, seed=1)
    faster = frozen_model(samples, video={**tiny.CONFIG["video"], "fps": 4.0})
    assert fingerprint(same, "video") == fingerprint(model, "video")
    assert len({fingerprint(each, "video") for each in (model, other, faster)}) == 3
    assert fingerprint(faster, "speech") == fingerprint(model, "speech")
    assert fingerprint(model, "video", "bf16") != fingerprint(model, "video")
    assert fingerprint(frozen_model(samples, dropout=0.5), "text") == fingerprint(model, "text")
    for each in (model, other):
        build(tmp_path / "cache", each, samples, ("video",))
    assert len(list((tmp_path / "cache").glob("video-*"))) == 2


def test_damage_is_told_in_one_line_and_mended(tmp_path, samples, capsys):
    model = frozen_model(samples)
    build(tmp_path / "cache", model, samples, ("video",))
    assert capsys.readouterr().err == ""
    path = next((tmp_path / "cache").glob("video-*/rows-*.bin"))
    content = bytearray(path.read_bytes())
    content[5] ^= 255
    path.write_bytes(content)
    store = build(tmp_path / "cache", model, samples, ("video",))
    assert capsys.readouterr().err == f"{path.parent}: 1 damaged rows are computed again\n"
    [stored], [read] = batches(model, samples[0], store), batches(model, samples[0])
    with torch.no_grad():
        expected = model.branches["video"].encoder(read.inputs["video"]).values
    torch.testing.assert_close(stored.inputs["video"].values, expected)


def test_random_views(tmp_path, samples):
    model = frozen_model(samples)
    first = build(tmp_path / "cache", model, samples, ("video", "text"), views=3)
    again = build(tmp_path / "again", model, samples, ("video", "text"), views=3)
    other = build(tmp_path / "cache", model, samples, ("video", "text"), views=3, seed=1)
    sample = samples[0][0]

    def drawn(store, modality="video"):
        rng = np.random.default_rng(0)
        return torch.stack([store.read(sample, modality, rng).values for _ in range(12)])

    assert torch.equal(drawn(first), drawn(again)) and not torch.equal(drawn(first), drawn(other))
    assert 1 < len(torch.unique(drawn(first).flatten(1), dim=0)) <= 3
    assert len(torch.unique(drawn(first, "text").flatten(1), dim=0)) == 1
    assert first.read(samples[1][0], "video") is not None


def test_nothing_frozen_is_one_clear_line(tmp_path, samples):
    model = tiny.model()
    with pytest.raises(RecipeError) as caught:
        build(tmp_path / "cache", model, samples)
    assert str(caught.value) == (
        "data.features keeps what frozen encoders give, and none of video, speech, text is frozen: "
        "freeze one with training.rates={branches.video.encoder: 0}, or leave data.features out"
    )


# --- whole runs


@pytest.fixture
def recipe(world, tmp_path):
    return lambda *overrides, out="run": load_recipe(
        write_recipe(tmp_path, world, tmp_path / out), [f"data.features={tmp_path}/cache", FROZEN, *overrides]
    )


def test_a_run_from_the_cache_learns_and_leaves_the_frozen_encoders_alone(recipe, tmp_path):
    report = train(recipe("training.epochs=8", "objective={amm: {}}", "training.evaluate_every=8"))
    assert np.mean(report["losses"][-4:]) < 0.85 * np.mean(report["losses"][:3])
    assert report["unreadable_clips"] == 0
    assert {p.name.split("-")[0] for p in (tmp_path / "cache").iterdir() if p.is_dir()} == {"video", "text"}
    saved = RetrievalModel.from_pretrained(tmp_path / "run/model")
    described = json.loads(next((tmp_path / "cache").glob("video-*/features.json")).read_text())
    assert fingerprint(saved, "video") == described["fingerprint"]


@pytest.mark.parametrize("chunk", ["null", "2"])
def test_resuming_has_the_losses_of_an_uninterrupted_run(recipe, monkeypatch, chunk):
    options = (f"training.chunk_size={chunk}", "data.feature_views=2")
    whole = train(recipe(*options, out="whole"))
    take_step = loop._step

    def interrupted(task, module, optimizer, loaded, settings, progress, accelerator):
        if progress.step == 4:
            os.kill(os.getpid(), 2)
        return take_step(task, module, optimizer, loaded, settings, progress, accelerator)

    monkeypatch.setattr(loop, "_step", interrupted)
    with pytest.raises(Interrupted):
        train(recipe(*options, out="parts"))
    monkeypatch.undo()
    parts = train(recipe(*options, out="parts"), resume=True)
    assert parts["losses"] == whole["losses"] and parts["history"] == whole["history"]


def test_a_clip_that_cannot_be_read_is_counted(recipe, world):
    (world / "videos/7.mp4").write_bytes(b"this is no video")
    (world / "videos/9.mp4").unlink()
    report = train(recipe("training.epochs=2", "data.workers=1"))
    assert len(report["losses"]) == 6 and report["unreadable_clips"] > 0

"""A collection moves to another model: the same moments, other embeddings, and never a mixture of both."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tiny
from fakes import ColourModel, video
from moving import Inverse, Stopping, collect, whole_message, write_clips
from storing import small_shards

from mmretrieval.collection import Collection, Moment
from mmretrieval.collection.reembedding import FOLDER, LossError
from mmretrieval.errors import CollectionError


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path / "clips")


@pytest.fixture
def collection(tmp_path, clips, model):
    return collect(tmp_path, clips, model)


def test_the_same_moments_with_embeddings_of_the_new_model(tmp_path, clips, collection):
    old, moments, manifest = Collection.open(collection.folder), collection.moments, collection.manifest
    new = Inverse()
    done = collection.reembed(new, tmp_path / "other")
    assert collection.moments == moments
    mine = next(moment for moment in collection.moments if moment.id == "mine")
    assert (mine.start, mine.end, mine.metadata["text"], mine.metadata["labels"]) == (
        0.25,
        1.5,
        "red, then blue",
        ["red"],
    )
    assert (done.moments, done.videos, done.lost, done.set_aside) == (len(moments), 4, 0, ()) and not done.already
    assert done.lines() == [f"4 videos, {len(moments)} moments embedded anew"]
    assert new.embedded == len(moments)

    now = collection.manifest
    assert (now.generation, now.metric, now.dim) == (manifest.generation + 1, "inner_product", 6)
    assert (now.created, now.counts) == (manifest.created, manifest.counts) and now.removed == {}
    assert now.duplicates == manifest.duplicates == [{"path": f"{clips}/e.mp4", "same_as": f"{clips}/c.mp4"}]
    assert now.model == {
        "fingerprint": new.fingerprint(),
        "path": "../other",
        "absolute": str(tmp_path / "other"),
        "precision": "fp32",
    }
    fresh = Collection.build(
        tmp_path / "fresh", [tmp_path / "rows.jsonl", clips], Inverse(), "m", window=1.0, stride=0.9
    )
    by_id = dict(zip((moment.id for moment in fresh.moments), fresh.embeddings()))
    assert np.array_equal(collection.embeddings(), np.stack([by_id[moment.id] for moment in moments]))
    assert list(collection.nearest(collection.embeddings()[[3]], 1)[1][0]) == [3]

    # who reads the generation before goes on with the old model, its embeddings and its index
    assert old.embeddings().shape == (len(moments), 4) and list(old.nearest(old.embeddings()[[2]], 1)[1][0]) == [2]
    assert collection.verify() == [] and not (collection.folder / FOLDER).exists()
    old.close()
    Collection.open(collection.folder).remove([moments[0].id])
    assert len(list(collection.folder.glob("index-*.faiss"))) == 1


def test_afterwards_the_new_model_adds_and_the_old_one_is_refused(tmp_path, clips, collection, model):
    writer = Collection.open(collection.folder)
    collection.reembed(Inverse(), tmp_path / "other")
    video(clips / "new.mp4", "green", "red")
    refused = (
        f"{collection.folder} was made by model {Inverse().fingerprint()[:8]}, this is {model.fingerprint()[:8]}: "
        f"open it with {tmp_path}/other, or build another with "
        f"'mmretrieval index build FOLDER --model MODEL VIDEOS'"
    )
    with pytest.raises(CollectionError) as error:
        writer.add([clips], model)
    assert whole_message(error) == refused
    assert collection.add([clips], Inverse(), window=1.0, stride=0.9).added == 1 and collection.verify() == []


def test_an_open_writer_of_the_same_width_cannot_append_embeddings_of_the_old_model(tmp_path, collection):
    writer = Collection.open(collection.folder)
    collection.reembed(ColourModel("three"), tmp_path / "third")
    with pytest.raises(CollectionError) as error:
        writer.append([Moment("late", "/late.mp4", 0.0, 1.0, "f" * 64, {})], np.ones((1, 4), np.float32))
    assert whole_message(error) == (
        f"{collection.folder} was made by model {ColourModel('three').fingerprint()[:8]}, this is "
        f"{ColourModel().fingerprint()[:8]}: open it with {tmp_path}/third, or build another with "
        f"'mmretrieval index build FOLDER --model MODEL VIDEOS'"
    )
    assert len(Collection.open(collection.folder)) == len(collection)


def test_another_folder_leaves_the_collection_as_it_is(tmp_path, collection):
    before = {file: file.read_bytes() for file in collection.folder.rglob("*") if file.is_file()}
    done = collection.reembed(Inverse(), tmp_path / "other", out=tmp_path / "new")
    made = Collection.open(tmp_path / "new")
    assert made.moments == collection.moments and done.moments == len(made) and made.verify() == []
    assert (made.manifest.generation, made.manifest.dim, made.manifest.model["path"]) == (1, 6, "../other")
    assert made.manifest.duplicates == collection.manifest.duplicates
    assert {file: file.read_bytes() for file in collection.folder.rglob("*") if file.is_file()} == before
    assert sorted(item.name for item in made.folder.iterdir()) == [
        *["index-000001.faiss", "manifest.json", "readers", "segments"]
    ]
    for taken, complaint in ((made.folder, "is not empty"), (tmp_path / "rows.jsonl", "is a file")):
        with pytest.raises(CollectionError) as error:
            collection.reembed(Inverse(), tmp_path / "other", out=taken)
        assert whole_message(error) == f"'{taken}' {complaint}: give a new folder"


def test_videos_are_found_where_they_are_now(tmp_path, clips, collection, model):
    ids = [moment.id for moment in collection.moments]
    (clips / "b.mp4").rename(clips / "noted.mp4")
    collection.add([clips], model, window=1.0, stride=0.9)
    (clips / "a.mp4").rename(clips / "sub a.mp4")  # nobody tells the collection
    (clips / "below").mkdir()
    (clips / "d.mp4").rename(clips / "below/d.mp4")
    (clips / "c.mp4").unlink()  # its copy stands in for it
    collection.reembed(Inverse(), tmp_path / "other")
    assert [moment.id for moment in collection.moments] == ids
    assert {os.path.relpath(moment.path, clips) for moment in collection.moments} == {
        *["noted.mp4", "sub a.mp4", "below/d.mp4", "e.mp4"]
    }
    assert collection.manifest.duplicates == [] and collection.manifest.moved == {}


def test_a_copy_is_noted_with_the_present_name_of_its_original(tmp_path, clips, collection, model):
    (clips / "c.mp4").rename(clips / "original.mp4")
    (clips / "e.mp4").rename(clips / "away.mp4")
    collection.add([clips / "original.mp4"], model, window=1.0, stride=0.9)
    (clips / "away.mp4").rename(clips / "e.mp4")
    collection.reembed(Inverse(), tmp_path / "other")
    assert collection.manifest.duplicates == [{"path": f"{clips}/e.mp4", "same_as": f"{clips}/original.mp4"}]


def spoil(clips: Path) -> None:
    """One video gone for good, another that holds something else."""
    (clips / "b.mp4").unlink()
    video(clips / "d.mp4", "green", "green")


def test_what_is_gone_or_changed_stops_it_until_that_is_allowed(tmp_path, clips, collection):
    spoil(clips)
    moments, generation = collection.moments, collection.manifest.generation
    lost = [moment for moment in moments if moment.path.endswith(("b.mp4", "d.mp4"))]
    new = Inverse()
    with pytest.raises(LossError) as error:
        collection.reembed(new, tmp_path / "other")
    assert new.embedded == 0
    assert whole_message(error) == (
        f"{len(lost)} of {len(moments)} moments of {collection.folder} cannot be embedded, nothing has been embedded "
        f"yet: mend the videos and run the same command again, or go on without these moments with --allow-lost; "
        f"the first: {clips}/d.mp4: holds something else than what was embedded."
    )
    assert [(aside.path, aside.reason) for aside in error.value.set_aside] == [
        (f"{clips}/d.mp4", "holds something else than what was embedded."),
        (f"{clips}/b.mp4", "no such file."),
    ]
    still = Collection.open(collection.folder)
    assert (still.manifest.generation, still.manifest.dim, still.moments) == (generation, 4, moments)
    assert not (collection.folder / FOLDER).exists() and still.verify() == []

    done = collection.reembed(new, tmp_path / "other", allow_lost=True)
    assert new.embedded == done.moments == len(moments) - len(lost) and done.lost == len(lost)
    assert done.lines() == [
        f"2 videos, {done.moments} moments embedded anew",
        f"{len(lost)} moments lost, set aside:",
        f"  {clips}/d.mp4: holds something else than what was embedded.",
        f"  {clips}/b.mp4: no such file.",
    ]
    assert collection.moments == [moment for moment in moments if moment not in lost]
    assert [(record["path"], record["reason"]) for record in collection.manifest.quarantined] == [
        (f"{clips}/d.mp4", "holds something else than what was embedded."),
        (f"{clips}/b.mp4", "no such file."),
    ]
    assert not (collection.folder / FOLDER).exists() and collection.verify() == []


class Blind(Inverse):
    """The same model on a bad day: it makes no numbers of what is green."""

    def video(self, clip) -> np.ndarray:
        found = super().video(clip)
        return np.full_like(found, np.nan) if found.argmin() == 1 else found


def test_what_is_mended_is_all_that_the_next_run_embeds(tmp_path, clips, collection):
    with pytest.raises(LossError) as error:
        collection.reembed(Blind(), tmp_path / "other")
    lost, first = len(error.value.set_aside), error.value.set_aside[0]
    assert 0 < lost < len(collection)
    assert whole_message(error) == (
        f"{lost} of {len(collection)} moments of {collection.folder} cannot be embedded, the others are and wait: mend "
        f"the videos and run the same command again, or go on without these moments with --allow-lost; the first: "
        f"{first.path} at {first.start:.1f}–{first.end:.1f} s: the model made numbers of it that are not finite"
    )
    # whoever adds meanwhile, with the old model, takes nothing away
    video(clips / "new.mp4", "green", "red")
    added = collection.add([clips / "new.mp4"], ColourModel(), window=1.0, stride=0.9).added
    new = Inverse()
    done = collection.reembed(new, tmp_path / "other")
    assert new.embedded == added + lost
    assert done.lost == 0 and done.moments == len(collection)


def test_a_video_that_cannot_be_decoded_is_tried_again(tmp_path, clips, collection, monkeypatch):
    with pytest.raises(LossError) as error:
        collection.reembed(Inverse(), tmp_path / "other", time_limit=1e-9, workers=1)
    assert whole_message(error).startswith(f"not one moment of {collection.folder} can be embedded; the first: ")
    with pytest.raises(LossError):
        collection.reembed(Inverse(), tmp_path / "other", time_limit=1e-9, workers=1, allow_lost=True)
    assert collection.reembed(Inverse(), tmp_path / "other").lost == 0


def test_two_moments_of_one_span_keep_their_names_and_metadata(tmp_path, collection):
    twin = collection.moments[0]._replace(id="twin", metadata={"text": "again"})
    collection.append([twin], collection.embeddings()[:1])
    collection.reembed(Inverse(), tmp_path / "other")
    assert collection.moments[-1] == twin
    assert np.array_equal(collection.embeddings()[0], collection.embeddings()[-1])


def test_the_same_model_again_does_nothing(collection, model, tmp_path):
    before = collection.manifest
    done = collection.reembed(model, tmp_path / "model")
    assert done.already and collection.manifest == before and not (collection.folder / FOLDER).exists()


def test_the_same_model_given_by_mistake_costs_nothing_that_is_done(collection, model, monkeypatch):
    small_shards(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        collection.reembed(Stopping(), "other")
    assert collection.reembed(model, "model").already
    assert collection.reembed(Inverse(), "other").resumed == 4


def test_a_collection_without_moments_changes_its_model(tmp_path, collection, clips):
    collection.remove([clips])
    collection.reembed(Inverse(), tmp_path / "other")
    assert len(collection) == 0 and collection.manifest.dim == 6 and collection.verify() == []
    assert collection.add([clips / "a.mp4"], Inverse()).added == 1


def test_a_model_without_video_is_refused(collection):
    with pytest.raises(CollectionError) as error:
        collection.reembed(Inverse(modalities=("text",)), "other")
    assert whole_message(error) == ("a collection needs a model with video, this one knows text: train one with video")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two saved models."""
    folder = tmp_path_factory.mktemp("models")
    for number in (1, 2):
        tiny.model(seed=number).save_pretrained(folder / str(number))
    return folder


def test_on_the_command_line(tmp_path, clips, models, run):
    made, first, second = tmp_path / "made", models / "1", models / "2"
    assert run("index", "build", made, clips, "--model", first, "--window", 1)[0] == 0
    here = Collection.open(made)
    count, gone = len(here), 1
    fingerprint = here.manifest.model["fingerprint"][:8]
    here.close()
    assert run("index", "reembed", made, "--model", first) == (
        0,
        f"{made} was made by model {fingerprint} already: nothing to do\n",
        "",
    )
    (clips / "b.mp4").unlink()
    stopped = (
        f"mmretrieval: {gone} of {count} moments of {made} cannot be embedded, nothing has been embedded yet: mend the "
        f"videos and run the same command again, or go on without these moments with --allow-lost; "
        f"the first: {clips}/b.mp4: no such file.\n"
    )
    listed = f"cannot be embedded: {clips}/b.mp4: no such file.\n"
    assert run("index", "reembed", made, "--model", second) == (2, listed, stopped)
    code, out, err = run("index", "reembed", made, "--model", second, "--json")
    assert (code, err) == (2, stopped)
    assert json.loads(out) == {"set_aside": [{"path": f"{clips}/b.mp4", "reason": "no such file."}]}
    left = count - gone
    assert run("index", "reembed", made, "--model", second, "--allow-lost") == (
        0,
        f"3 videos, {left} moments embedded anew\n"
        f"1 moment lost, set aside:\n"
        f"  {clips}/b.mp4: no such file.\n"
        f"{made}: {left} moments of 3 videos, generation 2\n",
        "",
    )
    assert run("search", made, "a red dog", "--json")[0] == 0

    new = tmp_path / "new"
    code, out, err = run("index", "reembed", made, "--model", first, "--out", new, "--precision", "int8", "--json")
    facts = json.loads(out)
    assert (code, err, facts["moments"], facts["lost"]) == (0, "", left, 0)
    assert facts["collection"]["path"] == str(new) and facts["collection"]["model"]["path"] == str(first)
    assert Collection.open(new).manifest.model["precision"] == "int8"
    # the same model in another precision is another embedding
    code, out, _ = run("index", "reembed", new, "--model", first, "--precision", "fp32")
    assert (code, out) == (
        0,
        f"3 videos, {left} moments embedded anew\n{new}: {left} moments of 3 videos, generation 2\n",
    )
    assert run("index", "verify", new) == (0, "every file is as it was written\n", "")

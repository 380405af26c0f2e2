from __future__ import annotations

import os
import shutil

import pytest
from fakes import ColourModel, video

from mmretrieval.collection import Added, Collection
from mmretrieval.errors import CollectionError


@pytest.fixture
def counting():
    return ColourModel()


def names(collection: Collection) -> list[str]:
    return sorted(os.path.basename(moment.path) for moment in collection.moments)


def test_new_videos_make_a_new_generation(collection, clips, counting):
    video(clips / "two.mp4", "red", "blue")
    assert collection.add([clips], counting) == Added(added=1, known=3, set_aside=0)
    assert counting.embedded == 1
    reopened = Collection.open(collection.folder)
    for state in (collection, reopened):
        assert names(state) == ["blue.mp4", "green.mp4", "red.mp4", "two.mp4"]
        assert state.info()["generation"] == 2 and state.info()["videos"] == 4
        scores, rows = state.nearest(state.embeddings()[3:], 1)
        assert state.moment(rows[0][0]).path.endswith("two.mp4") and scores[0][0] == pytest.approx(1)
    assert collection.verify() == []
    assert (collection.folder / "segments" / "segment-000002.parquet").exists()


def test_adding_what_is_there_changes_nothing(collection, clips, counting):
    before = (collection.folder / "manifest.json").read_bytes()
    assert collection.add([clips], counting) == Added(0, 3, 0)
    assert counting.embedded == 0
    assert (collection.folder / "manifest.json").read_bytes() == before


def test_a_copy_is_noted_and_not_embedded(collection, clips, counting):
    shutil.copy(clips / "red.mp4", clips / "red again.mp4")
    assert collection.add([clips], counting) == Added(0, 3, 0)
    assert counting.embedded == 0 and len(collection) == 3
    assert Collection.open(collection.folder).manifest.duplicates == [
        {"path": str(clips / "red again.mp4"), "same_as": str(clips / "red.mp4")}
    ]
    collection.add([clips], counting)
    assert len(collection.manifest.duplicates) == 1 and collection.info()["generation"] == 2


def test_a_copy_in_the_first_build_is_noted_too(tmp_path, clips, counting):
    shutil.copy(clips / "red.mp4", clips / "red again.mp4")
    collection = Collection.build(tmp_path / "made", [clips], counting, "model")
    assert counting.embedded == 3
    assert collection.info()["duplicates"] == 1 and collection.info()["videos"] == 3


def test_a_renamed_file_is_found_under_its_new_name(collection, clips, counting):
    (clips / "red.mp4").rename(clips / "crimson.mp4")
    assert collection.add([clips], counting) == Added(0, 3, 0)
    assert counting.embedded == 0
    assert names(Collection.open(collection.folder)) == ["blue.mp4", "crimson.mp4", "green.mp4"]
    (clips / "crimson.mp4").rename(clips / "red.mp4")
    collection.add([clips], counting)
    assert names(Collection.open(collection.folder)) == ["blue.mp4", "green.mp4", "red.mp4"]


def test_files_that_swap_names_keep_their_moments(collection, clips, counting):
    hashes = {os.path.basename(moment.path): moment.hash for moment in collection.moments}
    (clips / "red.mp4").rename(clips / "x")
    (clips / "blue.mp4").rename(clips / "red.mp4")
    (clips / "x").rename(clips / "blue.mp4")
    collection.add([clips], counting)
    now = {os.path.basename(moment.path): moment.hash for moment in collection.moments}
    assert now == {"red.mp4": hashes["blue.mp4"], "blue.mp4": hashes["red.mp4"], "green.mp4": hashes["green.mp4"]}


def test_a_file_with_new_content_replaces_what_it_was(collection, clips, counting):
    video(clips / "red.mp4", "red", "green", "red")
    assert collection.add([clips / "red.mp4"], counting) == Added(1, 0, 0)
    assert names(collection) == ["blue.mp4", "green.mp4", "red.mp4"]
    (moment,) = (moment for moment in collection.moments if moment.path.endswith("red.mp4"))
    assert moment.end == 3.0
    assert Collection.open(collection.folder).verify() == []


def test_an_id_that_is_taken(collection, clips, tmp_path, counting):
    taken = collection.moments[0].id
    video(clips / "new.mp4", "red", "blue", "green")
    (tmp_path / "more.jsonl").write_text(f'{{"id": "{taken}", "video": "clips/new.mp4"}}\n')
    assert collection.add([tmp_path / "more.jsonl"], counting) == Added(0, 0, 1)
    (record,) = collection.manifest.quarantined
    assert record["reason"] == f"its id '{taken}' is taken by {clips}/blue.mp4: give it another"


def test_a_mended_file_leaves_the_quarantine(collection, clips, counting):
    (clips / "late.mp4").touch()
    assert collection.add([clips], counting) == Added(0, 3, 1)
    first = collection.manifest.quarantined
    collection.add([clips], counting)
    assert collection.manifest.quarantined == first and collection.info()["generation"] == 2
    video(clips / "late.mp4", "green", "red")
    assert collection.add([clips], counting) == Added(1, 3, 0)
    assert Collection.open(collection.folder).info()["quarantined"] == 0


def test_another_model_is_refused(collection, clips, tmp_path):
    (tmp_path / "model").mkdir()
    other = ColourModel("two")
    with pytest.raises(CollectionError) as caught:
        collection.add([clips], other)
    assert str(caught.value) == (
        f"{collection.folder} was made by model 7692c3ad, this is {other.fingerprint()[:8]}: "
        f"open it with {tmp_path}/model, or build another with 'mmretrieval index build FOLDER --model MODEL VIDEOS'"
    )
    assert other.embedded == 0


@pytest.mark.parametrize("by", ["path", "id", "folder"])
def test_removed_is_gone_and_can_come_back(collection, clips, counting, by):
    red = next(moment for moment in collection.moments if moment.path.endswith("red.mp4"))
    name = {"path": red.path, "id": red.id, "folder": clips}[by]
    gone = 3 if by == "folder" else 1
    assert collection.remove([name]) == gone
    reopened = Collection.open(collection.folder)
    assert len(reopened) == 3 - gone == len(reopened.moments) == len(reopened.embeddings())
    assert "red.mp4" not in names(reopened) and reopened.verify() == []
    scores, rows = reopened.nearest(counting.embed("text", [counting.processor.text("a red thing")]), 3)
    assert len(rows[0]) == 3 - gone
    assert collection.add([clips], counting) == Added(gone, 3 - gone, 0)
    assert names(Collection.open(collection.folder)) == ["blue.mp4", "green.mp4", "red.mp4"]
    assert collection.remove([name]) == gone
    assert Collection.open(collection.folder).verify() == []


def test_removing_what_is_not_there_removes_nothing(collection, clips):
    with pytest.raises(CollectionError) as caught:
        collection.remove([clips / "red.mp4", "nobody"])
    assert str(caught.value) == (
        f"{collection.folder} has no video or moment 'nobody': give a path or an id from a search"
    )
    assert len(Collection.open(collection.folder)) == 3

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from fakes import COLOURS, ColourModel, recording, video

from mmretrieval.collection import Collection
from mmretrieval.errors import CollectionError
from mmretrieval.media.suffixes import VIDEO_SUFFIXES


def message(*arguments, **options) -> str:
    with pytest.raises(CollectionError) as caught:
        Collection.build(*arguments, **options)
    return str(caught.value)


def colours(collection: Collection) -> list[str]:
    """The colour that each embedding means, row by row."""
    names, palette = list(COLOURS), np.array(list(COLOURS.values()), float)
    return [names[best] for best in (collection.embeddings()[:, :3] @ palette.T).argmax(axis=1)]


def test_a_folder_becomes_moments_with_their_embeddings(collection, clips):
    moments = collection.moments
    assert [moment.path for moment in moments] == [str(clips / f"{name}.mp4") for name in ("blue", "green", "red")]
    assert colours(collection) == ["blue", "green", "red"]
    assert all((moment.start, moment.end) == (0.0, 2.0) for moment in moments)
    assert [moment.id for moment in moments] == [
        f"{name}-{moment.hash[:12]}" for name, moment in zip(("blue", "green", "red"), moments)
    ]
    metadata = dict(moments[0].metadata)
    assert metadata.pop("modified").endswith("+00:00")
    assert metadata == {"width": 48, "height": 48, "fps": 8.0, "duration": 2.0, "cut": "3 s every 3 s"}
    np.testing.assert_allclose(np.linalg.norm(collection.embeddings(), axis=1), 1, atol=1e-6)


def test_what_lies_on_disk(collection, tmp_path):
    files = sorted(str(file.relative_to(collection.folder)) for file in collection.folder.rglob("*") if file.is_file())
    assert files == [
        "index-000001.faiss",
        "manifest.json",
        "readers/generation-000001",
        "segments/segment-000001.parquet",
    ]
    assert collection.verify() == []
    again = Collection.open(collection.folder)
    assert again.moments == collection.moments and len(again) == 3
    assert (again.embeddings() == collection.embeddings()).all()
    info = again.info()
    assert info.pop("created") == info.pop("changed")
    assert info.pop("bytes") > 1000
    assert info == {
        "path": str(collection.folder),
        "videos": 3,
        "moments": 3,
        "quarantined": 0,
        "duplicates": 0,
        "generation": 1,
        "model": {"fingerprint": ColourModel().fingerprint(), "path": str(tmp_path / "model")},
        "index": "exact",
        "index_details": {"parameters": {}, "indexed": 3, "beside": 0, "removed": 0, "measured": []},
        "metric": "cosine",
        "dim": 4,
        "set_aside": [],
    }


def test_folders_are_searched_deep_hidden_and_other_files_are_not_taken(tmp_path, model):
    folder = tmp_path / "clips"
    video(folder / "b" / "deep" / "one.MP4", "red")
    video(folder / "a.mkv", "green")
    video(folder / ".hidden" / "no.mp4", "blue")
    shutil.copy(folder / "a.mkv", folder / ".no.mkv")
    (folder / "notes.txt").write_text("no video")
    collection = Collection.build(tmp_path / "made", [folder], model, "model")
    assert [os.path.basename(moment.path) for moment in collection.moments] == ["a.mkv", "one.MP4"]


def test_a_long_video_becomes_windows(tmp_path, model):
    long = video(tmp_path / "long.mp4", "red", "red", "red", "green", "green", "green", "blue", "blue")
    collection = Collection.build(tmp_path / "made", [long], model, "model")
    assert [(moment.start, moment.end) for moment in collection.moments] == [(0, 3), (3, 6), (6, 8)]
    assert colours(collection) == ["red", "green", "blue"]
    digest = collection.moments[0].hash[:12]
    assert collection.moments[1].id == f"long-{digest}@3.000-6.000"
    assert collection.info()["videos"] == 1
    other = Collection.build(tmp_path / "other", [long], model, "model", window=4)
    assert [(moment.start, moment.end) for moment in other.moments] == [(0, 4), (4, 8)]


def test_a_manifest_gives_spans_ids_and_words(tmp_path, model):
    video(tmp_path / "long.mp4", "red", "red", "green", "green", "blue", "blue")
    rows = [
        {"id": "r", "video": "long.mp4", "start": 0.0, "end": 2.0, "text": "a red thing", "labels": ["rising"]},
        {"id": "b", "video": "long.mp4", "start": 4.0},
        {"id": "words", "text": "no video here"},
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    collection = Collection.build(tmp_path / "made", [tmp_path / "test.jsonl"], model, "model")
    assert [(moment.id, moment.start, moment.end) for moment in collection.moments] == [("r", 0, 2), ("b", 4, 6)]
    assert colours(collection) == ["red", "blue"]
    assert collection.moments[0].path == str(tmp_path / "long.mp4")
    assert collection.moments[0].metadata["text"] == "a red thing"
    assert collection.moments[0].metadata["labels"] == ["rising"]
    assert "text" not in collection.moments[1].metadata


def test_a_broken_manifest_row_is_set_aside(tmp_path, clips, model):
    rows = ['{"id": "r", "video": "clips/red.mp4"}', '{"id": "broken", "video"']
    (tmp_path / "test.jsonl").write_text("\n".join(rows) + "\n")
    collection = Collection.build(tmp_path / "made", [tmp_path / "test.jsonl"], model, "model")
    assert [moment.id for moment in collection.moments] == ["r"]
    assert [record["path"] for record in collection.manifest.quarantined] == [f"{tmp_path}/test.jsonl, line 2"]


def test_broken_files_are_set_aside_with_their_reasons(tmp_path, clips, model):
    (clips / "empty.mp4").touch()
    (clips / "text.mp4").write_text("not a video" * 100)
    (clips / "cut.mp4").write_bytes((clips / "red.mp4").read_bytes()[:200])
    recording(clips / "sound.avi", "red")
    (tmp_path / "span.jsonl").write_text('{"id": "late", "video": "clips/red.mp4", "start": 7.0, "end": 9.0}\n')
    collection = Collection.build(tmp_path / "made", [clips, tmp_path / "span.jsonl"], model, "model")
    assert len(collection) == 3
    records = {
        (os.path.basename(record["path"]), record.get("start")): record for record in collection.manifest.quarantined
    }
    assert {name: record["reason"] for name, record in records.items()} == {
        ("empty.mp4", None): "the file is empty.",
        ("text.mp4", None): "is not a video, or is damaged (invalid data found when processing input).",
        ("cut.mp4", None): "is not a video, or is damaged (invalid data found when processing input).",
        ("sound.avi", None): "has no video track.",
        ("red.mp4", 7.0): "asked for 7.0–9.0 s, the video ends at 2.0 s.",
    }
    assert all(record["time"].endswith("+00:00") for record in records.values())
    assert collection.info()["quarantined"] == 5
    assert collection.info()["set_aside"] == collection.manifest.quarantined


def test_asked_to_raise_the_first_broken_file_stops_and_nothing_is_left(tmp_path, clips, model):
    (clips / "empty.mp4").touch()
    made = tmp_path / "made"
    assert message(made, [clips], model, "model", on_bad="raise") == f"{clips}/empty.mp4: the file is empty."
    assert not made.exists()


def test_nothing_usable_leaves_nothing(tmp_path, model):
    bad = [tmp_path / "one.mp4", tmp_path / "two.mp4"]
    for file in bad:
        file.touch()
    made = tmp_path / "made"
    assert message(made, bad, model, "model") == (
        f"all 2 videos are unusable; the first: {tmp_path}/one.mp4: the file is empty."
    )
    assert message(made, bad[:1], model, "model") == (
        f"the only video is unusable: {tmp_path}/one.mp4: the file is empty."
    )
    assert not made.exists()


def test_no_videos(tmp_path, model):
    (tmp_path / "empty").mkdir()
    known = " ".join(VIDEO_SUFFIXES)
    assert message(tmp_path / "made", [tmp_path / "empty"], model, "model") == (
        f"no videos in {tmp_path}/empty: known are {known}"
    )
    assert message(tmp_path / "made", [tmp_path / "gone"], model, "model") == (
        f"no file or folder '{tmp_path}/gone': give videos, folders of videos, manifests (.jsonl) or tables (.csv)"
    )


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, clips, model):
    assert message(clips, [clips], model, "model") == (
        f"'{clips}' is not empty and not a collection: give a new folder"
    )
    assert sorted(os.listdir(clips)) == ["blue.mp4", "green.mp4", "red.mp4"]


def test_what_a_killed_build_left_is_built_over(tmp_path, clips, model, collection):
    (collection.folder / "manifest.json").unlink()
    again = Collection.build(collection.folder, [clips], model, "model")
    assert again.verify() == [] and len(again) == 3


def test_building_again_does_only_the_rest(collection, clips, tmp_path):
    model = ColourModel()
    video(clips / "new.mp4", "red", "green")
    again = Collection.build(collection.folder, [clips], model, tmp_path / "model")
    assert model.embedded == 1
    assert len(again) == 4 and again.info()["generation"] == 2


def test_a_window_too_short(tmp_path, clips, model):
    made = tmp_path / "made"
    assert message(made, [clips], model, "model", window=0.2) == "a window lasts at least 1 s, got 0.2 s"


def test_a_model_that_sees_nothing(tmp_path, clips):
    blind = ColourModel(modalities=("speech", "text"))
    assert message(tmp_path / "made", [clips], blind, "model") == (
        "a collection needs a model with video, this one knows speech, text: train one with video"
    )


def test_numbers_that_are_not_finite_never_reach_the_index(tmp_path, clips):
    class Dizzy(ColourModel):
        def embed(self, modality, items):
            embeddings = super().embed(modality, items)
            embeddings[0, 0] = np.nan
            return embeddings

    collection = Collection.build(tmp_path / "made", [clips], Dizzy(), "model")
    assert np.isfinite(collection.embeddings()).all() and len(collection) == 2
    (record,) = collection.manifest.quarantined
    assert record["reason"] == "the model made numbers of it that are not finite"


def test_a_name_that_is_no_text_is_set_aside(tmp_path, clips, model):
    shutil.copy(clips / "red.mp4", os.fsencode(clips) + b"/bad\xff.mp4")
    collection = Collection.build(tmp_path / "made", [clips], model, "model")
    (record,) = collection.manifest.quarantined
    assert record["path"] == f"{clips}/bad\\udcff.mp4"
    assert record["reason"] == "its name is not valid UTF-8: rename it"
    assert Collection.open(collection.folder).verify() == []


def test_quiet_when_not_on_a_terminal(collection, capfd, tmp_path, clips, model):
    Collection.build(tmp_path / "second", [clips], model, "model", progress=True)
    assert capfd.readouterr().err == ""


def test_many_moments_need_several_batches_and_stay_in_order(tmp_path, model):
    names = list(COLOURS)
    order = [names[number % 3] for number in range(75)]
    long = video(tmp_path / "long.mp4", *(colour for colour in order for _ in range(2)), size=32)
    collection = Collection.build(tmp_path / "made", [long], model, "model", window=2)
    assert colours(collection) == order

"""Embeddings that other programs have made, and what does not fit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import ColourModel
from shards import DIM, embeddings, foreign, listing, paths, refused, taken

from mmretrieval.collection import Moment
from mmretrieval.collection.exchange import export_collection, import_collection
from mmretrieval.collection.segments import path_hash
from mmretrieval.errors import CollectionError
from mmretrieval.files import sha256_file


def test_a_folder_of_clip_retrieval(tmp_path, model):
    rows = embeddings(5)

    def columns(number, count):
        return {
            "image_path": paths(number, count),
            "caption": ["a red dog", None] + [f"clip {row}" for row in range(count - 2)],
            "width": pa.array([640.0, np.nan] + [480.0] * (count - 2)),
            "exif": [{"camera": "x"}] * count,
        }

    folder = foreign(tmp_path / "out", {0: rows}, columns)
    found = taken(tmp_path, folder, model)
    assert found.verify() == [] and found.info()["videos"] == 5
    digest = path_hash("/pictures/0-0.jpg")
    assert digest == "path-" + hashlib.sha256(b"/pictures/0-0.jpg").hexdigest()
    facts = {"text": "a red dog", "width": 640.0, "duration": 1.0}
    assert found.moments[0] == Moment(f"0-0-{digest[5:17]}", "/pictures/0-0.jpg", 0.0, 1.0, digest, facts)
    assert found.moments[1].metadata == {"duration": 1.0}
    np.testing.assert_allclose(np.linalg.norm(found.embeddings(), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found.embeddings(), rows, atol=2e-3)
    assert found.manifest.model["absolute"] == str(tmp_path / "model") and "precision" not in found.manifest.model


def test_shards_go_by_number(tmp_path, model):
    shards = {number: embeddings(2, number) for number in (10, 2, 1, 0, 9)}
    found = taken(tmp_path, foreign(tmp_path / "out", shards), model)
    assert [moment.path for moment in found.moments][::2] == [f"/pictures/{n}-0.jpg" for n in (0, 1, 2, 9, 10)]
    np.testing.assert_allclose(found.embeddings()[-2:], shards[10], atol=2e-3)


def test_numbers_with_zeros_before_them(tmp_path, model):
    folder = foreign(tmp_path / "out", {"00": embeddings(2), "01": embeddings(2, 1)})
    assert len(taken(tmp_path, folder, model)) == 4
    shutil.copy(folder / "img_emb/img_emb_01.npy", folder / "img_emb/img_emb_1.npy")
    shutil.rmtree(tmp_path / "taken")
    one, other = (folder / f"img_emb/img_emb_{name}.npy" for name in ("1", "01"))
    assert refused(tmp_path, folder, model) == f"{one} and {other} have the same number: give one of them another"


def test_spans_ids_and_facts_of_rows(tmp_path, model):
    def columns(number, count):
        import datetime

        time = datetime.datetime(2026, 1, 31, 18, tzinfo=datetime.UTC)
        return {
            "video_path": ["a.mp4", "b.mp4", "c.png", "/else/d.mp4"],
            "id": pa.array([7, 8, 9, None], pa.int64()),
            "start": [2.0, None, None, 3.5],
            "end": pa.array([5.0, np.nan, None, None]),
            "duration": [9, 8, None, 7],
            "modified": [time, None, None, None],
            "tags": ["sea", None, None, None],
            "hash": ["ab" * 32, None, "", None],
        }

    found = taken(tmp_path, foreign(tmp_path / "out", {0: embeddings(4)}, columns), model, root=tmp_path / "videos")
    assert [(moment.start, moment.end) for moment in found.moments] == [(2.0, 5.0), (0.0, 8.0), (0.0, 1.0), (3.5, 7.0)]
    assert [moment.path for moment in found.moments[:2]] == [str(tmp_path / f"videos/{name}.mp4") for name in "ab"]
    hashes = ["ab" * 32, *[path_hash(moment.path) for moment in found.moments[1:]]]
    assert [moment.hash for moment in found.moments] == hashes
    assert [moment.id for moment in found.moments] == ["7", "8", "9", f"d-{hashes[3][5:17]}@3.500-7.000"]
    assert found.moments[0].metadata == {"duration": 9, "modified": "2026-01-31T18:00:00+00:00", "labels": ["sea"]}
    assert found.moments[2].metadata == {"duration": 1.0}


def test_paths_start_from_the_folder(tmp_path, model):
    folder = foreign(tmp_path / "out", {0: embeddings(1)}, lambda *_: {"path": ["a.jpg"]})
    assert taken(tmp_path, folder, model).moments[0].path == str(folder / "a.jpg")


def test_files_say_what_rows_do_not(tmp_path, clips, model):
    """A folder of clip-retrieval whose videos are there: content and length are theirs."""
    (clips / "blue.mp4").rename(tmp_path / "blue.mp4")
    names = {"image_path": [str(clips / "red.mp4"), str(clips / "green.mp4"), str(tmp_path / "blue.mp4")]}
    names["start"] = [None, 0.5, None]
    found = taken(tmp_path, foreign(tmp_path / "out", {0: embeddings(3)}, lambda *_: names), model, progress=False)
    assert [(moment.start, moment.end) for moment in found.moments] == [(0.0, 2.0), (0.5, 2.0), (0.0, 2.0)]
    assert [moment.hash for moment in found.moments] == [sha256_file(path) for path in names["image_path"]]
    assert [moment.metadata for moment in found.moments] == [{"duration": 2.0}] * 3
    # so they are known when they are added, and found when they are embedded anew
    assert found.add([clips / "red.mp4"], ColourModel()) == (0, 1, 0)
    assert found.reembed(ColourModel("two"), tmp_path / "two").lost == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "it is not there"),
        (b"", "the file is empty"),
        (b"no film", "is not a video, or is damaged (invalid data found when processing input)"),
    ],
)
def test_nobody_knows_how_long_a_video_lasts(tmp_path, model, content, reason):
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    columns = {"path": [str(tmp_path / "a.mp4")], "caption": ["a red dog"]}
    out = foreign(tmp_path / "out", {0: embeddings(1)}, lambda *_: columns)
    assert refused(tmp_path, out, model) == (
        f"{out}/metadata/metadata_0.parquet, row 0 (the first is 0): no 'end', no 'duration', and the video says "
        f"neither ({reason}): give one"
    )
    # with a span that is no question, and nobody looks
    out = foreign(tmp_path / "other", {0: embeddings(1)}, lambda *_: {**columns, "end": [2.0]})
    assert len(taken(tmp_path, out, model)) == 1


def test_a_file_that_comes_later_takes_the_place_of_what_was_imported(tmp_path, clips, model):
    columns = {"path": [str(clips / "red.mp4")], "duration": [2.0]}
    (clips / "red.mp4").rename(tmp_path / "red.mp4")
    found = taken(tmp_path, foreign(tmp_path / "out", {0: embeddings(1)}, lambda *_: columns), model)
    assert found.moments[0].hash.startswith("path-")
    (tmp_path / "red.mp4").rename(clips / "red.mp4")
    with pytest.raises(CollectionError) as error:
        found.reembed(ColourModel("two"), tmp_path / "two")
    assert str(error.value).endswith(f"{clips}/red.mp4: was not there when it was imported: 'index add' embeds it.")
    found.add([clips], ColourModel())
    assert sorted(os.path.basename(moment.path) for moment in found.moments) == ["blue.mp4", "green.mp4", "red.mp4"]
    assert not any(moment.hash.startswith("path-") for moment in found.moments)


@pytest.mark.parametrize("metric", ["cosine", "inner_product"])
def test_lengths_are_what_the_metric_needs(tmp_path, metric):
    rows = embeddings(3) * np.array([[1], [2], [0.25]], np.float32)
    model = types.SimpleNamespace(metric=metric, dim=DIM, fingerprint=lambda: "ab" * 32)
    found = taken(tmp_path, foreign(tmp_path / "out", {0: rows}, dtype=np.float32), model).embeddings()
    np.testing.assert_allclose(found, embeddings(3) if metric == "cosine" else rows, rtol=1e-6)
    np.testing.assert_array_equal(found[0], rows[0])


# --- what does not fit


def test_whose_embeddings(made, tmp_path, model):
    folder = foreign(tmp_path / "foreign", {0: embeddings(1)})
    assert refused(tmp_path, folder, model, any_model=False) == (
        f"'{folder}' does not say which model made its embeddings: if it was this one, import it with --any-model; "
        f"with another every answer is chance"
    )
    export_collection(made, tmp_path / "out")
    one, two = model.fingerprint()[:8], ColourModel("two").fingerprint()[:8]
    assert refused(tmp_path, tmp_path / "out", ColourModel("two")) == (
        f"'{tmp_path}/out' was made by model {one}, this is {two}: import it with {tmp_path}/model"
    )
    with pytest.raises(CollectionError) as caught:
        import_collection(made.folder, folder, ColourModel("two"), tmp_path / "model", any_model=True)
    assert str(caught.value) == (
        f"{made.folder} was made by model {one}, this is {two}: open it with {tmp_path}/model, "
        f"or build another with 'mmretrieval index build FOLDER --model MODEL VIDEOS'"
    )


def test_one_precision(collection, made, tmp_path, model):
    export_collection(made, tmp_path / "out")
    about = json.loads((tmp_path / "out/collection.json").read_text())
    about["model"]["precision"] = "int8"
    (tmp_path / "out/collection.json").write_text(json.dumps(about))
    shutil.rmtree(made.folder)
    made = taken(tmp_path, tmp_path / "out", model)
    assert made.manifest.model["precision"] == "int8"
    export_collection(collection, tmp_path / "second")
    with pytest.raises(CollectionError) as caught:
        import_collection(made.folder, tmp_path / "second", model, tmp_path / "model")
    assert str(caught.value) == (
        f"the embeddings of {made.folder} were computed in int8, these in fp32: import them into another collection"
    )


def test_no_embeddings(tmp_path, model):
    out = tmp_path / "out"
    assert refused(tmp_path, out, model) == f"no folder '{out}': give one with img_emb and metadata in it"
    out.mkdir()
    assert refused(tmp_path, out, model) == (
        f"no embeddings in '{out}': give a folder with img_emb/img_emb_0.npy and metadata/metadata_0.parquet"
    )
    foreign(out, {0: embeddings(0)})
    assert refused(tmp_path, out, model) == f"'{out}' holds no embeddings: there is nothing to import"


def test_half_a_shard(tmp_path, model):
    out = foreign(tmp_path / "out", {0: embeddings(2), 1: embeddings(2)})
    npy, parquet = out / "img_emb/img_emb_1.npy", out / "metadata/metadata_1.parquet"
    content = npy.read_bytes()
    npy.unlink()
    assert refused(tmp_path, out, model) == f"{npy} is missing: {parquet} needs it beside it"
    npy.write_bytes(content)
    parquet.unlink()
    assert refused(tmp_path, out, model) == f"{parquet} is missing: {npy} needs it beside it"


def test_counts_that_differ(tmp_path, model):
    out = foreign(tmp_path / "out", {0: embeddings(3)}, lambda *_: {"path": ["a.mp4", "b.mp4"]})
    assert refused(tmp_path, out, model) == (
        f"{out}/img_emb/img_emb_0.npy has 3 rows, {out}/metadata/metadata_0.parquet has 2: they must be the same rows"
    )


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            np.ones((2, 3), np.float32),
            "has shape (2, 3), the model needs (rows, 4): give the model that made the embeddings",
        ),
        (np.ones(4, np.float32), "has shape (4,), the model needs (rows, 4): give the model that made the embeddings"),
        (np.ones((2, 4)), "holds float64: float16 and float32 are read, convert it with astype"),
        (np.array([None]), "cannot be read as .npy: it is damaged or something else, write it again"),
    ],
    ids=["width", "shape", "type", "pickle"],
)
def test_embeddings_of_another_kind(tmp_path, model, rows, problem):
    out = foreign(tmp_path / "out", {0: embeddings(2)})
    file = out / "img_emb/img_emb_0.npy"
    np.save(file, rows)
    assert refused(tmp_path, out, model) == f"{file} {problem}"


@pytest.mark.parametrize("keep", [0, 5, -4])
def test_files_that_are_cut_short(tmp_path, model, keep):
    out = foreign(tmp_path / "out", {0: embeddings(2)})
    npy, parquet = out / "img_emb/img_emb_0.npy", out / "metadata/metadata_0.parquet"
    whole = parquet.read_bytes()
    parquet.write_bytes(whole[:keep])
    assert refused(tmp_path, out, model) == (
        f"{parquet} cannot be read as Parquet: it is damaged or something else, write it again"
    )
    parquet.write_bytes(whole)
    npy.write_bytes(npy.read_bytes()[:keep])
    assert refused(tmp_path, out, model) == (
        f"{npy} cannot be read as .npy: it is damaged or something else, write it again"
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite(tmp_path, model, bad):
    rows = embeddings(6)
    rows[4, 2] = bad
    out = foreign(tmp_path / "out", {0: embeddings(2, 1), 1: rows})
    assert refused(tmp_path, out, model) == (
        f"{out}/img_emb/img_emb_1.npy, row 4 (the first is 0): the embedding has numbers that are not finite"
    )


def test_a_row_without_a_direction(tmp_path, model):
    rows = embeddings(3)
    rows[1] = 0
    out = foreign(tmp_path / "out", {0: rows})
    assert refused(tmp_path, out, model) == (
        f"{out}/img_emb/img_emb_0.npy, row 1 (the first is 0): the embedding is all zeros, it has no direction"
    )


def test_no_paths(tmp_path, model):
    out = foreign(tmp_path / "out", {0: embeddings(1)}, lambda *_: {"url": ["https://x/a.mp4"], "caption": ["a dog"]})
    file = out / "metadata/metadata_0.parquet"
    assert refused(tmp_path, out, model) == (
        f"{file} has a column 'url' and none with paths: videos are played from files, add a column 'path'"
    )
    pq.write_table(pa.table({"caption": ["a dog"], "key": ["1"]}), file)
    assert refused(tmp_path, out, model) == (
        f"{file} has no column with paths: one of path, video_path, image_path is needed, it has caption, key"
    )


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("path", ["a.jpg", None], "no 'path': every row needs the path of its video"),
        ("start", [0.0, -1.0], "its span is -1–1 s: 0 ≤ start ≤ end is allowed"),
        ("end", [0.0, float("inf")], "its span is 0–inf s: 0 ≤ start ≤ end is allowed"),
        ("duration", [1.0, -1.0], "its duration is -1.0: seconds are allowed, 0 or more"),
        ("modified", [None, "today"], "its modified is 'today': write times like 2026-01-31T18:00:00+00:00"),
        ("metadata", ["{}", "[1]"], "its metadata is no JSON object: '[1]'"),
        ("id", ["x", "x"], "there is a moment 'x' already: give it another id"),
    ],
)
def test_a_row_that_makes_no_moment(tmp_path, model, column, values, problem):
    columns = {"path": ["a.jpg", "b.jpg"], column: values}
    out = foreign(tmp_path / "out", {0: embeddings(2)}, lambda *_: columns)
    assert refused(tmp_path, out, model) == f"{out}/metadata/metadata_0.parquet, row 1 (the first is 0): {problem}"


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("path", [1], "column 'path' holds int64, it has to hold text"),
        ("id", [1.5], "column 'id' holds double, it has to hold text or whole numbers"),
        ("start", ["1"], "column 'start' holds string, it has to hold numbers"),
        ("modified", [1.0], "column 'modified' holds double, it has to hold times or text"),
        ("tags", [[1]], "column 'tags' holds list<element: int64>, it has to hold text or lists of text"),
    ],
)
def test_a_column_of_another_kind(tmp_path, model, column, values, problem):
    out = foreign(tmp_path / "out", {0: embeddings(1)}, lambda *_: {"path": ["a.mp4"], column: values})
    assert refused(tmp_path, out, model) == f"{out}/metadata/metadata_0.parquet: {problem}"


def test_the_same_import_twice(made, tmp_path, model):
    export_collection(made, tmp_path / "out")
    taken(tmp_path, tmp_path / "out", model)
    before = listing(tmp_path / "taken")
    with pytest.raises(CollectionError) as caught:
        taken(tmp_path, tmp_path / "out", model)
    assert str(caught.value) == (
        f"{tmp_path}/out/metadata/metadata_0.parquet, row 0 (the first is 0): there is a moment 'clip-1' already: "
        f"give it another id"
    )
    assert listing(tmp_path / "taken") == before


def test_an_export_that_changed(made, tmp_path, model):
    out = tmp_path / "out"
    export_collection(made, out, 5)
    file = out / "img_emb/img_emb_1.npy"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    assert refused(tmp_path, out, model) == (
        f"{file} has changed since it was exported: export the collection again; if it was meant to change, "
        f"delete collection.json and import with --any-model"
    )
    file.unlink()
    assert refused(tmp_path, out, model) == f"{file} is missing: export the collection again"
    (out / "collection.json").unlink()
    (out / "metadata/metadata_1.parquet").unlink()
    assert len(taken(tmp_path, out, model)) == 5


def test_an_export_with_more_shards_than_it_had(made, tmp_path, model):
    out = tmp_path / "out"
    export_collection(made, out)
    shutil.copy(out / "img_emb/img_emb_0.npy", out / "img_emb/img_emb_1.npy")
    shutil.copy(out / "metadata/metadata_0.parquet", out / "metadata/metadata_1.parquet")
    assert refused(tmp_path, out, model) == f"'{out}' holds 20 rows, 10 were exported: export the collection again"


@pytest.mark.parametrize("content", ["{", '{"format": "mmretrieval embeddings", "version": 1}'])
def test_a_damaged_collection_json(made, tmp_path, model, content):
    file = tmp_path / "out/collection.json"
    export_collection(made, tmp_path / "out")
    file.write_text(content)
    assert refused(tmp_path, tmp_path / "out", model) == f"{file} is damaged: export the collection again"


def test_a_newer_export_says_upgrade(made, tmp_path, model):
    file = tmp_path / "out/collection.json"
    export_collection(made, tmp_path / "out")
    file.write_text(json.dumps({"format": "mmretrieval embeddings", "version": 3}))
    message = f"{file} has version 3, this version reads up to 1: upgrade mmretrieval"
    assert refused(tmp_path, tmp_path / "out", model) == message


def test_a_place_that_holds_something_else(made, tmp_path, model):
    export_collection(made, tmp_path / "out")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")
    with pytest.raises(CollectionError) as caught:
        taken(tmp_path, tmp_path / "out", model)
    assert str(caught.value) == f"'{tmp_path}/taken' is not empty and not a collection: give a new folder"
    assert os.listdir(tmp_path / "taken") == ["letter.txt"]
    with pytest.raises(CollectionError) as caught:
        export_collection(made, tmp_path / "taken")
    assert str(caught.value) == f"'{tmp_path}/taken' is not empty: give a new folder"
    with pytest.raises(CollectionError) as caught:
        export_collection(made, tmp_path / "taken/letter.txt")
    assert str(caught.value) == f"'{tmp_path}/taken/letter.txt' is there already: give another name"


def test_nothing_to_export(made, tmp_path):
    with pytest.raises(CollectionError) as caught:
        export_collection(made, tmp_path / "out", 0)
    assert str(caught.value) == "a shard has at least 1 row, got 0"
    made.remove([moment.id for moment in made.moments])
    with pytest.raises(CollectionError) as caught:
        export_collection(made, tmp_path / "out")
    assert str(caught.value) == f"{made.folder} has no moments: there is nothing to export"
    assert not (tmp_path / "out").exists()

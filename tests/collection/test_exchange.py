"""Collections out and in again, whole or not at all."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import ColourModel
from shards import DIM, embeddings, foreign, listing, moments, taken
from storing import full_disk

from mmretrieval.collection import Collection
from mmretrieval.collection.exchange import export_collection, import_collection, list_moments
from mmretrieval.errors import CollectionError, StorageError


@pytest.mark.parametrize("shard", [3, 5, 100_000])
def test_there_and_back(made, tmp_path, model, shard):
    out = tmp_path / "out"
    assert export_collection(made, out, shard) == 10
    back = taken(tmp_path, out, model, any_model=False)
    assert back.moments == made.moments and back.verify() == [] and back.info()["generation"] == 1
    np.testing.assert_array_equal(back.embeddings(), made.embeddings())
    queries = embeddings(20, 2)
    for found, expected in zip(back.nearest(queries, 5), made.nearest(queries, 5)):
        np.testing.assert_array_equal(found, expected)


def test_what_lies_in_the_folder(made, tmp_path):
    out = tmp_path / "out"
    export_collection(made, out, 4)
    names = [file.relative_to(out).as_posix() for file in sorted(out.rglob("*")) if file.is_file()]
    shards = range(3)
    assert names == [
        "collection.json",
        *[f"img_emb/img_emb_{number}.npy" for number in shards],
        *[f"metadata/metadata_{number}.parquet" for number in shards],
    ]
    stored = np.concatenate([np.load(out / f"img_emb/img_emb_{number}.npy") for number in shards])
    rows = [row for number in shards for row in pq.read_table(out / f"metadata/metadata_{number}.parquet").to_pylist()]
    np.testing.assert_array_equal(stored, made.embeddings())
    assert [row["id"] for row in rows] == [moment.id for moment in made.moments]
    first = made.moments[0]
    assert rows[0] == {
        **first._asdict(),
        "metadata": json.dumps(first.metadata),
        "duration": 60.0,
        "modified": "2026-01-31T18:00:00+00:00",
        "tags": ["sea", "dog"],
    }
    about = json.loads((out / "collection.json").read_text())
    assert [record["bytes"] for record in about.pop("files").values()] == [
        (out / name).stat().st_size for name in names[1:]
    ]
    assert about == {
        "format": "mmretrieval embeddings",
        "version": 1,
        "count": 10,
        "shards": 3,
        "metric": "cosine",
        "dim": DIM,
        "model": {"fingerprint": made.manifest.model["fingerprint"], "path": str(tmp_path / "model")},
    }


def test_renamed_videos_are_exported_where_they_are(collection, clips, tmp_path, model):
    (clips / "red.mp4").rename(clips / "crimson.mp4")
    collection.add([clips], ColourModel())
    export_collection(collection, tmp_path / "out")
    back = taken(tmp_path, tmp_path / "out", model, any_model=False)
    assert sorted(moment.path for moment in back.moments) == [
        str(clips / f"{name}.mp4") for name in ("blue", "crimson", "green")
    ]
    assert back.manifest.model["precision"] == collection.manifest.model["precision"] == "fp32"
    before = (back.folder / "manifest.json").read_bytes()
    back.add([clips], ColourModel())  # nothing is embedded again
    assert (back.folder / "manifest.json").read_bytes() == before


def test_an_import_is_added_as_one_generation(made, tmp_path, model):
    second = Collection.create(tmp_path / "second", moments(6, "more"), embeddings(6, 3), model, tmp_path / "model")
    export_collection(second, tmp_path / "out", 2)
    both = import_collection(made.folder, tmp_path / "out", model, tmp_path / "model")
    assert both.info()["generation"] == made.manifest.generation + 1
    assert both.moments == made.moments + second.moments and both.verify() == []
    np.testing.assert_array_equal(both.embeddings(), np.concatenate([made.embeddings(), second.embeddings()]))


def test_names_of_shards_are_in_the_order_of_their_numbers(tmp_path, model):
    made = Collection.create(tmp_path / "kept", moments(11), embeddings(11), model, tmp_path / "model")
    export_collection(made, tmp_path / "out", shard=1)
    names = [file.name for file in sorted((tmp_path / "out/img_emb").iterdir())]
    assert names == [f"img_emb_{number:02d}.npy" for number in range(11)]
    assert import_collection(tmp_path / "again", tmp_path / "out", model, tmp_path / "model").moments == made.moments


def test_many_parts_and_segments(tmp_path, model, monkeypatch):
    for module in ("segments", "exchange.rows"):
        monkeypatch.setattr(f"mmretrieval.collection.{module}.ROWS_PER_GROUP", 4)
    big = Collection.create(tmp_path / "big", moments(50), embeddings(50), model, tmp_path / "model")
    big.remove([f"clip-{n}" for n in range(10, 20)])
    export_collection(big, tmp_path / "out", 13)
    monkeypatch.setattr("mmretrieval.collection.exchange.importing.SEGMENT_ROWS", 16)
    back = taken(tmp_path, tmp_path / "out", model)
    assert [back.manifest.files[name]["rows"] for name in back.manifest.segments] == [16, 16, 8]
    assert back.moments == big.moments and back.verify() == []
    np.testing.assert_array_equal(back.embeddings(), big.embeddings())


# --- whole or not at all


FULL = "cannot be written: the disk is full. Free some space and try again; what was there before is untouched."


@pytest.mark.parametrize("out", ["out", "out.csv"])
def test_a_full_disk_while_exporting_leaves_nothing(made, tmp_path, out):
    before = listing(tmp_path)
    with full_disk(1), pytest.raises(StorageError) as caught:
        (list_moments if out.endswith("csv") else export_collection)(made, tmp_path / out)
    assert str(caught.value) == f"{tmp_path}/{out}: {FULL}"
    assert listing(tmp_path) == before and not (tmp_path / out).exists()


@pytest.mark.parametrize("step", [1, 2], ids=["segment", "manifest"])
def test_a_full_disk_while_importing_leaves_the_old_generation(made, tmp_path, model, step):
    second = Collection.create(tmp_path / "second", moments(6, "more"), embeddings(6, 3), model, tmp_path / "model")
    export_collection(second, tmp_path / "out", 2)
    before = listing(made.folder)
    with full_disk(2 * step - 1), pytest.raises(StorageError, match="the disk is full"):
        import_collection(made.folder, tmp_path / "out", model, tmp_path / "model")
    assert listing(made.folder) == before


def test_a_bad_row_at_the_end_leaves_the_old_generation(made, tmp_path, model, monkeypatch):
    monkeypatch.setattr("mmretrieval.collection.exchange.importing.SEGMENT_ROWS", 2)
    rows = embeddings(3)
    rows[2, 0] = np.nan
    out = foreign(tmp_path / "out", {0: embeddings(4), 1: rows})
    before = listing(made.folder)
    with pytest.raises(CollectionError, match=r"img_emb_1.npy, row 2 \(the first is 0\)"):
        import_collection(made.folder, out, model, tmp_path / "model", any_model=True)
    assert listing(made.folder) == before

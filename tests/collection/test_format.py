"""Another program reads a collection by what ``indexes/README.md`` says, and nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq
from fakes import ColourModel, video

from mmretrieval.collection import Collection


def test_a_stranger_reads_a_collection(collection, clips):
    video(clips / "two.mp4", "red", "blue")
    collection.add([clips], ColourModel())
    collection.remove([clips / "green.mp4"])
    folder = collection.folder

    text = (folder / "manifest.json").read_text("utf-8")
    manifest = json.loads(text)
    assert list(manifest)[-1] == "sha256"
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    unsealed = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    assert hashlib.sha256(unsealed.encode()).hexdigest() == manifest["sha256"]
    assert (manifest["format"], manifest["version"], manifest["generation"]) == ("mmretrieval collection", 2, 3)
    assert manifest["counts"] == {"videos": 3, "moments": 3, "quarantined": 0}
    assert manifest["model"]["path"] == "../model"

    rows, alive = [], []
    for name in manifest["segments"]:
        file = (folder / name).read_bytes()
        record = manifest["files"][name]
        assert (record["sha256"], record["bytes"]) == (hashlib.sha256(file).hexdigest(), len(file))
        table = pq.read_table(folder / name, page_checksum_verification=True).to_pylist()
        assert record["rows"] == len(table)
        rows += table
        alive += [place not in manifest["removed"].get(name, []) for place in range(len(table))]
    left = [row for row, is_alive in zip(rows, alive) if is_alive]
    assert [row["path"] for row in left] == [str(clips / f"{name}.mp4") for name in ("blue", "red", "two")]
    assert left[0]["hash"] == hashlib.sha256((clips / "blue.mp4").read_bytes()).hexdigest()
    assert json.loads(left[0]["metadata"])["width"] == 48

    index = faiss.read_index(str(folder / manifest["index"]["file"]))
    assert index.ntotal == manifest["index"]["rows"] == 3
    embeddings = np.array([row["embedding"] for row in rows], np.float32)
    assert (index.reconstruct_n(0, index.ntotal) == embeddings[:3]).all()


def test_the_code_in_the_description_runs(collection, clips, tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "indexes" / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    video(clips / "two.mp4", "red", "blue")
    collection.add([clips], ColourModel())
    collection.remove([clips / "green.mp4"])
    collection.folder.rename(tmp_path / "holiday")
    (tmp_path / "indexes").mkdir()
    (tmp_path / "holiday").rename(tmp_path / "indexes" / "holiday")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert [row["path"] for row in names["moments"]] == [str(clips / f"{name}.mp4") for name in ("blue", "red", "two")]


def version_1(folder: Path) -> None:
    """Write a collection's manifest as version 1 did: its index held the moments that were left, in order."""
    manifest = json.loads((folder / "manifest.json").read_text())
    segments = {name: pq.read_table(folder / name, columns=["embedding"]) for name in manifest["segments"]}
    embeddings = [
        row
        for name, table in segments.items()
        for place, row in enumerate(table.column("embedding").to_pylist())
        if place not in manifest["removed"].get(name, [])
    ]
    index = faiss.IndexFlatIP(manifest["dim"])
    index.add(np.array(embeddings, np.float32))
    name = "index-000009.faiss"
    faiss.write_index(index, str(folder / name))
    for file in [*manifest["files"]]:
        manifest["files"][file] = {key: manifest["files"][file][key] for key in ("sha256", "bytes")}
    del manifest["files"][manifest["index"]["file"]], manifest["retired"], manifest["sha256"]
    content = (folder / name).read_bytes()
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest |= {"version": 1, "index": {"kind": "exact", "file": name}}
    unsealed = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    manifest["sha256"] = hashlib.sha256(unsealed.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(folder / "readers")


def test_version_1_is_read_and_becomes_version_2_with_the_next_change(collection, clips):
    video(clips / "two.mp4", "red", "blue")
    collection.add([clips], ColourModel())
    collection.remove([clips / "green.mp4"])
    expected = collection.nearest(collection.embeddings(), 3)
    version_1(collection.folder)
    old = Collection.open(collection.folder)
    assert old.verify() == [] and [moment.id for moment in old.moments] == [moment.id for moment in collection.moments]
    for found, wanted in zip(old.nearest(old.embeddings(), 3), expected):
        np.testing.assert_array_equal(found, wanted)
    old.remove([clips / "blue.mp4"])
    new = Collection.open(collection.folder)
    assert json.loads((new.folder / "manifest.json").read_text())["version"] == 2
    assert new.verify() == [] and len(new) == 2 and new.manifest.index["rows"] == 4
    assert not (new.folder / "index-000009.faiss").exists() or "index-000009.faiss" in new.manifest.retired

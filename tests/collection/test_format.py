"""Another program reads a collection by what ``indexes/README.md`` says, and nothing else."""

from __future__ import annotations

import hashlib
import json

import faiss
import numpy as np
import pyarrow.parquet as pq
from fakes import ColourModel, video


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
    assert (manifest["format"], manifest["version"], manifest["generation"]) == ("mmretrieval collection", 1, 3)
    assert manifest["counts"] == {"videos": 3, "moments": 3, "quarantined": 0}
    assert manifest["model"]["path"] == "../model"

    rows = []
    for name in manifest["segments"]:
        file = (folder / name).read_bytes()
        assert manifest["files"][name] == {"sha256": hashlib.sha256(file).hexdigest(), "bytes": len(file)}
        table = pq.read_table(folder / name, page_checksum_verification=True).to_pylist()
        rows += [row for place, row in enumerate(table) if place not in manifest["removed"].get(name, [])]
    assert [row["path"] for row in rows] == [str(clips / f"{name}.mp4") for name in ("blue", "red", "two")]
    assert rows[0]["hash"] == hashlib.sha256((clips / "blue.mp4").read_bytes()).hexdigest()
    assert json.loads(rows[0]["metadata"])["width"] == 48

    index = faiss.read_index(str(folder / manifest["index"]["file"]))
    assert (index.reconstruct_n(0, index.ntotal) == np.array([row["embedding"] for row in rows], np.float32)).all()

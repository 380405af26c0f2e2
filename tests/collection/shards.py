"""Embeddings and moments in shards, as this program and others write them."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmretrieval.collection import Collection, Moment
from mmretrieval.collection.exchange import import_collection
from mmretrieval.errors import CollectionError

DIM = 4


def moments(count: int, name: str = "clip") -> list[Moment]:
    facts = {"duration": 60.0, "modified": "2026-01-31T18:00:00+00:00", "labels": ["sea", "dog"], "width": 48}
    return [
        Moment(
            f"{name}-{n}",
            f"/videos/{name} {n // 3}.mp4",
            float(n),
            n + 1.5,
            hashlib.sha256(name.encode()).hexdigest(),
            facts,
        )
        for n in range(count)
    ]


def embeddings(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def made(tmp_path, model):
    """Two segments of ten moments, a few of them removed."""
    collection = Collection.create(tmp_path / "kept", moments(7), embeddings(7), model, tmp_path / "model")
    collection.append(moments(5, "other"), embeddings(5, 1))
    collection.remove(["clip-0", "other-4"])
    return collection


def foreign(folder, shards, columns=None, dtype=np.float16):
    """Write shards as clip-retrieval does: numbers by size, metadata by pandas, nothing that says who made them."""
    for part in ("img_emb", "metadata", "text_emb"):
        (folder / part).mkdir(parents=True)
    for number, rows in shards.items():
        np.save(folder / f"img_emb/img_emb_{number}.npy", rows.astype(dtype))
        given = columns(number, len(rows)) if columns else {"image_path": paths(number, len(rows))}
        pq.write_table(pa.table(given), folder / f"metadata/metadata_{number}.parquet")
    return folder


def paths(number: int, count: int) -> list[str]:
    return [f"/pictures/{number}-{row}.jpg" for row in range(count)]


def taken(tmp_path, folder, model, **more) -> Collection:
    return import_collection(tmp_path / "taken", folder, model, tmp_path / "model", **{"any_model": True, **more})


def refused(tmp_path, folder, model, **more) -> str:
    with pytest.raises(CollectionError) as caught:
        taken(tmp_path, folder, model, **more)
    assert not (tmp_path / "taken").exists()
    return str(caught.value)


def listing(folder) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}

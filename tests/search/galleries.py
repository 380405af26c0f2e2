"""Collections that exist only as arrays: moments, embeddings and an exact search over them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from mmretrieval.search.gallery import Gallery


class ArrayCollection:
    """Has what a gallery asks of a collection."""

    folder = "made/up"

    def __init__(self, moments: list[dict], embeddings: np.ndarray, moved: dict[str, str] | None = None):
        columns = {
            "id": [moment.get("id", f"m{row}") for row, moment in enumerate(moments)],
            "path": [moment["path"] for moment in moments],
            "start": [float(moment.get("start", 0.0)) for moment in moments],
            "end": [float(moment.get("end", 3.0)) for moment in moments],
            "hash": [moment.get("hash", moment["path"]) for moment in moments],
            "metadata": [json.dumps(moment.get("metadata", {})) for moment in moments],
        }
        self.table = pa.table(columns)
        self.manifest = SimpleNamespace(moved=moved or {})
        self.vectors = np.asarray(embeddings, np.float32)
        self.asked: list[int] = []

    def __len__(self):
        return len(self.table)

    def embeddings(self):
        return self.vectors

    def nearest(self, queries, k, rows=None):
        self.asked.append(k)
        rows = np.arange(len(self)) if rows is None else np.asarray(rows)
        scores = queries @ self.vectors[rows].T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), rows[order]


def cut_videos(random, videos: int, windows: int, dim: int = 8, stride: float = 1.5) -> Gallery:
    """Videos cut into overlapping windows whose embeddings change slowly, some of them equal to others."""
    moments, rows = [], []
    for video in range(videos):
        walk = np.cumsum(random.standard_normal((windows, dim)), axis=0) + random.standard_normal(dim)
        for window in range(windows):
            start = window * stride
            moments.append({"path": f"/v/{video}.mp4", "start": start, "end": start + 3.0})
        rows.append(walk / np.linalg.norm(walk, axis=1, keepdims=True))
    vectors = np.concatenate(rows)
    twins = random.permutation(len(vectors))[: len(vectors) // 4 * 2].reshape(2, -1)
    vectors[twins[0]] = vectors[twins[1]]
    return Gallery(ArrayCollection(moments, vectors))

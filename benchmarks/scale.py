"""What a Ray cluster and Milvus cost and bring, against the same on this machine by itself.

    python benchmarks/scale.py [--videos 24] [--seconds 24] [--height 360] [--backbone tsm_resnet18] [--frames 8]
        [--size 112] [--rounds 3] [--ray-address ADDRESS] [--vectors 100000] [--dim 256] [--milvus URI]
        [--out scale.json]

Two measurements. A folder of videos is built into a collection by either runner in turn, the cluster started
beforehand: moments per second, medians of all rounds, and how far embeddings are apart. And made-up vectors are pushed
into Milvus, by default a file of Milvus Lite: seconds of the push, of one that finds nothing to do and of one after a
small addition; then ten nearest moments are asked for, of the collection and of Milvus in turn, without a filter and
with one that allows half of them: median and 95th percentile, and which share of the ten truly nearest is found. On one
machine a cluster can only cost: its workers share the same cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from embedding import build_model, write_video
from index import build, clustered, moments

from mmretrieval.collection import Collection
from mmretrieval.collection.cluster import connected
from mmretrieval.environment import environment, installed
from mmretrieval.search.gallery import Gallery
from mmretrieval.search.milvus import Milvus
from mmretrieval.search.pushing import push

QUERIES = 100
K = 10


def runners(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Moments per second of both runners, and how far apart what they make is."""
    model = build_model(arguments.backbone, arguments.frames, arguments.size)
    (folder / "videos").mkdir()
    for number in range(arguments.videos):
        write_video(folder / f"videos/{number:03}.mp4", arguments.seconds, arguments.height, number)
    rates: dict[str, list[float]] = {"local": [], "ray": []}
    made = {}
    begin = time.perf_counter()
    with connected(arguments.ray_address, 1 << 30):
        start = time.perf_counter() - begin
        for number in range(arguments.rounds):
            for runner in rates:
                options = {"runner": runner, "progress": False, "precision": "fp32"}
                begin = time.perf_counter()
                target = folder / f"{runner} {number}"
                made[runner] = Collection.build(target, [folder / "videos"], model, "model", **options)
                rates[runner].append(len(made[runner]) / (time.perf_counter() - begin))
    assert made["local"].moments == made["ray"].moments
    apart = float(np.abs(made["local"].embeddings() - made["ray"].embeddings()).max())
    medians = {f"{runner} moments/s": statistics.median(values) for runner, values in rates.items()}
    ratio = medians["ray moments/s"] / medians["local moments/s"]
    return {**medians, "ray / local": ratio, "cluster started (s)": start, "embeddings apart": apart}


def backends(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of pushes and milliseconds of queries, and how far the answers agree."""
    collection, _ = build(folder / "collection", arguments.vectors, arguments.dim, None)
    facts = {}
    with closing(Milvus(arguments.milvus or str(folder / "milvus.db"))) as milvus:
        facts["push (s)"] = _seconds(lambda: push(collection, milvus, progress=False))
        facts["push again (s)"] = _seconds(lambda: push(collection, milvus, progress=False))
        more = clustered(100, arguments.dim, 7)
        collection.append(moments(arguments.vectors, len(more)), more)
        facts["push 100 more (s)"] = _seconds(lambda: push(collection, milvus, progress=False))
        galleries = {"faiss": Gallery(collection), "milvus": Gallery(collection, milvus)}
        queries = clustered(QUERIES, arguments.dim, 8)
        half = np.arange(0, len(collection), 2)
        for name, rows in (("all", None), ("half", half)):
            facts |= _ask(galleries, queries, name, rows)
    return facts


def _ask(galleries: dict[str, Gallery], queries: np.ndarray, name: str, rows: np.ndarray | None) -> dict[str, float]:
    """Ask all backends the same in turn."""
    times: dict[str, list[float]] = {backend: [] for backend in galleries}
    recall: dict[str, list[float]] = {backend: [] for backend in galleries}
    embeddings = galleries["faiss"].embeddings
    allowed = np.arange(len(embeddings)) if rows is None else rows
    for query in queries:
        nearest = allowed[np.argsort(-(embeddings[allowed] @ query), kind="stable")[:K]]
        for backend, gallery in galleries.items():
            begin = time.perf_counter()
            found = gallery.nearest(query[None], K, rows)[1][0]
            times[backend].append(1000 * (time.perf_counter() - begin))
            recall[backend].append(len(np.intersect1d(found, nearest)) / K)
    facts = {f"{backend}, {name}: recall@{K}": float(np.mean(values)) for backend, values in recall.items()}
    for backend, values in times.items():
        facts[f"{backend}, {name}: p50 (ms)"] = float(np.percentile(values, 50))
        facts[f"{backend}, {name}: p95 (ms)"] = float(np.percentile(values, 95))
    ratio = statistics.median(times["milvus"]) / statistics.median(times["faiss"])
    return {**facts, f"milvus / faiss, {name}": ratio}


def _seconds(work) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=24)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--backbone", default="tsm_resnet18")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray-address")
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--milvus")
    parser.add_argument("--out", type=Path, default=Path("scale.json"))
    arguments = parser.parse_args()
    report: dict = {}
    for name, measure in (("runners", runners), ("backends", backends)):
        with tempfile.TemporaryDirectory() as folder:
            report[name] = measure(Path(folder), arguments)
        for what, value in report[name].items():
            print(f"{what:32} {value:12.6g}")
    versions = {name: installed(name) for name in ("ray", "pymilvus", "milvus-lite")}
    settings = {key: str(value) for key, value in vars(arguments).items()}
    report |= {"settings": settings, "environment": environment(), "versions": versions}
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

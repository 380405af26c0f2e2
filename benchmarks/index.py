"""How fast a collection is built and searched, and what its index finds.

    python benchmarks/index.py [--vectors 100000] [--dim 256] [--memory BYTES] [--out index.json]

Makes clustered unit vectors and a collection of them, then asks it one query at a time: the collection, the bare FAISS
call of the same index and exact search take turns in one run. Also asks with a filter, with moments beside the index
and with removed ones, and what a small addition and a removal write. Prints a table and writes JSON.

Seconds are those of the clock; next to them stands processor time, which a busy machine does not stretch.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from crash import FakeModel

from mmretrieval.collection import Collection, Moment, choice, upkeep
from mmretrieval.collection.choice import recall
from mmretrieval.collection.index import exact_part, gather_index, one_thread

BATCH = 100_000
QUERIES = 300
K = 10


def clustered(count: int, dim: int, seed: int) -> np.ndarray:
    """Unit vectors around as many centres as there are hundreds, (count, dim) float32."""
    centres = np.random.default_rng(0).standard_normal((max(count // 100, 1000), dim), np.float32)
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, len(centres), count)] + rng.standard_normal((count, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def moments(start: int, count: int) -> list[Moment]:
    """Made-up moments, twenty to a video."""
    return [
        Moment(f"m{row}", f"/clips/{row // 20}.mp4", 3.0 * (row % 20), 3.0 * (row % 20) + 3, f"{row // 20:064x}", {})
        for row in range(start, start + count)
    ]


def build(folder: Path, count: int, dim: int, memory: int | None) -> tuple[Collection, dict[str, float]]:
    """Write all vectors, then choose the index for all of them; return seconds of both."""
    model = FakeModel()
    model.dim = dim
    usual = (upkeep.TAIL, choice.EXACT_BELOW)
    if count > BATCH:
        # they arrive in batches, as no machine need hold them all; only the index of all is of interest
        upkeep.TAIL, choice.EXACT_BELOW = count, 2 * BATCH
    collection, seconds = None, {"built": 0.0, "built_processor": 0.0}
    for begin in range(0, count, BATCH):
        size = min(BATCH, count - begin)
        given = (moments(begin, size), clustered(size, dim, begin + 1))
        start = (time.perf_counter(), time.process_time())
        if collection is None:
            collection = Collection.create(folder, *given, model, "model")
        else:
            collection.append(*given)
        seconds["built"] += time.perf_counter() - start[0]
        seconds["built_processor"] += time.process_time() - start[1]
    if count > BATCH:
        upkeep.TAIL, choice.EXACT_BELOW = usual
        start = (time.perf_counter(), time.process_time())
        collection.compact(memory)
        seconds["compacted"] = time.perf_counter() - start[0]
        seconds["compacted_processor"] = time.process_time() - start[1]
    return collection, seconds


def take_turns(ways: dict[str, Callable[[np.ndarray], tuple]], queries: np.ndarray) -> dict[str, dict]:
    """Ask every query in every way, who comes first changing; return milliseconds and what was found by way."""
    times = {name: [] for name in ways}
    found = {name: [None] * len(queries) for name in ways}
    for number in range(len(queries)):
        query = queries[number : number + 1]
        for ask in ways.values():
            ask(query)  # whoever comes first would pay for the caches of all
        for name in list(ways)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            answer = ways[name](query)
            times[name].append(time.perf_counter() - start)
            found[name][number] = answer[1][0]
    return {
        name: {
            "p50_ms": 1000 * float(np.median(times[name])),
            "p95_ms": 1000 * float(np.percentile(times[name], 95)),
            "found": np.stack(found[name]),
        }
        for name in ways
    }


def peak() -> float:
    """Gigabytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def bare(collection: Collection) -> Callable[[np.ndarray], tuple]:
    index = collection.index

    def ask(query: np.ndarray) -> tuple:
        with one_thread():
            return index.search(query, K)

    return ask


def exact_search(collection: Collection) -> Callable[[np.ndarray], tuple]:
    exact = exact_part(collection.index)
    if exact is None:
        embeddings = collection.embeddings()
        exact = gather_index([embeddings], *embeddings.shape)

    def ask(query: np.ndarray) -> tuple:
        with one_thread():
            return exact.search(query, K)

    return ask


def with_changes(folder: Path, dim: int, queries: np.ndarray) -> dict[str, float]:
    """Add a thousand moments and remove a thousand; say what each took, and how long a query takes afterwards."""
    collection = Collection.open(folder)
    count, before = len(collection), size_on_disk(folder)
    start = time.perf_counter()
    collection.append(moments(count, 1000), clustered(1000, dim, 7))
    added = time.perf_counter() - start
    written = size_on_disk(folder) - before
    start = time.perf_counter()
    collection.remove([f"/clips/{number}.mp4" for number in range(50)])
    removed = time.perf_counter() - start
    answers = take_turns({"changed": lambda query: collection.nearest(query, K)}, queries)
    return {
        "add_1000_s": added,
        "add_1000_mb_written": written / 1e6,
        "remove_1000_s": removed,
        "p50_ms": answers["changed"]["p50_ms"],
    }


def size_on_disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def measure(folder: Path, options: argparse.Namespace) -> dict:
    made, seconds = build(folder, options.vectors, options.dim, options.memory)
    made.close()
    built_peak = peak()
    del made
    start = time.perf_counter()
    collection = Collection.open(folder)
    collection.nearest(np.zeros((1, options.dim), np.float32), 1)
    seconds["opened"] = time.perf_counter() - start
    rng = np.random.default_rng(5)
    near = clustered(min(BATCH, options.vectors), options.dim, 1)[rng.integers(0, min(BATCH, options.vectors), QUERIES)]
    noise = rng.standard_normal(near.shape, np.float32)
    queries = near + 0.75 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    chosen = rng.choice(len(collection), len(collection) // 4, replace=False)
    queries = queries.astype(np.float32)
    quick = {"collection": lambda query: collection.nearest(query, K), "bare FAISS": bare(collection)}
    slow = {
        "exact": exact_search(collection),
        "filtered to 25 %": lambda query: collection.nearest(query, K, chosen),
    }
    # apart: a search through everything leaves nothing in the caches for the next one
    answers = take_turns(quick, queries) | take_turns(slow, queries)
    found = {name: answer.pop("found") for name, answer in answers.items()}
    info = collection.info()
    return {
        "vectors": options.vectors,
        "dim": options.dim,
        "seconds": seconds,
        "peak_gb_building": built_peak,
        "peak_gb": peak(),
        "index": info["index"],
        "parameters": info["index_details"]["parameters"],
        "recall@10": recall(found["collection"], found["exact"]),
        "search": answers,
        "ratio_to_bare": answers["collection"]["p50_ms"] / answers["bare FAISS"]["p50_ms"],
        "changes": with_changes(folder, options.dim, queries),
        "measured": info["index_details"]["measured"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--memory", type=int, default=None, help="bytes that the index may take")
    parser.add_argument("--out", type=Path, default=Path("index.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report = measure(Path(temporary) / "made", options)
    options.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"{options.vectors} × {options.dim}: {report['index']} {report['parameters']}")
    for name, value in {**report["seconds"], "peak GB while building": report["peak_gb_building"]}.items():
        print(f"{name:24} {value:9.2f}")
    for name, answer in report["search"].items():
        print(f"{name:24} {answer['p50_ms']:9.4f} ms p50 {answer['p95_ms']:9.4f} ms p95")
    print(f"{'ratio to bare FAISS':24} {report['ratio_to_bare']:9.3f}")
    print(f"{'recall@10':24} {report['recall@10']:9.4f}")
    for name, value in report["changes"].items():
        print(f"{'changed: ' + name:30} {value:9.4f}")


if __name__ == "__main__":
    main()

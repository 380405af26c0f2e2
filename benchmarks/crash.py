"""What survives: processes killed at random instants, and bytes that flip.

    python benchmarks/crash.py [--kills 100] [--flips 200] [--seed 0] [--out crash.json]

Every kill starts a process that makes, grows, prunes and compacts a collection, and writes down what has been finished.
It gets SIGKILL at a random instant. Then the collection must open and verify, and hold either what was last finished or
what was in the making, whole: nothing finished lost, no moment twice. Every flip changes one bit of one file, which
``verify`` must name. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmretrieval.collection import Collection, Moment, choice, upkeep, verify_collection
from mmretrieval.errors import CollectionError

DIM = 16
OPERATIONS = 10


class FakeModel:
    metric = "cosine"
    dim = DIM

    def fingerprint(self) -> str:
        return hashlib.sha256(b"fake").hexdigest()


class Operation(NamedTuple):
    """One change: its name, the ids that it concerns, and all ids that the collection holds after it."""

    name: str
    ids: list[str]
    after: frozenset[str]


def operations(seed: int) -> Iterator[Operation]:
    """The same changes for the same seed: the process that makes them and the one that checks agree."""
    rng = random.Random(seed)
    held, made = [], 0
    for number in range(OPERATIONS):
        name = "build" if number == 0 else rng.choice(["add", "add", "remove", "compact"])
        ids = []
        if name in ("build", "add"):
            ids = [f"moment-{made + offset}" for offset in range(rng.randint(1, 60))]
            made += len(ids)
            held += ids
        elif name == "remove":
            ids = rng.sample(held, len(held) // 3)
            held = [one for one in held if one not in ids]
        yield Operation(name, ids, frozenset(held))


def embeddings_of(ids: list[str]) -> np.ndarray:
    rows = [np.random.default_rng(int(one.split("-")[1])).normal(size=DIM) for one in ids]
    return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)


def moments_of(ids: list[str]) -> list[Moment]:
    return [Moment(one, f"/clips/{one}.mp4", 0.0, 3.0, hashlib.sha256(one.encode()).hexdigest(), {}) for one in ids]


def small_bounds() -> None:
    """Let everything happen to small collections that happens to large ones: choosing, appending, compacting."""
    choice.EXACT_BELOW, choice.QUERIES = 80, 5
    upkeep.TAIL, upkeep.REMOVED = 40, 60


def work(folder: Path, seed: int, log: Path) -> None:
    """Make all changes, noting each one that has been finished."""
    small_bounds()
    collection = None
    with open(log, "a") as finished:
        for operation in operations(seed):
            if operation.name == "build":
                ids = operation.ids
                collection = Collection.create(folder, moments_of(ids), embeddings_of(ids), FakeModel(), "model")
            elif operation.name == "add":
                collection.append(moments_of(operation.ids), embeddings_of(operation.ids))
            elif operation.name == "remove" and operation.ids:
                collection.remove(operation.ids)
            elif operation.name == "compact":
                collection.compact()
            finished.write(operation.name + "\n")
            finished.flush()


class Killer:
    """Starts processes that work and kills them. They are forked from one that has everything imported."""

    def __init__(self):
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["crash", "faiss", "pyarrow.parquet"])

    def kill(self, folder: Path, seed: int) -> str:
        """Kill one at a random instant and check what it left; return the name of the operation it was in.

        Raises:
            AssertionError: Something was lost, doubled or mixed.
        """
        rng = random.Random(seed)
        log = folder.with_suffix(".log")
        process = self.context.Process(target=work, args=(folder, seed, log))
        process.start()
        wanted = rng.randrange(OPERATIONS)
        while process.is_alive() and finished(log) < wanted:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join()
        return check(folder, seed, finished(log))


def finished(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0


def check(folder: Path, seed: int, done: int) -> str:
    """Compare a collection with what was finished; return the name of the operation that was interrupted."""
    plan = list(operations(seed))
    possible = [plan[number].after for number in (done - 1, done) if 0 <= number < len(plan)]
    interrupted = plan[done].name if done < len(plan) else "nothing"
    try:
        problems = verify_collection(folder)
    except CollectionError:
        assert done == 0, f"seed {seed}: a finished collection does not open"
        Collection.create(folder, moments_of(["moment-0"]), embeddings_of(["moment-0"]), FakeModel(), "model")
        return interrupted
    assert not problems, f"seed {seed}: {problems}"
    collection = Collection.open(folder)
    ids = [moment.id for moment in collection.moments]
    assert len(ids) == len(set(ids)), f"seed {seed}: moments twice"
    assert frozenset(ids) in possible, f"seed {seed}: neither the generation before nor after {interrupted}"
    assert (collection.embeddings() == (embeddings_of(ids) if ids else np.zeros((0, DIM)))).all(), f"seed {seed}: mixed"
    # whoever comes next can write, and clears away what was left
    collection.append(moments_of(["moment-99999"]), embeddings_of(["moment-99999"]))
    assert collection.verify() == [] and len(collection) == len(ids) + 1
    assert not list(folder.rglob("*.unfinished"))
    named = set(collection.manifest.files)
    assert named == {str(file.relative_to(folder)) for file in data_files(folder)}, f"seed {seed}: files left over"
    return interrupted


def data_files(folder: Path) -> list[Path]:
    return [*folder.glob("index-*"), *folder.glob("segments/*")]


def flip(folder: Path, rng: random.Random) -> str:
    """Flip one bit of one file, check that it is found and named, and set it right; return what kind of file it was."""
    file = rng.choice(sorted(file for file in folder.rglob("*") if file.is_file() and file.stat().st_size))
    whole = file.read_bytes()
    place = rng.randrange(len(whole))
    flipped = bytearray(whole)
    flipped[place] ^= 1 << rng.randrange(8)
    file.write_bytes(flipped)
    name = str(file.relative_to(folder))
    named = [problem.file for problem in verify_collection(folder)]
    file.write_bytes(whole)
    assert named == [name], f"byte {place} of {name}: verify names {named}"
    return "segment" if "segment" in name else "index" if "index" in name else "manifest"


def grown(folder: Path, seed: int = 2) -> Path:
    """A collection with a history: several segments, removed moments, an index and moments beside it."""
    work(folder, seed, folder.with_suffix(".log"))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("crash.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root, killer = Path(temporary), Killer()
        kills = Counter()
        for number in range(options.kills):
            seed = options.seed * 1_000_000 + number
            kills[killer.kill(root / f"killed-{number}", seed)] += 1
            shutil.rmtree(root / f"killed-{number}")
        folder, rng = grown(root / "flipped"), random.Random(options.seed)
        flips = Counter(flip(folder, rng) for _ in range(options.flips))
    print(f"{'killed in':12} times survived")
    for name, count in sorted(kills.items()):
        print(f"{name:12} {count}")
    print(f"{'flipped in':12} times found and named")
    for name, count in sorted(flips.items()):
        print(f"{name:12} {count}")
    options.out.write_text(json.dumps({"kills": dict(kills), "flips": dict(flips)}, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What survives when a process that decodes and embeds videos is killed at random instants.

    python benchmarks/crash_building.py [--kills 100] [--seed 0] [--out crash_building.json]

Every kill starts a process that builds a collection of little videos, adds some, removes some, compacts and adds again,
and writes down what has been finished. It gets SIGKILL at a random instant of a random one of these. What is then there
must open, verify and hold what was last finished or what was in the making, whole; started again with the same command,
it must end with the moments and embeddings of a history that nobody disturbed. Prints a table and writes JSON.
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
from contextlib import suppress
from pathlib import Path

import numpy as np

from mmretrieval.collection import Collection, embed, ledger, verify_collection
from mmretrieval.data.processor import Processor
from mmretrieval.errors import CollectionError
from mmretrieval.types import ClipSpec

OPERATIONS = ("build", "add", "remove", "compact", "add again")
FPS, SIZE = 8, 48


class MeanColour:
    """Obeys what a collection asks of a model; slow enough to be killed at work."""

    metric, dim, modalities = "cosine", 4, ("video",)

    def __init__(self):
        self.processor = Processor(clip=ClipSpec(frames=2, size=16))

    def fingerprint(self) -> str:
        return hashlib.sha256(b"mean colour").hexdigest()

    def embed(self, modality: str, items: list) -> np.ndarray:
        time.sleep(0.01 * len(items))
        means = np.stack([item.float().mean(dim=(0, 2, 3)).numpy() / 255 for item in items])
        rows = np.concatenate([means, np.ones((len(means), 1))], axis=1).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_video(path: Path, seconds: int, seed: int) -> None:
    import av

    random_colours = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(seconds * FPS):
            if number % FPS == 0:
                colour = random_colours.integers(60, 256, 3)
            picture = np.full((SIZE, SIZE, 3), colour, np.uint8)
            picture[4:8, 4 * number % 40 :][:, :4] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_videos(root: Path) -> None:
    """Write what is added first, and what is added later."""
    for folder, count in (("first", 8), ("second", 4), ("third", 3)):
        (root / folder).mkdir()
        for number in range(count):
            write_video(root / folder / f"{number}.mp4", 2 + number % 4, seed=10 * count + number)


def work(folder: Path, videos: Path, log: Path, until: int = len(OPERATIONS)) -> None:
    """Go on where the log ends, up to so many operations, and note each one that has been finished."""
    embed.MOST_CLIPS, ledger.SHARD_MOMENTS = 3, 5
    options = {"window": 2.0, "stride": 1.0, "progress": False, "workers": 1}
    model = MeanColour()
    with open(log, "a") as finished:
        for operation in OPERATIONS[len(done(log)) : until]:
            if operation == "build":
                Collection.build(folder, [videos / "first"], model, "model", **options)
            elif operation == "remove":
                with suppress(CollectionError):  # it may have been removed, and killed before that was noted
                    Collection.open(folder).remove([videos / "first" / "3.mp4", videos / "second" / "0.mp4"])
            elif operation == "compact":
                Collection.open(folder).compact()
            else:
                Collection.open(folder).add([videos / ("second" if operation == "add" else "third")], model, **options)
            finished.write(operation + "\n")
            finished.flush()


def done(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def state(folder: Path) -> dict[str, list[float]]:
    """Return the embedding of every moment by its id; nothing if there is no collection yet.

    Raises:
        AssertionError: It is damaged, or holds a moment twice.
    """
    if not (folder / "manifest.json").exists():
        return {}
    assert verify_collection(folder) == []
    collection = Collection.open(folder)
    ids = [moment.id for moment in collection.moments]
    assert len(ids) == len(set(ids)), "moments twice"
    return dict(zip(ids, collection.embeddings().tolist(), strict=True))


def history(root: Path, videos: Path) -> tuple[list[dict[str, list[float]]], list[float]]:
    """Return the states before and after every operation of a history that nobody disturbs, and the seconds of each."""
    states, seconds, folder, log = [{}], [], root / "undisturbed", root / "undisturbed.log"
    for number in range(len(OPERATIONS)):
        begin = time.perf_counter()
        work(folder, videos, log, number + 1)
        seconds.append(time.perf_counter() - begin)
        states.append(state(folder))
    return states, seconds


def kill(
    root: Path, videos: Path, states: list[dict[str, list[float]]], seconds: list[float], rng: random.Random
) -> str:
    """Kill a process at a random instant, check what it left, and let another one end its work.

    Returns:
        The operation it was in.

    Raises:
        AssertionError: Something was lost, doubled, mixed or left over.
    """
    folder, log = root / "killed", root / "killed.log"
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=work, args=(folder, videos, log))
    process.start()
    wanted = rng.randrange(len(OPERATIONS))
    while process.is_alive() and not (log.exists() and len(done(log)) >= wanted):
        time.sleep(0.001)
    time.sleep(rng.uniform(0, seconds[wanted]))
    process.kill()
    process.join()
    number = len(done(log))
    assert state(folder) in states[number : number + 2], f"neither before nor after {[*OPERATIONS, 'the end'][number]}"
    work(folder, videos, log)
    assert state(folder) == states[-1], "the end is not that of an undisturbed history"
    left = [file for file in folder.rglob("*") if "unfinished" in file.name or file.parent.name == "pending"]
    assert not left, f"left over: {left}"
    shutil.rmtree(folder)
    log.unlink()
    return OPERATIONS[number] if number < len(OPERATIONS) else "nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("crash_building.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        videos = root / "videos"
        videos.mkdir()
        write_videos(videos)
        states, seconds = history(root, videos)
        rng = random.Random(options.seed)
        kills = Counter(kill(root, videos, states, seconds, rng) for _ in range(options.kills))
    print(f"{'killed in':12} times survived")
    for name, count in sorted(kills.items()):
        print(f"{name:12} {count}")
    options.out.write_text(json.dumps({"kills": dict(kills)}, indent=2) + "\n")


if __name__ == "__main__":
    main()

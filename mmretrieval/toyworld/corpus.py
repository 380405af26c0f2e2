"""Writing a toy world: videos, spoken captions, manifests and the truth about them, on all cores."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from mmretrieval.environment import cores
from mmretrieval.errors import ManifestError
from mmretrieval.files import atomic_folder
from mmretrieval.processes import worker_processes
from mmretrieval.toyworld.plan import SPLITS, Clip, plan
from mmretrieval.toyworld.scene import Scene
from mmretrieval.toyworld.voices import SAMPLE_RATE, Narration, Word, narrate, require_espeak

VERSION = 1
"""Changes whenever the same seed gives another world."""
GROUP = 32
"""Clips that one process makes in one go, at most."""

T = TypeVar("T")
Row = dict[str, Any]


def build(
    out: str | Path, clips: int, seed: int, long: int = 0, workers: int | None = None, progress: bool = True
) -> dict[str, Any]:
    """Render and narrate a toy world, or find that it is there already.

    The same seed and number of clips give the same bytes, on any number of cores. Nothing lies at ``out`` before
    everything is written.

    Args:
        out: Folder to make: ``videos/``, ``speech/``, ``train.jsonl``, ``val.jsonl``, ``test.jsonl``,
            ``truth.jsonl``, ``world.json``, and with ``long`` also ``long/`` and ``long.jsonl``.
        clips: Clips of 3 seconds, all splits together; 10 % are for testing, 6 % for validation.
        seed: Decides everything.
        long: Videos of 20 to 60 seconds to make as well, each of several scenes.
        workers: Processes; all cores when not given.
        progress: Whether to show a bar (never when the output is not a terminal).

    Returns:
        What ``world.json`` holds: version, seed, clips, long, and the number of clips by split; and ``reused``,
        whether the world was there already.

    Raises:
        DependencyError: espeak-ng is not installed.
        ManifestError: ``out`` holds something else, or ``clips`` is too small or too large.
        StorageError: The disk is full or cannot be written.
    """
    out = Path(out)
    if (world := _existing(out, clips, seed, long)) is not None:
        return {**world, "reused": True}
    require_espeak()
    from tqdm import tqdm

    planned = plan(clips, seed)
    with atomic_folder(out) as folder:
        for name in ("videos", "speech", *(("long",) if long else ())):
            (folder / name).mkdir()
        by_id = {}
        with (
            closing(in_parallel(_make_clips, [(group, folder) for group in _groups(planned)], workers)) as made,
            tqdm(total=clips, unit=" clips", desc="toy world", disable=not progress or None) as bar,
        ):
            for rows in made:
                by_id.update((row["id"], row) for row in rows)
                bar.update(len(rows))
        truth = [by_id[clip.id] for clip in planned]
        for split in SPLITS:
            write_rows(folder / f"{split}.jsonl", (manifest_row(row) for row in truth if row["split"] == split))
        write_rows(folder / "truth.jsonl", truth)
        if long:
            from mmretrieval.toyworld.longform import make_long, plan_long

            make_long(folder, plan_long(long, seed, planned), workers, progress)
        sizes = {split: sum(clip.split == split for clip in planned) for split in SPLITS}
        world = {"version": VERSION, "seed": seed, "clips": clips, "long": long, "splits": sizes}
        (folder / "world.json").write_text(json.dumps(world, indent=2) + "\n")
    return {**world, "reused": False}


def _existing(out: Path, clips: int, seed: int, long: int) -> dict[str, Any] | None:
    """Return the world at ``out`` if it is the one asked for, None if nothing is there.

    Raises:
        ManifestError: Something else is there.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise ManifestError(f"{out}: is a file. Give the name of a new or an empty folder.")
    if not any(out.iterdir()):
        return None
    try:
        world = json.loads((out / "world.json").read_text())
        found = {key: int(world[key]) for key in ("version", "seed", "clips", "long")}
    except (OSError, ValueError, KeyError, TypeError):
        raise ManifestError(
            f"{out}: is not empty and is no toy world. Give a new or an empty folder, or remove this one first."
        ) from None
    asked = {"version": VERSION, "seed": seed, "clips": clips, "long": long}
    if found["long"] >= long and all(found[key] == asked[key] for key in ("version", "seed", "clips")):
        return world
    described = [", ".join(f"{key} {value}" for key, value in which.items()) for which in (found, asked)]
    raise ManifestError(
        f"{out}: holds another toy world ({described[0]}) than the one asked for ({described[1]}). "
        "Give another folder, or remove this one first."
    )


# --- one clip --------------------------------------------------------------------------------------------------------


def _groups(clips: list[Clip]) -> list[list[Clip]]:
    """Put clips that share their scenery together: whoever makes a group paints it only once."""
    by_look: dict[tuple[str, int], list[Clip]] = {}
    for clip in clips:
        by_look.setdefault((clip.scene.setting, clip.scene.look), []).append(clip)
    return [group[i : i + GROUP] for group in by_look.values() for i in range(0, len(group), GROUP)]


def _make_clips(task: tuple[list[Clip], Path]) -> list[Row]:
    clips, folder = task
    return [make_clip(clip, folder) for clip in clips]


def make_clip(clip: Clip, folder: Path) -> Row:
    """Write the video and the speech of one clip; return its row of the truth."""
    from mmretrieval.toyworld.render import Film, render

    frames, boxes = render(clip.scene)
    with Film(folder / f"videos/{clip.id}.mp4") as film:
        film.add(frames)
    words = write_speech(folder / f"speech/{clip.id}.wav", clip.caption.text, clip.narration)
    return {
        "id": clip.id,
        "split": clip.split,
        "video": f"videos/{clip.id}.mp4",
        "speech": f"speech/{clip.id}.wav",
        "text": clip.caption.text,
        **scene_truth(clip.scene, boxes),
        "mentions_setting": clip.caption.setting is not None,
        "words": words,
        "narration": asdict(clip.narration),
    }


def scene_truth(scene: Scene, boxes: list) -> Row:
    """Return what is true about a scene: setting, things with their boxes, relation and action label."""
    return {
        "setting": scene.setting,
        "action": scene.main.action,
        "relation": scene.relation,
        "things": [
            {
                "kind": thing.kind,
                "colour": thing.colour,
                "action": thing.action,
                "role": thing.role,
                "size": thing.size,
                "boxes": track,
            }
            for thing, track in zip(scene.things, boxes, strict=True)
        ],
    }


def write_speech(path: Path, text: str, narration: Narration) -> list[Word]:
    """Speak a caption into a WAV file; return when each word is said."""
    import soundfile

    samples, words = narrate(text, narration)
    memory = io.BytesIO()  # so that a full disk is Python's own error, not libsndfile's
    soundfile.write(memory, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    path.write_bytes(memory.getbuffer())
    return words


def manifest_row(truth: Row) -> Row:
    """Return the manifest's row of a clip: what a data set of the real world would say about it."""
    return {
        "id": truth["id"],
        "video": truth["video"],
        "speech": truth["speech"],
        "text": truth["text"],
        "video_id": truth["id"],
        "labels": [truth["action"]],
        "words": truth["words"],
    }


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write JSON lines."""
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, separators=(",", ":")) + "\n")


# --- many cores ------------------------------------------------------------------------------------------------------


def in_parallel(make: Callable[[Any], T], tasks: list, workers: int | None) -> Generator[T, None, None]:
    """Yield ``make(task)`` for every task, in order, from several processes.

    A script that calls this with more than one worker needs the usual ``if __name__ == "__main__":``.
    """
    workers = min(workers or cores(), len(tasks))
    if workers == 1:
        yield from map(make, tasks)
        return
    ignore_ctrl_c = (signal.signal, (signal.SIGINT, signal.SIG_IGN))
    with ProcessPoolExecutor(workers, worker_processes(), *ignore_ctrl_c) as pool, ThreadPoolExecutor(1) as starter:
        try:
            # in a thread, for Ctrl-C here would leave processes half started, and they would complain
            yield from starter.submit(pool.map, make, tasks).result()
        finally:
            pool.shutdown(cancel_futures=True)

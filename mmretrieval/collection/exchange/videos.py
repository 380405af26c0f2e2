"""What an import does not say of its videos, from the files themselves: their content and how long they last."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from mmretrieval.collection.looking import hash_files
from mmretrieval.collection.workers import End, Workers
from mmretrieval.environment import cores
from mmretrieval.media.stills import STILL_SECONDS, is_still

TIME_LIMIT = 60.0
"""Seconds to find out how long a video lasts."""
MEMORY_LIMIT = 1 << 30


class Facts(NamedTuple):
    """What a file says of itself.

    Attributes:
        hash: The SHA-256 of its content; None if it cannot be read.
        duration: Its length in seconds; None if nobody knows, or nobody asked.
        reason: Why not.
    """

    hash: str | None = None
    duration: float | None = None
    reason: str = "it is not there"


NOTHING = Facts()


def look_up(paths: Iterable[str], lengths: Iterable[str], progress: bool) -> dict[str, Facts]:
    """Return what files say of themselves, by path; of ``lengths`` also how long they last.

    A picture has the length that it has wherever it is a video of one frame. Videos are opened in processes of their
    own, with limits. What is not there is left out.
    """
    paths, lengths = list(dict.fromkeys(paths)), set(lengths)
    hashes, unreadable = hash_files([path for path in paths if os.path.exists(path)], progress)
    facts = {path: Facts(digest, reason="") for path, digest in hashes.items()}
    facts |= {aside.path: Facts(reason=aside.reason.rstrip(".")) for aside in unreadable}
    for path in lengths:
        if is_still(Path(path)):
            facts[path] = facts.get(path, NOTHING)._replace(duration=STILL_SECONDS)
    videos = [path for path in hashes if path in lengths and not is_still(Path(path))]
    workers = Workers(measure, max(1, cores() // 2), TIME_LIMIT, MEMORY_LIMIT, ahead=len(videos) + 1)
    with closing(workers), closing(workers.run(videos)) as pieces:
        for path, said in pieces:
            if not isinstance(said, End):
                facts[path] = facts[path]._replace(duration=said)
            elif said.reason is not None:
                reason = said.reason.removeprefix(f"{path}: ").rstrip(".")
                facts[path] = facts[path]._replace(reason=reason)
    return facts


def measure(path: str) -> Iterator[float]:
    """Yield how long a video lasts, in whole milliseconds, rounded down: what is cut from it must not end after it."""
    from mmretrieval.media.video import open_video

    with open_video(path, "pyav") as reader:
        yield math.floor(reader.duration * 1000) / 1000

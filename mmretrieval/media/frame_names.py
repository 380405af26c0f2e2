"""How the frames of a folder are called: what tells a folder that is a video from any other. Loads nothing heavy."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mmretrieval.media.suffixes import STILL_SUFFIXES

FRAME_RATE = 25.0
"""Frames per second of a folder that nobody said more about: it has no rate of its own, and spans are in seconds."""

_NUMBERED = re.compile(r"(.*?)(\d+)")


def is_frame_folder(path: str | Path) -> bool:
    """Say whether a path is a folder with numbered pictures in it. Looks no further than the first one."""
    try:
        with os.scandir(path) as entries:
            return any(frame_number(entry.name) for entry in entries)
    except OSError:
        return False


def frame_number(name: str) -> tuple[str, int, str] | None:
    """Split the name of a picture into what stands before its number, the number and the suffix."""
    stem, suffix = os.path.splitext(name)
    found = _NUMBERED.fullmatch(stem)
    if name.startswith(".") or suffix.lower() not in STILL_SUFFIXES or found is None:
        return None
    return found[1], int(found[2]), suffix.lower()

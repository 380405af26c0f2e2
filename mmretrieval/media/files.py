"""What every media file is checked for before a decoder sees it, in one wording."""

from __future__ import annotations

from pathlib import Path

from mmretrieval.errors import MediaError

OVERRUN = 0.5
"""Seconds by which a span may end after its file: annotated ends are often rounded up."""


def check_file(path: str | Path) -> Path:
    """Return ``path`` if it is a file with something in it.

    Raises:
        MediaError: It does not exist, is a folder, is empty or cannot be opened.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise MediaError(f"{path}: is a folder, not a media file.")
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: the file is empty.")
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file.") from None
    except OSError as error:
        raise MediaError(f"{path}: cannot be opened ({error.strerror}).") from None
    return path


def check_span(path: str | Path, kind: str, start: float | None, end: float | None, duration: float) -> None:
    """Check that a span in seconds lies inside a medium.

    Args:
        path: The file, for the message.
        kind: ``"video"`` or ``"audio"``, for the message.
        start: First second, or None for the beginning.
        end: Last second, or None for the end.
        duration: Length of the medium in seconds.

    Raises:
        MediaError: The span is empty, begins before 0, or begins or ends after the medium.
    """
    check_order(path, start, end)
    if (start or 0.0) >= duration or (end is not None and end > duration + OVERRUN):
        asked = f"{start or 0.0:.1f} s onwards" if end is None else f"{start or 0.0:.1f}–{end:.1f} s"
        raise MediaError(f"{path}: asked for {asked}, the {kind} ends at {duration:.1f} s.")


def check_order(path: str | Path, start: float | None, end: float | None) -> None:
    """Check that a span does not begin before 0 and does not end before it begins.

    Raises:
        MediaError: It does.
    """
    if start is not None and start < 0:
        raise MediaError(f"{path}: asked to start at {start:.1f} s; a span starts at 0 or later.")
    if end is not None and end <= (start or 0.0):
        raise MediaError(f"{path}: asked for {start or 0.0:.1f}–{end:.1f} s; a span ends after it starts.")

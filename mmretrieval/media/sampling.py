"""Which frames of a clip are looked at. Plain NumPy; every answer is in playing order."""

from __future__ import annotations

import numpy as np


def uniform_indices(total: int, frames: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Choose one frame from each of ``frames`` equal segments of a clip: its centre, or any of it in training.

    When the clip has fewer frames than asked for, neighbours repeat.

    Args:
        total: Frames in the clip.
        frames: Frames to choose, T.
        rng: Draws the place inside each segment; None takes the centres.

    Returns:
        Indices (T,), never decreasing.
    """
    _check(total, frames)
    offsets = 0.5 if rng is None else rng.random(frames)
    # the clip guards against a draw so close to 1 that the sum rounds up to total
    return np.minimum(((np.arange(frames) + offsets) * total / frames).astype(np.int64), total - 1)


def dense_indices(total: int, frames: int, stride: float, rng: np.random.Generator | None = None) -> np.ndarray:
    """Choose ``frames`` frames, each ``stride`` after the one before: a window of the clip at a fixed rate.

    A window longer than the clip begins at its first frame and stays on its last one.

    Args:
        total: Frames in the clip.
        frames: Frames to choose, T.
        stride: Distance in frames; a fraction is allowed, e.g. 25/16 to see a 25 fps clip at 16 fps.
        rng: Draws where the window lies; None takes the middle of the clip.

    Returns:
        Indices (T,), never decreasing.
    """
    _check(total, frames)
    if not stride > 0:
        raise ValueError(f"a stride of {stride} frames was asked for; it must be above 0")
    reach = int((frames - 1) * stride)  # from the first frame of the window to its last
    room = max(0, total - 1 - reach)
    first = room // 2 if rng is None else int(rng.integers(room + 1))
    return np.minimum(first + (np.arange(frames) * stride).astype(np.int64), total - 1)


def span_indices(times: np.ndarray, start: float | None, end: float | None) -> np.ndarray:
    """Return the indices of the frames that begin inside [start, end) seconds; None leaves that side open.

    A span that lies between two frames gets the frame that is on screen when it starts.
    """
    if len(times) == 0:
        raise ValueError("a clip without frames has no span")
    first = 0 if start is None else int(np.searchsorted(times, start - _SAME_TIME))
    last = len(times) if end is None else int(np.searchsorted(times, end - _SAME_TIME))
    if first >= last:
        on_screen = int(np.searchsorted(times, start or 0.0, side="right")) - 1
        return np.array([max(0, on_screen)])
    return np.arange(first, last)


_SAME_TIME = 1e-4
"""Seconds below which two times are the same: presentation times are fractions, spans are written as decimals."""


def _check(total: int, frames: int) -> None:
    if total < 1 or frames < 1:
        raise ValueError(f"{frames} of {total} frames were asked for; both must be at least 1")

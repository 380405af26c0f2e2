"""Which frames of a clip are looked at. Plain NumPy; every answer counts frames from 0.

Two ways to look at a video, and the words that go with them:

- *uniform*: the video is cut into equal segments (groups), and each gives a frame, or ``per_group`` of them;
- *dense*: a window of frames that are ``stride`` apart, wherever it lies in the video;
- a *clip* is what a network takes at once, T frames; in evaluation a video may give several clips, and each of them
  several crops (see ``views.py``): clips × crops views.

"Published" below is the framework of "Deep Analysis of CNN-based Spatio-temporal Representations for Action
Recognition" (arXiv 2010.11757), whose samplers are reproduced to the frame; its own numbers count from 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Draws = np.random.Generator | np.random.RandomState
"""What may be drawn from; NumPy's old kind gives the draws of the published code."""


def uniform_indices(
    total: int, frames: int, rng: Draws | None = None, *, shared: bool = False, per_group: int = 1
) -> np.ndarray:
    """Choose one frame from each of ``frames`` equal segments of a clip: its centre, or any of it in training.

    When the clip has fewer frames than asked for, neighbours repeat.

    Args:
        total: Frames in the clip.
        frames: Frames to choose, T.
        rng: Draws the place inside each segment; None takes the centres.
        shared: Train as published: the place is drawn once and is the same in all segments, which are whole frames
            long (what is left over at the end is never seen). A clip with fewer frames than T gives T draws of any of
            its frames.
        per_group: With ``shared``, how many different frames to draw from each of T / ``per_group`` segments.

    Returns:
        Indices (T,), never decreasing.

    Raises:
        ValueError: Nothing can be chosen so.
    """
    _check(total, frames)
    if per_group < 1 or frames % per_group or (per_group > 1 and not shared):
        raise ValueError(
            f"{per_group} frames per group of {frames} were asked for; it must divide them, and be 1 unless shared"
        )
    if shared and rng is not None:
        return _same_place_everywhere(total, frames, per_group, rng)
    offsets = 0.5 if rng is None else rng.random(frames)
    # the clip guards against a draw so close to 1 that the sum rounds up to total
    return np.minimum(((np.arange(frames) + offsets) * total / frames).astype(np.int64), total - 1)


def _same_place_everywhere(total: int, frames: int, per_group: int, rng: Draws) -> np.ndarray:
    groups = frames // per_group
    length = total // groups
    if length < per_group:
        return np.sort(rng.choice(total, frames, replace=True)).astype(np.int64)
    places = rng.choice(length, per_group, replace=False)
    return np.sort((np.arange(groups)[:, None] * length + places).ravel()).astype(np.int64)


def dense_indices(
    total: int, frames: int, stride: float, rng: Draws | None = None, *, wrap: bool = False
) -> np.ndarray:
    """Choose ``frames`` frames, each ``stride`` after the one before: a window of the clip at a fixed rate.

    A window longer than the clip begins at its first frame and stays on its last one.

    Args:
        total: Frames in the clip.
        frames: Frames to choose, T.
        stride: Distance in frames; a fraction is allowed, e.g. 25/16 to see a 25 fps clip at 16 fps.
        rng: Draws where the window lies; None takes the middle of the clip.
        wrap: As published: the window takes T · ``stride`` frames of room, and one longer than the clip goes on from
            the clip's first frame.

    Returns:
        Indices (T,), never decreasing unless they wrap.

    Raises:
        ValueError: Nothing can be chosen so.
    """
    _check(total, frames, stride)
    if wrap:
        room = _room(total, frames, stride)
        first = room // 2 if rng is None or not room else int(rng.choice(room))
        return _window(total, frames, stride, first)
    reach = int((frames - 1) * stride)  # from the first frame of the window to its last
    room = max(0, total - 1 - reach)
    first = room // 2 if rng is None else int(rng.integers(room + 1))
    return np.minimum(first + (np.arange(frames) * stride).astype(np.int64), total - 1)


def uniform_clips(total: int, frames: int, clips: int = 1) -> np.ndarray:
    """Choose the frames of C clips to evaluate on: the centres of all segments, and frames beside them, as published.

    Clip by clip all frames are shifted by one more, symmetrically around the centres and never out of their segments.
    A video with no more frames than T gives T draws of them, other ones for each clip; the draws come from a generator
    of their own (the published code re-seeds the global one), so a video is always seen the same way.

    Returns:
        Indices (C, T), never decreasing inside a clip.
    """
    _check(total, frames)
    shifts = _shifts(clips)
    if total <= frames:
        draws = [np.random.RandomState(number).choice(total, frames, replace=True) for number in range(clips)]
        return np.sort(draws, axis=1).astype(np.int64)
    half = total / frames / 2
    places = half + np.where(shifts >= half, half - 1e-4, np.maximum(shifts, -half))
    return (places[:, None] + total / frames * np.arange(frames)).astype(np.int64)


def dense_clips(total: int, frames: int, stride: float, clips: int = 1) -> np.ndarray:
    """Choose the frames of C clips to evaluate on: windows spread evenly over the video, as published.

    A single clip begins at the first frame, not in the middle; one longer than the video begins again.

    Returns:
        Indices (C, T).
    """
    _check(total, frames, stride)
    _shifts(clips)
    starts = np.linspace(0, _room(total, frames, stride), clips, dtype=int)
    return np.stack([_window(total, frames, stride, first) for first in starts])


@dataclass(frozen=True)
class Sampling:
    """How a recognition network looks at a video, in training and in evaluation. Keep it with the weights.

    Attributes:
        kind: ``"uniform"`` or ``"dense"``.
        frames: Frames per clip, T.
        stride: Dense only: distance between frames.
        per_group: Uniform only: frames drawn from each segment in training. Evaluation looks at T segments all the
            same; the published code looks at T / ``per_group``, and so at shorter clips than it trained on.
        clips: Clips per video in evaluation, C.
    """

    kind: str = "uniform"
    frames: int = 8
    stride: float = 1
    per_group: int = 1
    clips: int = 1

    def __post_init__(self):
        if self.kind not in ("uniform", "dense"):
            raise ValueError(f"the sampling is '{self.kind}'; 'uniform' and 'dense' are allowed")
        if self.kind == "uniform" and self.stride != 1:
            raise ValueError(f"uniform sampling has no stride, got {self.stride}; 'dense' has one")
        if self.kind == "dense" and self.per_group != 1:
            raise ValueError(f"dense sampling has no groups, got {self.per_group} frames per group; 'uniform' has them")

    def train(self, total: int, rng: Draws) -> np.ndarray:
        """Draw the (T,) frames of a video of ``total`` frames to train on."""
        if self.kind == "dense":
            return dense_indices(total, self.frames, self.stride, rng, wrap=True)
        return uniform_indices(total, self.frames, rng, shared=True, per_group=self.per_group)

    def evaluate(self, total: int) -> np.ndarray:
        """Return the (C, T) frames of a video of ``total`` frames to evaluate on."""
        if self.kind == "dense":
            return dense_clips(total, self.frames, self.stride, self.clips)
        return uniform_clips(total, self.frames, self.clips)

    def describe(self, total: int, chosen: np.ndarray | None = None) -> str:
        """Say in one line which frames of a video of ``total`` frames are looked at in evaluation.

        ``chosen`` (C, T) are those frames where they are not what ``evaluate`` says.
        """
        chosen = self.evaluate(total) if chosen is None else chosen
        seen = len(np.unique(chosen))
        step = f", {self.stride:g} apart" if self.kind == "dense" else ""
        parts = [_listing(clip) for clip in chosen]
        shown = parts if len(parts) <= 3 else [parts[0], parts[1], "…", parts[-1]]
        short = any(len(np.unique(clip)) < self.frames for clip in chosen)
        return (
            f"{self.kind}, {self.clips} {'clip' if self.clips == 1 else 'clips'} of {self.frames} frames{step}: "
            f"{seen} of {total} frames, counted from 0: {'; '.join(shown)}"
            + (" (so short a video that frames repeat)" if short else "")
        )


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


def _room(total: int, frames: int, stride: float) -> int:
    """Return by how many frames a window of T · ``stride`` can be moved."""
    return max(0, int(total - frames * stride))


def _window(total: int, frames: int, stride: float, first: int) -> np.ndarray:
    return (first + (np.arange(frames) * stride).astype(np.int64)) % total


def _shifts(clips: int) -> np.ndarray:
    if clips < 1:
        raise ValueError(f"{clips} clips were asked for; at least 1 is needed")
    return np.arange(-clips // 2 + 1, clips // 2 + 1)


def _listing(indices: np.ndarray) -> str:
    if len(indices) <= 8:
        return ", ".join(map(str, indices))
    return f"{', '.join(map(str, indices[:3]))}, … {indices[-1]}"


def _check(total: int, frames: int, stride: float = 1) -> None:
    if total < 1 or frames < 1:
        raise ValueError(f"{frames} of {total} frames were asked for; both must be at least 1")
    if not stride > 0:
        raise ValueError(f"a stride of {stride} frames was asked for; it must be above 0")

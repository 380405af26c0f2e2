"""How a video becomes moments: windows of equal length, inside shots where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmretrieval.errors import CollectionError

WINDOW = 3.0
"""Seconds of a moment where nobody says otherwise."""

SHORTEST = 1.0
"""Seconds below which the rest of a video or a shot is no moment of its own."""

MILLISECONDS = 3
"""Digits after the point of a boundary: spans are written and compared as decimals."""


@dataclass(frozen=True)
class Cutting:
    """How videos are cut, and what of them is left out.

    Attributes:
        window: Seconds of a moment; a video or shot that is at most ``SHORTEST`` longer is one moment.
        stride: Seconds from the start of one moment to the next; None is ``window``: no gap, no overlap.
        shots: Let no moment reach over the boundary between two shots.
        keep_still: Keep near-black moments, and those that only repeat the still picture before them.

    Raises:
        CollectionError: A window or stride that nothing can be cut by.
    """

    window: float = WINDOW
    stride: float | None = None
    shots: bool = False
    keep_still: bool = False

    def __post_init__(self):
        if not SHORTEST <= self.window < float("inf"):
            raise CollectionError(f"a window lasts at least {SHORTEST:g} s, got {self.window:g} s")
        if self.stride is not None and not 0.1 <= self.stride < float("inf"):
            raise CollectionError(f"moments start at least 0.1 s apart, got a stride of {self.stride:g} s")

    @property
    def name(self) -> str:
        """What tells this way of cutting from others; moments remember it."""
        step = self.window if self.stride is None else self.stride
        parts = [f"{self.window:g} s every {step:g} s"]
        parts += ["inside shots"] if self.shots else []
        parts += ["still ones kept"] if self.keep_still else []
        return ", ".join(parts)

    def spans(self, duration: float, boundaries: Sequence[float] = ()) -> list[tuple[float, float]]:
        """Cut ``duration`` seconds into spans (start, end); ``boundaries`` are the seconds at which shots begin."""
        spans = []
        for start, end in _shots(duration, boundaries):
            inside = cut(end - start, self.window, self.stride)
            spans += [(_decimal(start + first), _decimal(start + last)) for first, last in inside]
        return spans


def cut(duration: float, window: float, stride: float | None = None) -> list[tuple[float, float]]:
    """Cut ``duration`` seconds into windows that start ``stride`` seconds apart; None is one after the other.

    What is not longer than a window and ``SHORTEST`` stays whole; a last window shorter than ``SHORTEST`` is dropped,
    and the first one that reaches the end is the last.
    """
    if duration <= window + SHORTEST:
        return [(0.0, duration)]
    step = window if stride is None else stride
    spans: list[tuple[float, float]] = []
    start = 0.0
    while start <= duration - SHORTEST and (not spans or spans[-1][1] < duration):
        spans.append((start, min(start + window, duration)))
        start = len(spans) * step
    return spans


def _shots(duration: float, boundaries: Sequence[float]) -> list[tuple[float, float]]:
    """Return the shots of a video; one shorter than ``SHORTEST`` goes with the next, the last with the one before."""
    edges = [0.0]
    for edge in sorted(boundaries):
        if edge - edges[-1] >= SHORTEST and duration - edge >= SHORTEST:
            edges.append(edge)
    return list(zip(edges, [*edges[1:], duration]))


def _decimal(seconds: float) -> float:
    return round(seconds, MILLISECONDS)

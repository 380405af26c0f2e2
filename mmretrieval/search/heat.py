"""``HeatMap``: how well each place of a video answers a query. Plain NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmretrieval.types import ClipSpec

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


class HeatMap(NamedTuple):
    """How well each place of a video answers a query.

    ``values`` (T, h, w) float32, higher is better; ``times`` (T,) seconds of the frames looked at; ``frame`` height and
    width of the video in pixels; ``seen``, left, top, right and bottom of what the model saw of it; ``offset``, where
    in its cell a place looks (0 its beginning, 0.5 its middle); ``name``, what was looked for.
    """

    values: np.ndarray
    times: np.ndarray
    frame: tuple[int, int]
    seen: Box
    offset: float
    name: str

    def peaks(self) -> np.ndarray:
        """Return (T, 2): x and y, in pixels of the video, of the hottest place of each frame."""
        rows, columns = cell_centres(self.seen, self.values.shape[1:], self.offset)
        places = [np.unravel_index(frame.argmax(), frame.shape) for frame in self.values]
        return np.array([(columns[column], rows[row]) for row, column in places])

    def upsample(self, times: Sequence[float] | None = None, size: tuple[int, int] | None = None) -> np.ndarray:
        """Return the heat of whole frames, linear between the places and the frames looked at: (n, H, W) float32.

        Args:
            times: Seconds of the frames wanted; None are those looked at.
            size: Height and width of the result; None is that of the video.
        """
        height, width = size or self.frame
        rows, columns = cell_centres(self.seen, self.values.shape[1:], self.offset)
        down = _between(rows, (np.arange(height) + 0.5) * self.frame[0] / height)
        across = _between(columns, (np.arange(width) + 0.5) * self.frame[1] / width)
        values = self.values if times is None else np.tensordot(_between(self.times, np.asarray(times)), self.values, 1)
        return np.einsum("yh,thw,xw->tyx", down, values, across, optimize=True).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return plain values: ``name``, ``times``, ``frame`` (height, width), ``peaks`` (x, y) and ``values``."""
        return {
            "name": self.name,
            "times": [round(float(time), 4) for time in self.times],
            "frame": list(self.frame),
            "peaks": [[round(float(x), 1), round(float(y), 1)] for x, y in self.peaks()],
            "values": [[[round(float(v), 5) for v in row] for row in frame] for frame in self.values],
        }


def seen_box(frame: tuple[int, int], clip: ClipSpec) -> Box:
    """Return what a model sees of frames of a height and width: the square in their middle, unless it squashes them."""
    height, width = frame
    sides = frame if clip.resize == "squash" else (min(frame), min(frame))
    tall, wide = (max(1, round(side * clip.crop)) for side in sides)
    top, left = (height - tall) // 2, (width - wide) // 2
    return left, top, left + wide, top + tall


def cell_centres(seen: Box, grid: Sequence[int], offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (h,) and columns (w,), in pixels of the frame, that the cells of a grid look at.

    Args:
        seen: What the model sees of the frame.
        grid: Cells down and across, h and w.
        offset: Where in its cell a place looks.
    """
    left, top, right, bottom = seen
    down, across = ((np.arange(cells) + offset) / cells for cells in grid)
    return top + down * (bottom - top), left + across * (right - left)


def _between(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the (n, k) matrix that interpolates linearly from ``known`` (k,) to ``wanted`` (n,), flat outside."""
    return np.stack([np.interp(wanted, known, row) for row in np.eye(len(known))], axis=1)

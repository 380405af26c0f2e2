"""Where one shot ends and the next begins, seen on small pictures.

Two measures between neighbouring pictures are taken together: how much their colours differ (histograms, which do not
mind motion) and how much their places differ (pixels, which do not mind a change of light that keeps the picture). A
cut changes both, at once and far more than the motion around it. Slow fades are left to the windows.
"""

from __future__ import annotations

import numpy as np

from mmretrieval.media.video import VideoReader

RATE = 10.0
"""Pictures per second that are compared; a boundary is placed to a tenth of a second."""

SIDE = 24
"""Height and width in pixels of what is compared."""

LEVELS = 8
"""Steps of each colour in a histogram."""

LEAST = 0.25
"""Difference, of at most 1, that two pictures on both sides of a cut have."""

ABOVE_MOTION = 3.0
"""How many times the typical difference around it that of a cut is."""

AROUND = 10
"""Neighbours on each side that say what is typical."""

AT_ONCE = 256
"""Pictures in memory."""


def find_shots(reader: VideoReader) -> list[float]:
    """Return the seconds at which a new shot begins, without the beginning of the video itself.

    Raises:
        MediaError: Not one frame of a stretch can be decoded.
    """
    chosen = np.arange(0, len(reader.times), max(1, round(reader.fps / RATE)))
    differences: list[float] = []
    last = None
    for first in range(0, len(chosen), AT_ONCE):
        part = reader.read(chosen[first : first + AT_ONCE], shape=_small)
        if last is not None:
            part = np.concatenate([last[None], part])
        differences += picture_differences(part).tolist()
        last = part[-1]
    return [float(reader.times[chosen[place + 1]]) for place in find_cuts(np.array(differences))]


def picture_differences(pictures: np.ndarray) -> np.ndarray:
    """Return how much each small picture (n, H, W, 3) uint8 differs from the one before: (n - 1,) from 0 to 1."""
    steps = pictures // (256 // LEVELS)
    colours = (steps[..., 0].astype(np.int64) * LEVELS + steps[..., 1]) * LEVELS + steps[..., 2]
    histograms = np.stack([np.bincount(picture.ravel(), minlength=LEVELS**3) for picture in colours])
    colour = np.abs(np.diff(histograms, axis=0)).sum(axis=1) / (2 * colours[0].size)
    place = np.abs(np.diff(pictures.astype(np.int16), axis=0)).mean(axis=(1, 2, 3)) / 255
    # a quarter of the full range is as different as pictures of different things are
    return (colour + np.minimum(1.0, 4 * place)) / 2


def find_cuts(differences: np.ndarray) -> list[int]:
    """Return the places (int) of the differences (n,) that are cuts: large, and far above those around them."""
    cuts = []
    for place in np.flatnonzero(differences >= LEAST):
        around = np.concatenate(
            [differences[max(0, place - AROUND) : place], differences[place + 1 : place + 1 + AROUND]]
        )
        if not len(around) or differences[place] >= ABOVE_MOTION * np.median(around):
            cuts.append(int(place))
    return cuts


def _small(frame: np.ndarray) -> np.ndarray:
    """Shrink a frame (H, W, 3) to (SIDE, SIDE, 3) by the mean of a few rows and columns of each cell."""
    height, width = frame.shape[:2]
    rows = (np.arange(2 * SIDE) + 0.5) * height / (2 * SIDE)
    columns = (np.arange(2 * SIDE) + 0.5) * width / (2 * SIDE)
    picked = frame[rows.astype(int)][:, columns.astype(int)]
    return picked.reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3)).astype(np.uint8)

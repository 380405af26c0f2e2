"""Moments in which there is nothing to see: near-black ones, and those that only repeat a still picture.

Both are judged on the very frames the model would look at. The thresholds are strict: what is dropped shows nothing
that the moment before it does not, and noise, grain or the smallest thing that moves keeps a moment.
"""

from __future__ import annotations

import numpy as np

DARK = 24
"""Brightness, of 255, up to which a pixel is black."""

LIT = 0.002
"""Share of brighter pixels that makes a frame worth seeing: a few street lamps are more."""

SAME = 12
"""Difference, of 255, that coding alone makes in a pixel of a picture that stands still."""


def is_black(frames: np.ndarray) -> bool:
    """Say whether all frames (T, C, H, W) uint8 are near-black."""
    lit = frames.max(axis=1) > DARK
    return bool((lit.mean(axis=(1, 2)) <= LIT).all())


def repeats(frames: np.ndarray, before: np.ndarray) -> bool:
    """Say whether all frames (T, C, H, W) uint8 show what the frame ``before`` them (C, H, W) shows."""
    return bool((np.abs(frames.astype(np.int16) - before) <= SAME).all())

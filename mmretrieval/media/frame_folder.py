"""A folder of numbered pictures as a video: how recognition data sets are handed out and kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mmretrieval.errors import MediaError
from mmretrieval.media.frame_names import FRAME_RATE, frame_number
from mmretrieval.media.pyav_frames import DAMAGED, Shape
from mmretrieval.media.stills import StillFrames


class FrameFolder:
    """The frames of a folder: ``00001.jpg``, ``00002.jpg`` … or any pictures whose names end in a number.

    They may be numbered from any number and in steps (every fifth); what is missing in between counts as damaged. Where
    more is missing than there, the numbers are taken for times, and the pictures follow each other without gaps.
    A damaged picture, or one of another size than the first that was read, is replaced by the nearest good one before
    it, else after it. Other files and hidden ones are passed over.

    Args:
        path: The folder.
        fps: Frames per second.

    Raises:
        MediaError: The folder holds no numbered pictures, or several series of them.
    """

    def __init__(self, path: Path, fps: float = FRAME_RATE):
        if not fps > 0:
            raise ValueError(f"a frame rate of {fps} was asked for; it must be above 0")
        self._path = path
        self._names = _in_order(path)
        self.times = np.arange(len(self._names)) / fps
        self.duration = len(self._names) / fps
        self.corrupt: set[int] = set()
        self._bad = {index for index, name in enumerate(self._names) if name is None}
        self._size: tuple[int, int] | None = None

    def read(self, wanted: list[int], shape: Shape) -> list[np.ndarray]:
        return [shape(self._shown(index)) for index in wanted]

    def close(self) -> None:
        pass

    def _shown(self, index: int) -> np.ndarray:
        """Return the frame at ``index``, or the one that stands in for it."""
        for other in (*range(index, -1, -1), *range(index + 1, len(self._names))):
            frame = self._load(other)
            if frame is not None:
                if other != index:
                    self.corrupt.add(index)
                return frame
        raise MediaError(f"{self._path}: not one of its pictures can be read: {DAMAGED}")

    def _load(self, index: int) -> np.ndarray | None:
        """Return the picture (H, W, 3) at ``index``; None if it cannot be used."""
        if index in self._bad:
            return None
        try:
            (frame,) = StillFrames(self._path / self._names[index]).read([0], lambda picture: picture)
        except MediaError:
            frame = None
        if frame is not None:
            self._size = self._size or frame.shape[:2]
        if frame is None or frame.shape[:2] != self._size:
            self._bad.add(index)
            return None
        return frame


def _in_order(path: Path) -> list[str | None]:
    """Return the names of the pictures in playing order; None where one is missing."""
    series: dict[tuple[str, str], dict[int, str]] = {}
    try:
        every = sorted(os.listdir(path))
    except OSError as error:
        raise MediaError(f"{path}: cannot be opened ({error.strerror}).") from None
    for name in every:
        if parts := frame_number(name):
            prefix, number, suffix = parts
            series.setdefault((prefix, suffix), {})[number] = name
    if not series:
        raise MediaError(f"{path}: holds no numbered pictures; as a video, it holds 00001.jpg, 00002.jpg and so on.")
    if len(series) > 1:
        kinds = ", ".join(sorted(f"{prefix}N{suffix}" for prefix, suffix in series))
        raise MediaError(f"{path}: holds several series of pictures: {kinds}. Leave one of them in it.")
    (names,) = series.values()
    numbers = sorted(names)
    step = int(np.gcd.reduce(np.diff(numbers))) if len(numbers) > 1 else 1
    places = range(numbers[0], numbers[-1] + 1, step)
    return [names.get(place) for place in places] if len(places) <= 2 * len(names) else [names[n] for n in numbers]

"""A picture as a clip of one frame, so that image–speech data and photographs go the way of videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmretrieval.errors import MediaError
from mmretrieval.media.pyav_frames import Shape
from mmretrieval.media.suffixes import STILL_SUFFIXES

STILL_SECONDS = 1.0
"""How long a picture stays on screen: it has no length of its own, and a span needs one."""


class StillFrames:
    """The one frame of a picture, by Pillow: upright as its EXIF data say, whatever its colours.

    Grey becomes RGB, what is transparent shows white (as on a page), of an animation the first picture is taken.
    FFmpeg reads pictures too, but not as they look: it shows the colours under what is transparent and does not
    mirror, and where a name has a ``%03d`` in it, it reads the numbered files beside it.

    Raises:
        MediaError: The file is no picture, or is damaged.
    """

    def __init__(self, path: Path):
        self.times = np.zeros(1)
        self.duration = STILL_SECONDS
        self.corrupt: set[int] = set()
        self._frame = _read(path)

    def read(self, wanted: list[int], shape: Shape) -> list[np.ndarray]:
        return [shape(self._frame) for _ in wanted]

    def close(self) -> None:
        pass


def is_still(path: Path) -> bool:
    """Say whether a file is a picture, by its name."""
    return path.suffix.lower() in STILL_SUFFIXES


def _read(path: Path) -> np.ndarray:
    """Return the upright picture (H, W, 3) uint8."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            return np.array(_opaque(_eight_bits(upright)))
    except Exception as error:  # a damaged picture makes Pillow's decoders raise anything
        reason = "is not a picture, or is damaged"
        if isinstance(error, Image.DecompressionBombError):
            reason = f"has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller"
        raise MediaError(f"{path}: {reason}.") from None


def _eight_bits(image):
    """Scale grey pictures of 16 bits; Pillow would cut them off at 255."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65_535) >> 8).astype(np.uint8))


def _opaque(image):
    """Return the picture as RGB, on white where it is transparent."""
    from PIL import Image

    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")

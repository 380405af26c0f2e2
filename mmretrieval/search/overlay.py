"""Heat-maps over the frames they are about: a strip as PNG, the moving picture as GIF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmretrieval.files import atomic_write
from mmretrieval.media.video import open_video
from mmretrieval.search.contact_sheet import INK, PAPER, SOFT, font_of, shortened

if TYPE_CHECKING:
    from mmretrieval.search.heat import HeatMap
    from mmretrieval.search.localize import Clip

SHORT_SIDE = 224
"""Shorter side of a frame on the strip, in pixels."""
GAP = 6
MARGIN = 16
TITLE = 40
TIME = 28
PER_ROW = 8
"""Frames side by side before a new row begins."""

DARK_BELOW, BRIGHT_FROM = 0.35, 0.85
"""Shares of the heat's range at which a frame is fully dark and fully lit."""
DIMMED = 0.42
"""Brightness of what is dark."""
GIF_MOST = 120
"""Frames of a GIF at most; a longer video is thinned out."""


def blend(pictures: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Light frames by heat: what is hot keeps its colours, what is cold turns grey and dark.

    A tint would vanish on things of its own colour, light does not.

    Args:
        pictures: (T, H, W, 3) uint8.
        heat: (T, H, W); coldest and hottest are those of the whole clip, so that frames compare.

    Returns:
        (T, H, W, 3) uint8; the pictures themselves where the heat is the same everywhere.
    """
    lowest, highest = float(heat.min()), float(heat.max())
    if highest - lowest < 1e-9 * max(1.0, abs(highest)):
        return pictures.copy()
    scaled = (heat - lowest) / (highest - lowest)
    light = np.clip((scaled - DARK_BELOW) / (BRIGHT_FROM - DARK_BELOW), 0, 1).astype(np.float32)[..., None]
    grey = pictures.astype(np.float32).mean(axis=-1, keepdims=True) * DIMMED
    return (pictures * light + grey * (1 - light)).round().astype(np.uint8)


def strip_size(frames: int, height: int, width: int) -> tuple[int, int]:
    """Return width and height in pixels of the PNG of ``frames`` frames of that height and width."""
    height, width = _shown(height, width)
    columns, rows = min(frames, PER_ROW), -(-frames // PER_ROW)
    return 2 * MARGIN + columns * (width + GAP) - GAP, TITLE + rows * (height + TIME) + MARGIN


def overlay_png(
    heat: HeatMap, pictures: np.ndarray, out: str | Path, boxes: Sequence[tuple | None] | None = None
) -> None:
    """Draw the frames that were looked at side by side, heat over them, a ring at the hottest place of each.

    Args:
        heat: What ``localize`` found.
        pictures: (T, H, W, 3) uint8, the frames it is about, at any scale.
        out: File to write.
        boxes: Left, top, right, bottom in pixels of the video, of each frame's right answer, where there is one.

    Raises:
        StorageError: The disk is full or refuses to be written.
    """
    from PIL import Image, ImageDraw

    shown = _shown(*pictures.shape[1:3])
    pictures = np.stack([_resized(picture, shown) for picture in pictures])
    laid = blend(pictures, heat.upsample(size=shown))
    scale = np.array([shown[1] / heat.frame[1], shown[0] / heat.frame[0]])
    sheet = Image.new("RGB", strip_size(len(laid), *shown), PAPER)
    draw = ImageDraw.Draw(sheet)
    title = font_of(18, bold=True)
    draw.text((MARGIN, 10), shortened(heat.name, title, sheet.width - 2 * MARGIN), INK, title)
    for number, (picture, peak, time) in enumerate(zip(laid, heat.peaks() * scale, heat.times, strict=True)):
        row, column = divmod(number, PER_ROW)
        left, top = MARGIN + column * (shown[1] + GAP), TITLE + row * (shown[0] + TIME)
        frame = Image.fromarray(picture)
        pen = ImageDraw.Draw(frame)
        if boxes is not None and boxes[number] is not None:
            pen.rectangle([*(np.asarray(boxes[number]) * np.tile(scale, 2))], outline=(255, 255, 255), width=2)
        _ring(pen, peak, shown)
        sheet.paste(frame, (left, top))
        draw.text((left + 2, top + shown[0] + 5), f"{time:.2f} s", SOFT, font_of(14))
    picture = io.BytesIO()
    sheet.save(picture, "PNG", optimize=True)
    atomic_write(out, picture.getvalue())


def overlay_gif(heat: HeatMap, frames: np.ndarray, times: np.ndarray, out: str | Path, fps: float) -> None:
    """Write the whole span as a moving picture, heat between the frames that were looked at interpolated.

    Args:
        heat: What ``localize`` found.
        frames: (n, H, W, 3) uint8, all frames of the span, at any scale.
        times: (n,) seconds of these frames.
        out: File to write.
        fps: Frames per second.

    Raises:
        StorageError: The disk is full or refuses to be written.
    """
    from PIL import Image

    if len(frames) != len(times):
        raise ValueError(f"{len(frames)} frames need as many times, got {len(times)}")
    laid = blend(frames, heat.upsample(times, frames.shape[1:3]))
    pictures = [Image.fromarray(picture) for picture in laid]
    moving = io.BytesIO()
    pictures[0].save(
        moving, "GIF", save_all=True, append_images=pictures[1:], duration=max(20, round(1000 / fps)), loop=0
    )
    atomic_write(out, moving.getvalue())


def _shown(height: int, width: int) -> tuple[int, int]:
    """Return height and width at which a frame is drawn."""
    scale = SHORT_SIDE / min(height, width)
    return round(height * scale), round(width * scale)


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _ring(pen, peak: np.ndarray, shown: tuple[int, int]) -> None:
    """Mark the hottest place by a ring that lies wholly inside the frame."""
    radius = max(4, min(shown) // 28)
    x, y = np.clip(peak, radius + 1, np.array(shown[::-1]) - radius - 2)
    for grow, colour in ((1, (20, 20, 20)), (0, (255, 255, 255))):
        pen.ellipse([x - radius - grow, y - radius - grow, x + radius + grow, y + radius + grow], None, colour, 2)


def draw(heat: HeatMap, clip: Clip, video: str | Path, out: str | Path) -> None:
    """Draw what ``Localizer.heat`` found in a clip: a .png of the frames looked at, or a .gif of the whole video.

    Raises:
        MediaError: The video can no longer be read.
        StorageError: The disk is full or refuses to be written.
    """
    if Path(out).suffix.lower() != ".gif":
        overlay_png(heat, clip.pictures, out)
        return
    with open_video(video, "pyav") as reader:
        count = len(reader.times)
        chosen = np.unique(np.linspace(0, count - 1, min(count, GIF_MOST)).round().astype(int))
        frames, fps = reader.read(chosen, at_most=SHORT_SIDE), len(chosen) / reader.duration
        overlay_gif(heat, frames, reader.times[chosen], out, fps)

"""A picture of what a search found: one row per query, its best moments as film strips."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmretrieval.errors import MMRetrievalError
from mmretrieval.files import atomic_write
from mmretrieval.shown import one_line
from mmretrieval.types import Hit

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

HITS = 5
FRAMES = 3
FRAME = 112
"""Height and width of a frame on the sheet, in pixels."""

PERFORATION = 14
GAP = 3
STRIP_WIDTH = FRAMES * FRAME + (FRAMES + 1) * GAP
STRIP_HEIGHT = FRAME + 2 * PERFORATION
FRAME_WIDTH = 5
BETWEEN = 26
MARGIN = 40
TITLE = 58
CAPTION = 56
SPACE = 30
ROW = TITLE + STRIP_HEIGHT + CAPTION + SPACE
LEAST_COLUMNS = 3
"""So that a query has room for its words where there are few answers."""

PAPER = (250, 250, 247)
INK = (28, 30, 34)
SOFT = (120, 124, 130)
LINE = (226, 226, 220)
FILM = (24, 25, 28)
HOLE = (238, 238, 233)
RIGHT = (22, 158, 84)
MISSING = (196, 196, 190)


def contact_sheet(rows: Sequence[tuple[str, Sequence[Hit], str | None]], out_png: str | Path) -> None:
    """Draw queries and their answers as a PNG.

    Every query shows its text and its five best moments, each as a strip of its first, middle and last frame with
    rank, file, time and score. The right answer, where there is one, stands in a green frame.

    Args:
        rows: Query, its hits, and the id of the right moment or None.
        out_png: File to write.

    Raises:
        StorageError: The disk is full or refuses to be written.
    """
    from PIL import Image, ImageDraw

    columns = max([LEAST_COLUMNS, *(min(len(hits), HITS) for _, hits, _ in rows)])
    width = 2 * MARGIN + columns * STRIP_WIDTH + (columns - 1) * BETWEEN
    sheet = Image.new("RGB", (width, SPACE + len(rows) * ROW), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (query, hits, right) in enumerate(rows):
        top = SPACE + number * ROW
        if number:
            draw.line([(MARGIN, top - SPACE // 2), (width - MARGIN, top - SPACE // 2)], LINE, 1)
        _draw_title(draw, query, hits, right, top, width)
        for column, hit in enumerate(hits[:HITS]):
            left = MARGIN + column * (STRIP_WIDTH + BETWEEN)
            _draw_hit(sheet, draw, hit, hit.id == right, left, top + TITLE)
    picture = io.BytesIO()
    sheet.save(picture, "PNG", optimize=True)
    atomic_write(out_png, picture.getvalue())


def _draw_title(draw: ImageDraw, query: str, hits: Sequence[Hit], right: str | None, top: int, width: int) -> None:
    verdict = _verdict(hits, right)
    verdict_font = font_of(17)
    space = verdict_font.getlength(verdict)
    font = font_of(24, bold=True)
    title = shortened(" ".join(query.split()), font, width - 2 * MARGIN - space - 40)
    draw.text((MARGIN, top + 8), title, INK, font)
    found = right is not None and any(hit.id == right for hit in hits[:HITS])
    draw.text((width - MARGIN - space, top + 14), verdict, RIGHT if found else SOFT, verdict_font)


def _verdict(hits: Sequence[Hit], right: str | None) -> str:
    if not hits:
        return "nothing found"
    if right is None:
        return ""
    rank = next((hit.rank for hit in hits if hit.id == right), None)
    if rank is None:
        return f"right answer not among the first {len(hits)}"
    return f"right answer at rank {rank}"


def _draw_hit(sheet: Image, draw: ImageDraw, hit: Hit, right: bool, left: int, top: int) -> None:
    if right:
        box = [
            left - FRAME_WIDTH,
            top - FRAME_WIDTH,
            left + STRIP_WIDTH + FRAME_WIDTH,
            top + STRIP_HEIGHT + FRAME_WIDTH,
        ]
        draw.rounded_rectangle(box, 9, RIGHT)
    draw.rounded_rectangle([left, top, left + STRIP_WIDTH, top + STRIP_HEIGHT], 5, FILM)
    for edge in (top + 4, top + STRIP_HEIGHT - PERFORATION + 4):
        for x in range(left + 7, left + STRIP_WIDTH - 9, 17):
            draw.rounded_rectangle([x, edge, x + 8, edge + 6], 2, HOLE)
    frames = _frames(hit)
    first = (left + GAP, top + PERFORATION)
    if frames is None:
        draw.rectangle([*first, left + STRIP_WIDTH - GAP - 1, first[1] + FRAME - 1], MISSING)
        middle = (left + STRIP_WIDTH / 2, top + STRIP_HEIGHT / 2)
        draw.text(middle, "file cannot be read", INK, font_of(15), anchor="mm")
    else:
        for place, frame in enumerate(frames):
            sheet.paste(_fit(frame), (first[0] + place * (FRAME + GAP), first[1]))
    _draw_caption(draw, hit, right, left, top + STRIP_HEIGHT + FRAME_WIDTH + 6)


def _draw_caption(draw: ImageDraw, hit: Hit, right: bool, left: int, top: int) -> None:
    bold, plain = font_of(17, bold=True), font_of(15)
    score = f"{hit.score:.3f}"
    draw.text((left + 2, top), f"{hit.rank}", RIGHT if right else INK, bold)
    draw.text((left + STRIP_WIDTH - 2, top + 1), score, INK, plain, anchor="ra")
    offset = 12 + bold.getlength(f"{hit.rank}")
    space = STRIP_WIDTH - offset - plain.getlength(score) - 20
    draw.text((left + offset, top + 1), shortened(Path(hit.path).name, plain, space), INK, plain)
    draw.text((left + offset, top + 21), _span(hit), SOFT, font_of(13))


def _frames(hit: Hit) -> np.ndarray | None:
    """Return first, middle and last frame of a moment (n, H, W, 3) uint8, or None if its file cannot be read."""
    from mmretrieval.media.sampling import span_indices
    from mmretrieval.media.video import open_video

    try:
        with open_video(hit.path, "pyav") as video:
            inside = span_indices(video.times, hit.start, hit.end)
            return video.read([inside[0], inside[len(inside) // 2], inside[-1]], at_most=2 * FRAME)
    except (MMRetrievalError, OSError, IndexError):
        return None


def _fit(frame: np.ndarray) -> Image:
    """Return a frame as a square: the middle of it, not squeezed."""
    from PIL import Image, ImageOps

    return ImageOps.fit(Image.fromarray(frame), (FRAME, FRAME), Image.Resampling.LANCZOS)


def _span(hit: Hit) -> str:
    """Return "4.0 – 7.0 s", or "1:04.0 – 1:07.0" where minutes are needed."""
    if hit.end < 60:
        return f"{hit.start:.1f} – {hit.end:.1f} s"
    minutes = [divmod(round(seconds, 1), 60) for seconds in (hit.start, hit.end)]
    return " – ".join(f"{int(minute)}:{rest:04.1f}" for minute, rest in minutes)


def shortened(text: str, font: FreeTypeFont, space: float) -> str:
    """Return ``text``, or as much of its beginning as fits into ``space`` pixels, with an ellipsis."""
    text = one_line(text)
    if font.getlength(text) <= space:
        return text
    while text and font.getlength(text + "…") > space:
        text = text[:-1]
    return text.rstrip() + "…"


@functools.cache
def font_of(size: int, bold: bool = False) -> FreeTypeFont:
    """Return DejaVu Sans as matplotlib ships it: the same letters on every machine, Cyrillic and Greek among them."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)

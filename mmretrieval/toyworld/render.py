"""From a scene to frames: paste the scenery, the things and what covers them, frame after frame."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from mmretrieval.toyworld.scene import FPS, SIZE, Scene, Thing
from mmretrieval.toyworld.scenery import MARGIN, REEL, paint_setting, reel
from mmretrieval.toyworld.sprites import sprite
from mmretrieval.toyworld.sprites.raster import TURN_STEP

Box = tuple[int, int, int, int] | None
"""Left, top, right, bottom in pixels, right and bottom exclusive; None when the thing is not visible."""

SEEN = 0.12
"""Less opaque than this counts as not visible."""


def render(scene: Scene) -> tuple[np.ndarray, list[list[Box]]]:
    """Draw a scene.

    Returns:
        Frames (T, H, W, 3) uint8, and for each thing its box in every frame. A box encloses the whole thing, also
        where something in front of it covers a part; it is cut at the frame's edge.
    """
    cover = paint_setting(scene.setting, scene.look).cover
    lit = np.array([[min(255, round(value * gain)) for value in range(256)] for gain in scene.light], np.uint8)
    frames = np.empty((scene.frames, SIZE, SIZE, 3), np.uint8)
    boxes: list[list[Box]] = [[] for _ in scene.things]
    for t, (cx, cy) in enumerate(scene.camera):
        part, frame = divmod(scene.first + t, REEL)
        backdrop = reel(scene.setting, scene.look, part)[frame]
        canvas = backdrop.crop((MARGIN + cx, MARGIN + cy, MARGIN + cx + SIZE, MARGIN + cy + SIZE))
        for thing, track in zip(scene.things, boxes, strict=True):
            track.append(_paste(canvas, thing, t / max(scene.frames - 1, 1), (cx, cy)))
        if scene.cover is not None:
            canvas.paste(cover, (scene.cover - cover.width // 2 - round(1.3 * cx), SIZE + 6 - cover.height - cy), cover)
        frames[t] = np.asarray(canvas)
    for channel, table in enumerate(lit):  # all frames at once: a table costs Pillow more to take than to apply
        frames[..., channel] = table[frames[..., channel]]
    return frames, boxes


def _paste(canvas: Image.Image, thing: Thing, moment: float, camera: tuple[int, int]) -> Box:
    """Draw one thing at one moment and return its box."""
    pose = thing.pose(moment)
    if pose.opacity < SEEN:
        return None
    turn = round(pose.angle / TURN_STEP) * TURN_STEP % 360
    colours, mask = sprite(thing.kind, thing.colour, max(4, round(thing.size * pose.scale)), thing.facing < 0, turn)
    left = round(pose.x - mask.width / 2) - camera[0]
    top = round(pose.y - mask.height / 2) - camera[1]
    if pose.opacity < 1:
        mask = mask.point([round(value * pose.opacity) for value in range(256)])
    canvas.paste(colours, (left, top), mask)
    box = (max(left, 0), max(top, 0), min(left + mask.width, SIZE), min(top + mask.height, SIZE))
    return box if box[2] > box[0] and box[3] > box[1] else None


class Film:
    """Frames becoming an H.264 MP4, the same bytes every time; written to disk in one piece at the end."""

    def __init__(self, path: Path):
        import av
        from av.video.reformatter import VideoReformatter

        self._path = path
        self._frame = av.VideoFrame
        self._to_yuv = VideoReformatter()  # kept: setting one up costs more than using it
        self._memory = io.BytesIO()  # so that a full disk is Python's own error, not FFmpeg's
        self._container = av.open(self._memory, "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=FPS)
        self._stream.width = self._stream.height = SIZE
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.gop_size = FPS
        self._stream.codec_context.thread_count = 1  # several threads cut the picture differently
        self._stream.options = {"preset": "ultrafast", "crf": "23", "threads": "1"}

    def __enter__(self) -> Film:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()
        if kind is None:
            self._path.write_bytes(self._memory.getbuffer())

    def add(self, frames: np.ndarray) -> None:
        """Append frames (T, H, W, 3) uint8."""
        for pixels in frames:
            frame = self._frame.from_ndarray(pixels, format="rgb24")
            self._container.mux(self._stream.encode(self._to_yuv.reformat(frame, format="yuv420p", threads=1)))

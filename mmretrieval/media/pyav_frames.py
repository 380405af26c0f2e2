"""Frames by PyAV: any container FFmpeg knows, the good part of broken files, and which frames are damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmretrieval.errors import MediaError
from mmretrieval.media.opening import open_alone

if TYPE_CHECKING:
    import av

SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers, by FFmpeg's name, with an index good enough to seek by; others are read from the start."""

_NO_VIDEOS = frozenset({"tty"})
"""What FFmpeg would play all the same: text as a terminal."""

DAMAGED = "the file is damaged. Replace it or leave it out."

_WORTH_A_SEEK = 8
"""Frames that are decoded and dropped rather than jumped over."""

Shape = Callable[[np.ndarray], np.ndarray]
"""Brings one upright frame (H, W, 3) to its final size."""


class Table(NamedTuple):
    """All packets of the video track that are shown, in presentation order."""

    pts: np.ndarray  # (n,) in units of the track's time base
    times: np.ndarray  # (n,) seconds from the first
    duration: float
    keys_up_to: np.ndarray  # (n,) index of the last key frame that is shown no later
    leading: bool  # some frame is shown before a key frame that precedes it in the file
    seekable: bool


def scan(path: Path) -> Table | None:
    """Read the times of all frames without decoding them; None where the packets do not tell."""
    rows, end_of_key, leading = [], None, False
    with open_container(path) as container:
        stream = container.streams.video[0]
        for packet in _packets(container, stream):
            if packet.pts is None:
                return None
            if packet.is_discard:
                continue
            if packet.is_keyframe:
                end_of_key = packet.pts
            leading |= end_of_key is not None and packet.pts < end_of_key
            rows.append((packet.pts, packet.is_keyframe, packet.duration or 0))
        base, rate = stream.time_base, stream.average_rate
        seekable = container.format.name in SEEKABLE
        if container.format.name == "avi":
            return None  # an AVI file stores the order of decoding only; its "presentation times" are made up
    if not rows or len({row[0] for row in rows}) != len(rows):
        return None
    rows.sort()
    pts = np.array([row[0] for row in rows], dtype=np.int64)
    times = (pts - pts[0]) * float(base)
    last = rows[-1][2] * float(base) or _typical_gap(times, rate)
    keys = np.maximum.accumulate([number if row[1] else 0 for number, row in enumerate(rows)])
    return Table(pts, times, float(times[-1] + last), keys, leading, seekable)


class _Way(NamedTuple):
    """How to find frames: jumping to key frames or not; by counting or by presentation time."""

    seek: bool = False
    count: bool = False


class PyAVFrames:
    """Frames by PyAV. Opens the file anew for every read: nothing is held, nothing leaks."""

    def __init__(self, path: Path):
        self._path = path
        self._table = scan(path)
        self.corrupt: set[int] = set()
        if self._table is not None:
            self.times, self.duration = self._table.times, self._table.duration
        else:
            self.times, self.duration = self._count()

    def read(self, wanted: list[int], shape: Shape) -> list[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        ways = [_Way(seek=False, count=True)]
        if self._table is not None:
            ways = [_Way(seek=self._table.seekable), _Way(), *ways]
        for way in ways:  # the careful ways are for files in which the quick one misses something
            missing = [index for index in wanted if index not in found]
            # counting is a last resort: where a frame is lost, all after it would be taken for their neighbours
            if missing and not (way.count and found):
                self._walk(missing, shape, found, way)
        if not found:
            raise MediaError(f"{self._path}: none of frames {wanted[0]}–{wanted[-1]} can be decoded: {DAMAGED}")
        self.corrupt.update(index for index in wanted if index not in found)
        return [found[_nearest(found, index)] for index in wanted]

    def close(self) -> None:
        pass

    def _walk(self, wanted: list[int], shape: Shape, found: dict[int, np.ndarray], way: _Way) -> None:
        """Decode until all wanted frames are found."""
        convert = Upright()
        left = sorted(wanted, reverse=True)
        with open_container(self._path) as container:
            stream = container.streams.video[0]
            key = self._jump(container, stream, 0, left[-1], 0) if way.seek else 0
            for index, frame in self._indexed(container, stream, way.count):
                while left and left[-1] < index:  # the decoder did not give that frame
                    left.pop()
                if left and left[-1] == index:
                    left.pop()
                    found[index] = shape(convert(frame))
                    if frame.is_corrupt:
                        self.corrupt.add(index)
                if not left:
                    return
                if way.seek:
                    key = self._jump(container, stream, index, left[-1], key)

    def _jump(
        self, container: av.container.InputContainer, stream: av.VideoStream, after: int, target: int, last: int
    ) -> int:
        """Seek to the last key frame up to ``target`` if it lies far enough behind frame ``after`` to be worth it.

        Returns the key frame of the last jump, which is never jumped to twice: a file in which seeking lands too
        early would be read in circles.
        """
        key = int(self._table.keys_up_to[target])
        if key <= max(after + _WORTH_A_SEEK, last):
            return last
        container.seek(int(self._table.pts[key]), stream=stream, backward=True)
        return key

    def _indexed(
        self, container: av.container.InputContainer, stream: av.VideoStream, counted: bool
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield frames with their index: by presentation time, or by counting where packets do not tell it."""
        for number, frame in enumerate(_frames(container, stream)):
            if counted:
                yield number, frame
            elif frame.pts is not None:
                index = int(np.searchsorted(self._table.pts, frame.pts))
                if index < len(self._table.pts) and self._table.pts[index] == frame.pts:
                    yield index, frame

    def _count(self) -> tuple[np.ndarray, float]:
        """Decode the whole file to learn how many frames it has and when they are shown."""
        with open_container(self._path) as container:
            stream = container.streams.video[0]
            shown = [frame.time for frame in _frames(container, stream)]
            rate = stream.average_rate
        if not shown:
            raise MediaError(f"{self._path}: not one frame can be decoded: {DAMAGED}")
        if None in shown or (np.diff(shown) <= 0).any():
            times = np.arange(len(shown)) / float(rate or 25)
        else:
            times = np.array(shown) - shown[0]
        return times, float(times[-1] + _typical_gap(times, rate))


class Upright:
    """Decoded frame to upright RGB, by the conversion decord uses (bicubic chroma), so that both agree exactly."""

    def __init__(self):
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()  # kept: building its tables costs more than using them

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        rgb = self._reformatter.reformat(frame, format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
        # the rotation flag counts counter-clockwise, as rot90 does
        return np.ascontiguousarray(np.rot90(rgb, int((frame.rotation + 45) // 90) % 4))


def open_container(path: Path) -> av.container.InputContainer:
    """Open with PyAV; the first video track is ready to be decoded by one thread."""
    import av

    try:
        container = open_alone(path)
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(f"{path}: is not a video, or is damaged ({_reason(error)}).") from None
    if container.format.name in _NO_VIDEOS:
        container.close()
        raise MediaError(f"{path}: is not a video.")
    if not container.streams.video:
        container.close()
        raise MediaError(f"{path}: has no video track.")
    context = container.streams.video[0].codec_context
    context.thread_type, context.thread_count = "NONE", 1
    return container


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """Yield the packets of a track until the file ends or breaks off."""
    import av

    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.error.FFmpegError:
        return


def _frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Yield the frames of a track, stepping over packets that cannot be decoded. The container may seek meanwhile."""
    import av

    for packet in _packets(container, stream):
        try:
            yield from stream.decode(packet)
        except av.error.FFmpegError:
            continue
    try:
        yield from stream.decode(None)
    except av.error.FFmpegError:
        return


def _nearest(found: dict[int, np.ndarray], index: int) -> int:
    """Return the nearest found index, an earlier one if there is one."""
    earlier = [other for other in found if other <= index]
    return max(earlier) if earlier else min(found)


def _typical_gap(times: np.ndarray, rate: object) -> float:
    if len(times) > 1:
        return float(np.median(np.diff(times)))
    return 1 / float(rate) if rate else 0.04


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()

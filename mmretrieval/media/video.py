"""Video files to frames: two readers behind one face that give the same upright frame for the same index.

decord is the reader for training: short clips, one key frame, everything in C++. PyAV is the reader for collections:
it reads any container FFmpeg knows, says which frames are damaged and keeps the good part of a broken file.

Measured on files of every kind, decord returns wrong frames after seeking in some of them (open groups of pictures,
edit lists, MPEG transport streams). So its reader takes only files in which it cannot go wrong, and hands the others
to PyAV; see ``_decord_is_exact``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from mmretrieval.errors import MediaError, UnknownNameError, did_you_mean
from mmretrieval.media.files import check_file

if TYPE_CHECKING:
    import av

BACKENDS = ("decord", "pyav")

_SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers, by FFmpeg's name, with an index good enough to seek by; others are read from the start."""

_DAMAGED = "can be decoded: the file is damaged. Replace it or leave it out."

_WORTH_A_SEEK = 8
"""Frames that are decoded and dropped rather than jumped over."""

Shape = Callable[[np.ndarray], np.ndarray]


class VideoInfo(NamedTuple):
    """What a video is: upright size in pixels, number of frames, length in seconds, mean frames per second."""

    width: int
    height: int
    frames: int
    duration: float
    fps: float


class VideoReader:
    """A video open for reading by frame index; a context manager.

    Attributes:
        path: The file.
        times: (frames,) seconds at which each frame comes on screen, from 0 for the first one.
        duration: Seconds until the last frame leaves the screen.
        corrupt: Indices, among the frames read so far, that the decoder flagged as damaged or could not give; their
            place is taken by what it made of them, or by the nearest earlier frame. Only PyAV notices.
    """

    def __init__(self, path: Path, source: _Source, size: tuple[int, int] | None):
        self.path = path
        self.times = source.times
        self.duration = source.duration
        self.corrupt: set[int] = source.corrupt
        self._source = source
        self._size = size

    @functools.cached_property
    def info(self) -> VideoInfo:
        """Size, frames, duration and mean frame rate. The first call decodes one frame."""
        height, width = self.read([0]).shape[1:3]
        return VideoInfo(width, height, len(self.times), self.duration, self.fps)

    @property
    def fps(self) -> float:
        """Mean frames per second."""
        return len(self.times) / self.duration

    def read(self, indices: Sequence[int] | np.ndarray, at_most: int | None = None) -> np.ndarray:
        """Return frames in the order asked for; an index may repeat.

        Args:
            indices: (n,) frame indices.
            at_most: Shrink frames whose shorter side is longer than this to it, as they are decoded: eight frames of
                a 4K video then never lie in memory at once.

        Returns:
            (n, H, W, 3) uint8 RGB, upright.

        Raises:
            IndexError: An index that the video does not have.
            MediaError: Not one of the frames can be decoded.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if indices.ndim != 1 or not len(indices):
            raise ValueError(f"frame indices have shape {indices.shape}; a non-empty list is needed")
        if indices.min() < 0 or indices.max() >= len(self.times):
            raise IndexError(
                f"{self.path}: asked for frames {indices.min()}–{indices.max()} of {len(self.times)}, counted from 0"
            )
        wanted, place = np.unique(indices, return_inverse=True)
        frames = self._source.read(wanted.tolist(), functools.partial(_shape, size=self._size, at_most=at_most))
        return np.stack(frames)[place]

    def close(self) -> None:
        """Let go of the file and of the decoder's memory."""
        self._source.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exc) -> None:
        self.close()


def open_video(path: str | Path, backend: str = "decord", *, size: tuple[int, int] | None = None) -> VideoReader:
    """Open a video file for reading frames by index.

    Args:
        path: The file.
        backend: ``"decord"`` or ``"pyav"``. With ``"decord"``, a file that it might misread is read by PyAV.
        size: Height and width of the frames; None keeps those of the file.

    Raises:
        MediaError: The file is missing, empty, damaged beyond use, not a video, or has no video track.
        UnknownNameError: No such backend.
    """
    if backend not in BACKENDS:
        raise UnknownNameError(
            f"unknown video reader '{backend}'.{did_you_mean(backend, BACKENDS)} Known: {', '.join(BACKENDS)}."
        )
    path = check_file(path)
    source = _open_decord(path) if backend == "decord" else None
    return VideoReader(path, source or _PyAV(path), size)


class _Source(Protocol):
    times: np.ndarray
    duration: float
    corrupt: set[int]

    def read(self, wanted: list[int], shape: Shape) -> list[np.ndarray]: ...

    def close(self) -> None: ...


def _shape(frame: np.ndarray, size: tuple[int, int] | None, at_most: int | None) -> np.ndarray:
    """Bring one frame (H, W, 3) to its final size."""
    height, width = frame.shape[:2]
    if size is not None:
        height, width = size
    if at_most is not None and min(height, width) > at_most:
        scale = at_most / min(height, width)
        height, width = round(height * scale), round(width * scale)
    if (height, width) == frame.shape[:2]:
        return frame
    from mmretrieval.media.transforms import resize

    return resize(frame[None], height, width)[0].permute(1, 2, 0).numpy()


# ---------------------------------------------------------------------------------------------------- decord


def _open_decord(path: Path) -> _Decord | None:
    """Open with decord; None where it fails or might give wrong frames."""
    with _open_container(path) as container:  # half a millisecond for a clear message about what is no video
        if container.format.name not in _SEEKABLE:
            return None
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        source = _Decord(path)
    except (decord.DECORDError, RuntimeError, AssertionError):
        return None
    return source if _decord_is_exact(path, source) else None


def _decord_is_exact(path: Path, source: _Decord) -> bool:
    """Say whether decord's frame i is the i-th frame on screen, whichever frames were read before.

    It is where presentation times are sound and start at 0 and decord never has to seek (a single key frame), or no
    frame after a key frame is shown before it. The second needs a look at all packets, so the first is tried before.
    """
    times = source.times
    if not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) <= 0).any():
        return False
    if source.key_frames == [0]:
        return True
    table = _scan(path)
    if table is None or len(table.pts) != len(times) or table.leading:
        return False
    return bool(np.abs(table.times - times).max() < 1e-3)


class _Decord:
    """Frames by decord."""

    def __init__(self, path: Path):
        import decord

        self._path = path
        # one thread: loader workers are the parallelism, and a clip is too short to share
        self._reader = decord.VideoReader(str(path), num_threads=1)
        spans = self._reader.get_frame_timestamp(np.arange(len(self._reader))).astype(np.float64)
        self.times = spans[:, 0]
        self.duration = float(spans[-1, 1])
        self.key_frames = list(self._reader.get_key_indices())
        self.corrupt: set[int] = set()

    def read(self, wanted: list[int], shape: Shape) -> list[np.ndarray]:
        import decord

        try:
            # a few at a time, so that large frames are shrunk before the next ones are decoded
            parts = [wanted[first : first + 16] for first in range(0, len(wanted), 16)]
            return [shape(frame) for part in parts for frame in self._reader.get_batch(part).asnumpy()]
        except (decord.DECORDError, IndexError):  # its messages speak of its own source lines
            raise MediaError(f"{self._path}: none of frames {wanted[0]}–{wanted[-1]} {_DAMAGED}") from None

    def close(self) -> None:
        self._reader = None


# ------------------------------------------------------------------------------------------------------ PyAV


class _Table(NamedTuple):
    """All packets of the video track that are shown, in presentation order."""

    pts: np.ndarray  # (n,) in units of the track's time base
    times: np.ndarray  # (n,) seconds from the first
    duration: float
    keys_up_to: np.ndarray  # (n,) index of the last key frame that is shown no later
    leading: bool  # some frame is shown before a key frame that precedes it in the file
    seekable: bool


def _scan(path: Path) -> _Table | None:
    """Read the times of all frames without decoding them; None where the packets do not tell."""
    rows, end_of_key, leading = [], None, False
    with _open_container(path) as container:
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
        seekable = container.format.name in _SEEKABLE
        if container.format.name == "avi":
            return None  # an AVI file stores the order of decoding only; its "presentation times" are made up
    if not rows or len({row[0] for row in rows}) != len(rows):
        return None
    rows.sort()
    pts = np.array([row[0] for row in rows], dtype=np.int64)
    times = (pts - pts[0]) * float(base)
    last = rows[-1][2] * float(base) or _typical_gap(times, rate)
    keys = np.maximum.accumulate([number if row[1] else 0 for number, row in enumerate(rows)])
    return _Table(pts, times, float(times[-1] + last), keys, leading, seekable)


class _Way(NamedTuple):
    """How to find frames: jumping to key frames or not; by counting or by presentation time."""

    seek: bool = False
    count: bool = False


class _PyAV:
    """Frames by PyAV. Opens the file anew for every read: nothing is held, nothing leaks."""

    def __init__(self, path: Path):
        self._path = path
        self._table = _scan(path)
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
            raise MediaError(f"{self._path}: none of frames {wanted[0]}–{wanted[-1]} {_DAMAGED}")
        self.corrupt.update(index for index in wanted if index not in found)
        return [found[_nearest(found, index)] for index in wanted]

    def close(self) -> None:
        pass

    def _walk(self, wanted: list[int], shape: Shape, found: dict[int, np.ndarray], way: _Way) -> None:
        """Decode until all wanted frames are found."""
        convert = _Converter()
        left = sorted(wanted, reverse=True)
        with _open_container(self._path) as container:
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
        with _open_container(self._path) as container:
            stream = container.streams.video[0]
            shown = [frame.time for frame in _frames(container, stream)]
            rate = stream.average_rate
        if not shown:
            raise MediaError(f"{self._path}: not one frame {_DAMAGED}")
        if None in shown or (np.diff(shown) <= 0).any():
            times = np.arange(len(shown)) / float(rate or 25)
        else:
            times = np.array(shown) - shown[0]
        return times, float(times[-1] + _typical_gap(times, rate))


class _Converter:
    """Decoded frame to upright RGB, by the conversion decord uses (bicubic chroma), so that both agree exactly."""

    def __init__(self):
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()  # kept: building its tables costs more than using them

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        rgb = self._reformatter.reformat(frame, format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
        # the rotation flag counts counter-clockwise, as rot90 does
        return np.ascontiguousarray(np.rot90(rgb, int((frame.rotation + 45) // 90) % 4))


def _open_container(path: Path) -> av.container.InputContainer:
    """Open with PyAV; the first video track is ready to be decoded by one thread."""
    import av

    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(f"{path}: is not a video, or is damaged ({_reason(error)}).") from None
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

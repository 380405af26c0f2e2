"""Video files to frames: two readers behind one face that give the same upright frame for the same index.

decord is the reader for training: short clips, one key frame, everything in C++. PyAV is the reader for collections:
it reads any container FFmpeg knows, says which frames are damaged and keeps the good part of a broken file.

Measured on files of every kind, decord returns wrong frames after seeking in some of them (open groups of pictures,
edit lists, MPEG transport streams). So its reader takes only files in which it cannot go wrong, and hands the others
to PyAV; see ``_decord_is_exact``. Pictures and folders of them are read by neither, see ``stills.py`` and
``frame_folder.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mmretrieval.errors import MediaError, UnknownNameError, did_you_mean
from mmretrieval.media.files import check_file
from mmretrieval.media.frame_folder import FrameFolder
from mmretrieval.media.frame_names import FRAME_RATE
from mmretrieval.media.pyav_frames import DAMAGED, SEEKABLE, PyAVFrames, Shape, open_container, scan
from mmretrieval.media.stills import StillFrames, is_still

BACKENDS = ("decord", "pyav")


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
            place is taken by what it made of them, or by the nearest earlier frame. Only PyAV notices, and folders of
            frames do.
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

    def read(
        self, indices: Sequence[int] | np.ndarray, at_most: int | None = None, shape: Shape | None = None
    ) -> np.ndarray:
        """Return frames in the order asked for; an index may repeat.

        Args:
            indices: (n,) frame indices.
            at_most: Shrink frames whose shorter side is longer than this to it, as they are decoded: eight frames of
                a 4K video then never lie in memory at once.
            shape: What becomes of each such frame (H, W, 3) as soon as it is there, all alike: hundreds of frames of
                one video then lie in memory as small as they are needed.

        Returns:
            (n, H, W, 3) uint8 RGB, upright; or (n, …) of what ``shape`` returns.

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
        sized = functools.partial(_shape, size=self._size, at_most=at_most)
        whole = sized if shape is None else lambda frame: shape(sized(frame))
        frames = np.stack(self._source.read(wanted.tolist(), whole))
        return frames if len(wanted) == len(indices) and (place[1:] > place[:-1]).all() else frames[place]

    def close(self) -> None:
        """Let go of the file and of the decoder's memory."""
        self._source.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *exc) -> None:
        self.close()


def open_video(
    path: str | Path, backend: str = "decord", *, size: tuple[int, int] | None = None, fps: float = FRAME_RATE
) -> VideoReader:
    """Open a video file for reading frames by index; a picture is a video of one frame that lasts a second.

    Args:
        path: The file, or a folder of numbered frames.
        backend: ``"decord"`` or ``"pyav"``. With ``"decord"``, a file that it might misread is read by PyAV.
        size: Height and width of the frames; None keeps those of the file.
        fps: Frames per second of a folder, which has no rate of its own; files keep theirs.

    Raises:
        MediaError: The file is missing, empty, damaged beyond use, not a video, or has no video track; or the folder
            holds no frames.
        UnknownNameError: No such backend.
    """
    if backend not in BACKENDS:
        raise UnknownNameError(
            f"unknown video reader '{backend}'.{did_you_mean(backend, BACKENDS)} Known: {', '.join(BACKENDS)}."
        )
    path = Path(path)
    if path.is_dir():
        return VideoReader(path, FrameFolder(path, fps), size)
    path = check_file(path)
    if is_still(path):
        return VideoReader(path, StillFrames(path), size)
    source = _open_decord(path) if backend == "decord" else None
    return VideoReader(path, source or PyAVFrames(path), size)


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


def _open_decord(path: Path) -> DecordFrames | None:
    """Open with decord; None where it fails or might give wrong frames."""
    with open_container(path) as container:  # half a millisecond for a clear message about what is no video
        if container.format.name not in SEEKABLE:
            return None
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        source = DecordFrames(path)
    except (decord.DECORDError, RuntimeError, AssertionError):
        return None
    return source if _decord_is_exact(path, source) else None


def _decord_is_exact(path: Path, source: DecordFrames) -> bool:
    """Say whether decord's frame i is the i-th frame on screen, whichever frames were read before.

    It is where presentation times are sound and start at 0 and decord never has to seek (a single key frame), or no
    frame after a key frame is shown before it. The second needs a look at all packets, so the first is tried before.
    """
    times = source.times
    if not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) <= 0).any():
        return False
    if source.key_frames == [0]:
        return True
    table = scan(path)
    if table is None or len(table.pts) != len(times) or table.leading:
        return False
    return bool(np.abs(table.times - times).max() < 1e-3)


class DecordFrames:
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
        except (decord.DECORDError, IndexError):
            return self._read_again(wanted, shape)

    def _read_again(self, wanted: list[int], shape: Shape) -> list[np.ndarray]:
        """Let the careful reader say whether the file is damaged or decord cannot read it.

        On CPUs with AVX-512 decord refuses sound files whose rows are no multiple of 64 bytes long.
        """
        careful = PyAVFrames(self._path)
        frames = careful.read(wanted, shape) if wanted[-1] < len(careful.times) else []
        if not frames or careful.corrupt.intersection(wanted):
            raise MediaError(f"{self._path}: frames {wanted[0]}–{wanted[-1]} cannot all be decoded: {DAMAGED}")
        return frames

    def close(self) -> None:
        self._reader = None

"""Decoded once, read at every epoch: small frames and log-mel spectrograms in memory-mapped files.

Decoding a 3 s clip costs some 10 ms, reading it from here a fraction of one. A clip is held as evenly spaced frames,
somewhat larger and more than the model looks at, so that training still draws its frames and crops.

On disk each modality has a folder named after what it holds (files with size and time of change, and settings): when
any of these changes, it is a new folder. ``rows.bin`` has fixed slots, sparse where they are not full; ``done.bin`` has
one record per row, written only after the rows it speaks of are safely on disk, so an interruption at any instant
costs at most the rows of the last seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mmretrieval.data.manifest import Sample
from mmretrieval.data.processor import Processor
from mmretrieval.environment import cores
from mmretrieval.errors import MediaError, MMRetrievalError, ModelError
from mmretrieval.files import atomic_write, only_holder, storage_error
from mmretrieval.media.audio import longest_shape
from mmretrieval.media.files import check_span
from mmretrieval.media.sampling import span_indices, uniform_indices
from mmretrieval.media.transforms import fit
from mmretrieval.media.video import open_video
from mmretrieval.processes import worker_processes
from mmretrieval.types import ClipSpec

_RECORD = np.dtype([("state", "u1"), ("length", "<u4"), ("rate", "<f4")])
_PENDING, _DONE, _FAILED = 0, 1, 2
_SYNC_EVERY = 256

Key = tuple[str, float | None, float | None]


class _Answer(NamedTuple):
    """What a worker made of one row; ``full`` is the message of a disk that cannot be written."""

    row: int
    state: int
    length: int = 0
    rate: float = 0.0
    reason: str = ""
    full: tuple[int, str] | None = None


class ClipCache:
    """Clips and recordings of a data set, decoded once.

    Build it with ``ClipCache.build``, hand it to ``ClipDataset``. Where a file has more than is held (clips wider than
    high, recordings longer than ``max_seconds``), training draws from what is held: the middle square, the beginning.

    Attributes:
        failures: Reason by file for what could not be decoded.
    """

    def __init__(self, tables: dict[str, _Table]):
        self._tables = tables

    @property
    def failures(self) -> dict[str, str]:
        return {key[0]: reason for table in self._tables.values() for key, reason in table.failures.items()}

    @classmethod
    def build(
        cls,
        folder: str | Path,
        samples: Iterable[Sample],
        processor: Processor,
        modalities: Sequence[str] = ("video", "speech"),
        frames: int | None = None,
        size: int | None = None,
        workers: int | None = None,
        backend: str = "decord",
        progress: bool = True,
    ) -> ClipCache:
        """Decode what is not held yet and open the cache.

        Args:
            folder: Where the cache lies; several data sets and models may share it.
            samples: What to hold; a file that several samples name is held once.
            processor: The preprocessing of the model.
            modalities: ``"video"``, ``"speech"`` or both; others are passed over.
            frames: Frames per clip; default three times what the model looks at.
            size: Height and width of a frame; default an eighth more than the model's.
            workers: Processes that decode; default one per core, 0 decodes in this one.
            backend: The video reader.
            progress: Show a bar when standard error is a terminal.

        Raises:
            StorageError: The disk is full; what is decoded so far is kept.
            ModelError: The model chooses among all frames of a clip, and few are held.
        """
        samples = list(samples)
        check_servable(processor, modalities)
        workers = cores() if workers is None else workers
        tables = {}
        if "video" in modalities and processor.clip_spec is not None:
            spec = processor.clip_spec
            size = size or round(spec.size * 1.125 / spec.crop)
            job = _Frames(frames or 3 * spec.frames, size, backend, spec)
            tables["video"] = _Table(folder, job, [_clip_key(s) for s in samples if s.video is not None])
        if "speech" in modalities and processor.speech_spec is not None:
            job = _Recordings(processor)
            tables["speech"] = _Table(folder, job, [_speech_key(s) for s in samples if s.speech is not None])
        for name, table in tables.items():
            table.fill(workers, name if progress else None)
        return cls(tables)

    def read(
        self, sample: Sample, processor: Processor, modalities: Sequence[str], rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the modalities of ``sample`` that are held, as ``Processor.sample`` would.

        Raises:
            MediaError: A file of the sample could not be decoded when the cache was built.
        """
        parts = {}
        for name in modalities:
            table = self._tables.get(name)
            if table is None or getattr(sample, name) is None:
                continue
            row = table.find(_clip_key(sample) if name == "video" else _speech_key(sample))
            if row is None:
                continue
            values, rate = table.read(row)
            if name == "video":
                chosen = processor.choose_frames(len(values), rate, rng)
                parts[name] = processor.fit(values[chosen], rng)
            else:
                parts[name] = torch.from_numpy(processor.crop(values, rng).astype(np.float32))
        return parts


def check_servable(processor: Processor, modalities: Sequence[str]) -> None:
    """Refuse what cannot be read from a cache.

    Raises:
        ModelError: The model chooses among all frames of a clip.
    """
    spec = processor.clip_spec
    if "video" in modalities and spec is not None and spec.sampling is not None:
        raise ModelError(
            f"data.cache holds a few evenly spaced frames of each clip, and model.video.sampling: {spec.sampling} "
            "chooses among all of them: leave one of the two out"
        )


class _Frames:
    """Evenly spaced frames (F, S, S, 3) uint8 of a clip's middle square, or of all of it where a model squashes it."""

    kind = "video"

    def __init__(self, frames: int, size: int, backend: str, spec: ClipSpec):
        self.frames, self.size, self.backend = frames, size, backend
        self.squash, self.resample = spec.resize == "squash", spec.resample
        self.slot = (frames, size, size, 3)
        self.dtype = np.dtype(np.uint8)
        # both readers give the same frames, so which one is no part of what is held
        self.settings = {"frames": frames, "size": size, "squash": self.squash, "resample": self.resample}

    def __call__(self, key: Key) -> tuple[np.ndarray, float]:
        path, start, end = key
        with open_video(path, self.backend) as reader:
            check_span(path, "video", start, end, reader.duration)
            span = span_indices(reader.times, start, end)
            chosen = span[uniform_indices(len(span), self.frames)]
            seconds = len(span) / reader.fps
            frames = reader.read(chosen, at_most=4 * self.size)
            values = fit(frames, self.size, squash=self.squash, resample=self.resample)
        return values.permute(0, 2, 3, 1).numpy(), self.frames / seconds


class _Recordings:
    """What the model's front end makes of recordings: log-mel spectrograms (T, M) or samples (n,), float16."""

    kind = "speech"

    def __init__(self, processor: Processor):
        self.processor = processor
        self.slot = longest_shape(processor.speech_spec)
        self.dtype = np.dtype(np.float16)
        self.settings = processor.to_config()["speech"]

    def __call__(self, key: Key) -> tuple[np.ndarray, float]:
        return self.processor.speech(*key).numpy().astype(np.float16), 0.0


class _Table:
    """Rows of one modality by key, on disk."""

    def __init__(self, folder: str | Path, job: _Frames | _Recordings, keys: Iterable[Key]):
        self.job = job
        self.keys = list(dict.fromkeys(keys))
        self._rows = {key: row for row, key in enumerate(self.keys)}
        name = hashlib.sha256(repr((job.settings, [(key, _stamp(key[0])) for key in self.keys])).encode()).hexdigest()
        self.folder = Path(folder) / f"{job.kind}-{name[:16]}"
        self.failures: dict[Key, str] = {}
        self._slot_bytes = int(np.prod(job.slot)) * job.dtype.itemsize
        self._values: np.memmap | None = None
        self._prepare()

    def find(self, key: Key) -> int | None:
        """Return the row of ``key``; None if it is not held."""
        row = self._rows.get(key)
        return row if row is not None and self._done[row]["state"] != _PENDING else None

    def read(self, row: int) -> tuple[np.ndarray, float]:
        """Return the values of a row (a view into the file) and their frames per second.

        Raises:
            MediaError: This row could not be decoded.
        """
        record = self._done[row]
        if record["state"] == _FAILED:
            raise MediaError(self.failures[self.keys[row]])
        if self._values is None:  # opened on first use, so that each loader worker has its own
            shape = (len(self.keys), *self.job.slot)
            self._values = np.memmap(self.folder / "rows.bin", self.job.dtype, "r", shape=shape)
        return self._values[row, : record["length"]], float(record["rate"])

    def write(self, row: int, values: np.ndarray) -> None:
        """Put values into the slot of a row. Plain writes: a full disk under a memory map would kill the process."""
        handle = os.open(self.folder / "rows.bin", os.O_WRONLY)
        try:
            data = memoryview(np.ascontiguousarray(values)).cast("B")
            place = row * self._slot_bytes
            while data:
                written = os.pwrite(handle, data, place)
                data, place = data[written:], place + written
        finally:
            os.close(handle)

    def fill(self, workers: int, bar: str | None) -> None:
        """Decode all rows that are pending; of several processes one does it and the others wait."""
        if (self._done["state"] != _PENDING).all():
            return
        with only_holder(self.folder):
            self._prepare()
            pending = np.flatnonzero(self._done["state"] == _PENDING)
            if len(pending):
                self._decode(pending, workers, bar)

    def _decode(self, pending: np.ndarray, workers: int, bar: str | None) -> None:
        from tqdm import tqdm

        context = worker_processes() if workers else None
        loader = DataLoader(
            _Writer(self, pending), batch_size=None, num_workers=workers, multiprocessing_context=context
        )
        waiting: list[_Answer] = []
        try:
            for answer in tqdm(loader, f"decode {bar}", unit="file", disable=None if bar else True):
                if answer.full is not None:
                    raise storage_error(self.folder, OSError(*answer.full))
                waiting.append(answer)
                if len(waiting) == _SYNC_EVERY:
                    self._record(waiting)
                    waiting.clear()
        finally:
            self._record(waiting)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_values": None}

    def _prepare(self) -> None:
        """Make the files, or take up those of an earlier, perhaps interrupted, run."""
        done, rows, failures = (self.folder / name for name in ("done.bin", "rows.bin", "failures.json"))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(rows, "ab") as file:
                file.truncate(len(self.keys) * self._slot_bytes)  # sparse: takes no room until rows are written
            if not done.exists():
                atomic_write(done, np.zeros(len(self.keys), _RECORD).tobytes())
        except OSError as error:
            raise storage_error(self.folder, error) from error
        self._done = np.fromfile(done, _RECORD)
        known = json.loads(failures.read_text("utf-8")) if failures.exists() else {}
        for row in np.flatnonzero(self._done["state"] == _FAILED):
            self.failures[self.keys[row]] = known[str(row)]

    def _record(self, answers: list[_Answer]) -> None:
        """Note rows as done, once their values are safely on disk."""
        if not answers:
            return
        for answer in answers:
            self._done[answer.row] = (answer.state, answer.length, answer.rate)
            if answer.state == _FAILED:
                self.failures[self.keys[answer.row]] = answer.reason
        handle = os.open(self.folder / "rows.bin", os.O_RDWR)
        try:
            os.fsync(handle)
        except OSError as error:
            raise storage_error(self.folder, error) from error
        finally:
            os.close(handle)
        reasons = {str(self._rows[key]): reason for key, reason in self.failures.items()}
        atomic_write(self.folder / "failures.json", json.dumps(reasons, ensure_ascii=False))
        atomic_write(self.folder / "done.bin", self._done.tobytes())


class _Writer(torch.utils.data.Dataset):
    """Decodes pending rows in loader workers; the rows go to disk there, only the answers come back."""

    def __init__(self, table: _Table, pending: np.ndarray):
        self.table, self.pending = table, pending

    def __len__(self) -> int:
        return len(self.pending)

    def __getitem__(self, index: int) -> _Answer:
        row = int(self.pending[index])
        job: Callable[[Key], tuple[np.ndarray, float]] = self.table.job
        try:
            values, rate = job(self.table.keys[row])
        except MMRetrievalError as error:
            return _Answer(row, _FAILED, reason=str(error))
        try:
            self.table.write(row, values)
        except OSError as error:
            return _Answer(row, _PENDING, full=(error.errno or 0, error.strerror or str(error)))
        return _Answer(row, _DONE, len(values), rate)


def _clip_key(sample: Sample) -> Key:
    return (sample.video, sample.start, sample.end)


def _speech_key(sample: Sample) -> Key:
    own_sound = sample.speech == sample.video
    return (sample.speech, sample.start if own_sound else None, sample.end if own_sound else None)


def _stamp(path: str) -> tuple[int, int] | None:
    """Return size and time of change of a file; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns

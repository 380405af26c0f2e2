"""Manifests: JSON lines, one sample each, that say which files and captions belong together."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmretrieval.errors import ManifestError, did_you_mean
from mmretrieval.files import atomic_write
from mmretrieval.media.frame_names import is_frame_folder


@dataclass(frozen=True)
class Sample:
    """One video clip, spoken caption and typed caption that belong together; any of the three may be missing.

    Attributes:
        id: Its name, unique in its manifest.
        video: Path of the video file, or of a folder of numbered frames.
        speech: Path of the recording.
        text: The caption.
        video_id: What several captions of one video share; they are all right answers to each other.
        start: Second of the video at which the clip starts; None is the beginning.
        end: Second at which it ends; None is the end of the file.
        labels: Names of the actions or things seen, for recognition and analysis.
        words: (word, start, end) of the spoken caption, in seconds.
    """

    id: str
    video: str | None = None
    speech: str | None = None
    text: str | None = None
    video_id: str | None = None
    start: float | None = None
    end: float | None = None
    labels: tuple[str, ...] = ()
    words: tuple[tuple[str, float, float], ...] = ()


KEYS = tuple(field.name for field in dataclasses.fields(Sample))
_PATHS = ("video", "speech")
_KINDS = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


class Manifest(Sequence[Sample]):
    """The samples of a manifest file, like a list.

    Attributes:
        path: The file.
        samples: The usable rows; paths in them are absolute.
        set_aside: (line number, reason) of the rows that are not, when the caller asked to skip them.
    """

    def __init__(self, path: Path, samples: list[Sample], set_aside: list[tuple[int, str]]):
        self.path = path
        self.samples = samples
        self.set_aside = set_aside

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)


def read_manifest(path: str | Path, on_bad: str = "raise") -> Manifest:
    """Read a manifest: UTF-8, one JSON object per line with the keys of ``Sample``; empty lines are skipped.

    Only ``id`` and one of ``video``, ``speech`` and ``text`` are needed. Relative paths start at the manifest's folder.

    Args:
        path: The file.
        on_bad: ``"raise"`` stops at the first bad row, ``"skip"`` sets bad rows aside in ``Manifest.set_aside``.

    Raises:
        ManifestError: The file is missing or has no usable row, or a row is bad and ``on_bad`` is ``"raise"``.
    """
    if on_bad not in ("raise", "skip"):
        raise ValueError(f"on_bad is '{on_bad}'; 'raise' and 'skip' are allowed")
    path = Path(path)
    folder = os.path.abspath(path.parent)
    samples: list[Sample] = []
    set_aside: list[tuple[int, str]] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            sample = _parse(line, folder)
            if sample.id in lines:
                raise _BadRowError(f"the id '{sample.id}' was already used on line {lines[sample.id]}")
        except _BadRowError as error:
            if on_bad == "raise":
                raise ManifestError(f"{path}, line {number}: {error}") from None
            set_aside.append((number, str(error)))
            continue
        lines[sample.id] = number
        samples.append(sample)
    if not samples:
        why = "it is empty"
        if set_aside:
            number, reason = set_aside[0]
            why = f"all {len(set_aside)} rows are bad, the first on line {number}: {reason}"
        raise ManifestError(f"{path} has no usable sample: {why}")
    return Manifest(path, samples, set_aside)


def write_manifest(path: str | Path, samples: Iterable[Sample]) -> None:
    """Write samples as a manifest, all or nothing.

    Absolute paths below the manifest's folder become relative, so that the folder can be moved; relative ones are
    taken to be relative to that folder already.

    Raises:
        StorageError: The disk is full or refuses to be written; an older manifest there is untouched.
    """
    folder = os.path.abspath(Path(path).parent)
    rows = []
    for sample in samples:
        row = {key: value for key, value in vars(sample).items() if value not in (None, ())}
        for key in _PATHS:
            if key in row:
                row[key] = _relative(row[key], folder)
        rows.append(json.dumps(row, ensure_ascii=False))
    atomic_write(path, "".join(row + "\n" for row in rows))


def check_files(samples: Iterable[Sample]) -> list[tuple[str, str]]:
    """Find the samples that point to missing or empty files: (id, reason) of each."""
    bad = []
    for sample in samples:
        for key in _PATHS:
            path = getattr(sample, key)
            if path is None or is_frame_folder(path):
                continue
            if not os.path.isfile(path):
                bad.append((sample.id, f"{path}: no such file."))
            elif not os.path.getsize(path):
                bad.append((sample.id, f"{path}: the file is empty."))
    return bad


class _BadRowError(ValueError):
    """What is wrong with one row, without its place."""


def _lines(path: Path) -> Iterator[bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest. It is a file of JSON lines, one sample each.") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}).") from None
    return iter(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def _parse(line: bytes, folder: str) -> Sample:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _BadRowError(f"not UTF-8 (byte {error.start + 1} of the line)") from None
    except (json.JSONDecodeError, RecursionError) as error:
        where = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise _BadRowError(f"not valid JSON ({where})") from None
    if not isinstance(row, dict):
        raise _BadRowError(f'is {_kind(row)}; a sample is an object like {{"id": …, "video": …}}')
    for key in row:
        if key not in KEYS:
            raise _BadRowError(f"unknown key '{key}'.{did_you_mean(key, KEYS)} Known: {', '.join(KEYS)}")
    values = {key: value for key, value in row.items() if value is not None}
    for key in ("id", "video", "speech", "text", "video_id"):
        if key in values:
            _text(key, values[key])
    if "id" not in values:
        raise _BadRowError("has no 'id'; every sample needs a name of its own")
    if not any(key in values for key in ("video", "speech", "text")):
        raise _BadRowError("has none of 'video', 'speech' and 'text'; a sample needs at least one")
    for key in ("start", "end"):
        if key in values:
            values[key] = _seconds(f"'{key}'", values[key])
    if "end" in values and values["end"] <= values.get("start", 0.0):
        raise _BadRowError(f"'end' is {values['end']:g}, it must lie after 'start', {values.get('start', 0.0):g}")
    values["labels"] = tuple(_text("labels", label) for label in _list("labels", values.get("labels", [])))
    values["words"] = tuple(_word(entry) for entry in _list("words", values.get("words", [])))
    for key in _PATHS:
        if key in values:
            values[key] = os.path.normpath(os.path.join(folder, values[key]))
    return Sample(**values)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _BadRowError(f"'{key}' is {_kind(value)}, it must be a text")
    if not value.strip():
        raise _BadRowError(f"'{key}' is empty; leave it out where there is none")
    return value


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _BadRowError(f"{name} is {_kind(value)}, it must be a number of seconds")
    if not math.isfinite(value) or value < 0:
        raise _BadRowError(f"{name} is {value}, it must be 0 or more seconds")
    return float(value)


def _list(key: str, value: Any) -> list:
    if not isinstance(value, list):
        raise _BadRowError(f"'{key}' is {_kind(value)}, it must be a list")
    return value


def _word(entry: Any) -> tuple[str, float, float]:
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[0], str):
        raise _BadRowError(f"'words' holds {_kind(entry)}; each entry is [word, start, end]")
    word, start, end = entry
    return word, _seconds(f"the start of the word '{word}'", start), _seconds(f"the end of the word '{word}'", end)


def _kind(value: Any) -> str:
    kind = _KINDS.get(type(value), "null")
    return f"{kind} ({json.dumps(value, ensure_ascii=False)[:60]})"


def _relative(path: str, folder: str) -> str:
    if os.path.isabs(path) and os.path.commonpath([path, folder]) == folder:
        return Path(os.path.relpath(path, folder)).as_posix()
    return path

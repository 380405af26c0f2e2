"""What there is to index: files, folders, manifests and tables become spans of videos."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmretrieval.errors import CollectionError
from mmretrieval.media.suffixes import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from mmretrieval.data.manifest import Sample


class Source(NamedTuple):
    """One thing to index: a whole video, or the span of one that a manifest row names.

    ``path`` is absolute; ``id``, ``start`` and ``end`` are None where nobody gave them.
    """

    path: str
    id: str | None = None
    start: float | None = None
    end: float | None = None
    metadata: dict[str, Any] = {}


class SetAside(NamedTuple):
    """Something that cannot be used, and why; ``start`` and ``end`` where only that part of a file is meant."""

    path: str
    reason: str
    start: float | None = None
    end: float | None = None


def find_sources(paths: Sequence[str | Path]) -> tuple[list[Source], list[SetAside]]:
    """Find every video under files, folders (recursively, hidden entries skipped), manifests and tables.

    Manifests are ``.jsonl``, tables ``.csv`` or ``.tsv`` with the columns of ``mmretrieval import csv``. A file that is
    named is taken whatever its suffix. The order is that of ``paths``, and by name inside a folder.

    Returns:
        What to index, and what was set aside on the way: broken rows, names that are no text.

    Raises:
        CollectionError: A path does not exist, or there is no video in any of them.
        ManifestError: A manifest or a table cannot be read.
    """
    found: list[Source] = []
    aside: list[SetAside] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += [Source(_absolute(file)) for file in _walk(path)]
        elif not path.exists():
            raise CollectionError(
                f"no file or folder '{path}': give videos, folders of videos, manifests (.jsonl) or tables (.csv)"
            )
        elif path.suffix.lower() in ROWS:
            samples, broken = ROWS[path.suffix.lower()](path)
            found += [_source(sample) for sample in samples if sample.video is not None]
            aside += [SetAside(where, reason) for where, reason in broken]
        else:
            found.append(Source(_absolute(path)))
    # Parquet and JSON hold text; a name that is no UTF-8 cannot be written down and found again
    nameless = [source for source in found if not _is_text(source.path)]
    aside += [SetAside(_printable(source.path), "its name is not valid UTF-8: rename it") for source in nameless]
    found = [source for source in found if _is_text(source.path)]
    if not found and not aside:
        where = ", ".join(map(str, paths)) or "nothing"
        raise CollectionError(f"no videos in {where}: known are {' '.join(VIDEO_SUFFIXES)}")
    return found, aside


def _walk(folder: Path) -> Iterator[Path]:
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield Path(current, name)


def _of_manifest(path: Path) -> tuple[list[Sample], list[tuple[str, str]]]:
    from mmretrieval.data.manifest import read_manifest

    manifest = read_manifest(path, on_bad="skip")
    return manifest.samples, [(f"{path}, line {line}", reason) for line, reason in manifest.set_aside]


def _of_table(path: Path) -> tuple[list[Sample], list[tuple[str, str]]]:
    from mmretrieval.data.sources.base import Row, SetAside
    from mmretrieval.data.sources.csv_file import csv_file

    findings = list(csv_file(path))
    broken = [(str(path.parent / item.where), item.detail) for item in findings if isinstance(item, SetAside)]
    return [item.sample for item in findings if isinstance(item, Row)], broken


ROWS = {".jsonl": _of_manifest, ".csv": _of_table, ".tsv": _of_table}
"""What reads files with a row per moment: samples, and where and why others are none."""


def _source(sample: Sample) -> Source:
    known = {"text": sample.text, "video_id": sample.video_id, "labels": list(sample.labels)}
    metadata = {name: value for name, value in known.items() if value}
    return Source(_absolute(sample.video), sample.id, sample.start, sample.end, metadata)


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path)


def _is_text(path: str) -> bool:
    return _printable(path) == path


def _printable(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()

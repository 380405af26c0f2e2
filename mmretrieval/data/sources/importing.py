"""From the findings of a source to manifests: what all sources have in common is checked and counted here."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmretrieval.data.manifest import Sample, write_manifest
from mmretrieval.data.sources.base import Note, Reason, Row, SetAside, Source, fault, sources
from mmretrieval.data.sources.checking import check_media
from mmretrieval.data.sources.report import ImportReport, SplitReport, reasons, set_aside_lines, set_aside_path
from mmretrieval.errors import ManifestError, UnknownNameError, did_you_mean
from mmretrieval.files import atomic_write, storage_error
from mmretrieval.media.frame_names import is_frame_folder
from mmretrieval.types import MODALITIES

Verdict = tuple[str, str] | None
"""Reason and detail of what is wrong with a row."""


def import_source(
    source: str,
    root: str | Path,
    out: str | Path,
    *,
    split: str | None = None,
    need: Collection[str] = (),
    keep_missing: bool = False,
    check: bool = False,
    progress: bool = True,
    **options: Any,
) -> ImportReport:
    """Write manifests of a release of a data set.

    ``out`` is a manifest if it ends in ``.jsonl``; everything else is a folder, which gets ``<split>.jsonl`` for each
    split (``all.jsonl`` where a release is not split). What is set aside is named in ``set_aside.jsonl`` in the folder,
    or in ``<manifest>.set_aside.jsonl`` beside the one manifest: a JSON object per line with split, where, id, reason
    and detail. Nothing is written before everything is known.

    An id that is used twice counts once. Evaluation comes first: what stands in a test or validation split and in a
    training split as well stays in the former.

    Args:
        source: Name of the source, e.g. ``"smit"``.
        root: The folder of the release, or the file for ``"csv"``.
        out: The manifest, or the folder of manifests.
        split: Take this split only.
        need: Modalities that every sample must have.
        keep_missing: Keep rows whose media are missing or empty.
        check: Open every media file to find the damaged ones, and cut spans that end after theirs. Otherwise only
            existence and size are looked at.
        progress: Show bars if standard error is a terminal.
        **options: What the source itself asks: ``media``, ``variant``, ``val_share``, ``test_share``, ``seed``.

    Raises:
        UnknownNameError: No such source, option, split or modality.
        ManifestError: The release lacks something, or not one row is usable; nothing was written.
        StorageError: The disk is full or the place cannot be written.
    """
    begin = time.perf_counter()
    read = sources.get(source)
    _check_options(source, read, options)
    _check_need(need)
    root, out = Path(os.path.abspath(root)), Path(out)
    if not root.exists():
        raise ManifestError(f"{root}: no such file or folder.")
    if "media" in options:
        options["media"] = [_folder(path) for path in options["media"]]
    rows, aside, notes = _collect(read(root, **options), progress)
    rows, aside = _choose(source, rows, aside, split, out)
    report = ImportReport(source, str(root), notes=notes)
    for row in rows:
        report.splits.setdefault(row.split, SplitReport()).found += 1
    rows, refused = _sift(rows, keep_missing, need, progress)
    aside += refused
    if check:
        checked = check_media(rows, keep_missing, progress)
        rows, report.checked = checked.rows, checked.files
        aside += checked.refused
        report.notes += checked.notes
    report.set_aside = aside
    report.notes += _leaks(rows)
    if not rows:
        raise ManifestError(_nothing_left(source, root, aside))
    if keep_missing:
        _count_missing(report, rows)
    _write(report, rows, out, split)
    report.seconds = round(time.perf_counter() - begin, 3)
    return report


def _check_options(source: str, read: Source, options: dict[str, Any]) -> None:
    known = list(inspect.signature(read).parameters)[1:]
    for name in options:
        if name not in known:
            listed = ", ".join(map(_flag, known)) or "none"
            raise UnknownNameError(f"source '{source}' has no option '{_flag(name)}'. Its options: {listed}.")


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def _check_need(need: Collection[str]) -> None:
    for name in need:
        if name not in MODALITIES:
            raise UnknownNameError(
                f"unknown modality '{name}'.{did_you_mean(name, MODALITIES)} Known: {', '.join(MODALITIES)}."
            )


def _folder(path: str | Path) -> Path:
    if not os.path.isdir(path):
        raise ManifestError(f"{path}: no such folder of media.")
    return Path(os.path.abspath(path))


def _collect(findings: Iterable[Row | SetAside | Note], progress: bool) -> tuple[list[Row], list[SetAside], list[str]]:
    from tqdm import tqdm

    rows: list[Row] = []
    aside: list[SetAside] = []
    notes: list[str] = []
    for finding in tqdm(findings, "reading", unit="row", disable=None if progress else True):
        if isinstance(finding, Row):
            rows.append(finding._replace(sample=_with_clean_paths(finding.sample)))
        elif isinstance(finding, SetAside):
            aside.append(finding)
        else:
            notes.append(finding.text)
    return rows, aside, notes


def _with_clean_paths(sample: Sample) -> Sample:
    paths = {key: getattr(sample, key) for key in ("video", "speech") if isinstance(getattr(sample, key), str)}
    clean = {key: os.path.normpath(path) for key, path in paths.items() if path}
    return replace(sample, **clean) if clean != paths else sample


def _choose(
    source: str, rows: list[Row], aside: list[SetAside], split: str | None, out: Path
) -> tuple[list[Row], list[SetAside]]:
    """Take the split that was asked for; one manifest cannot hold several."""
    found = list(dict.fromkeys(entry.split for entry in [*rows, *aside] if entry.split is not None))
    if split is not None:
        if split not in found:
            raise UnknownNameError(
                f"{source} has no split '{split}' here.{did_you_mean(split, found)} "
                f"Found: {', '.join(found) or 'none'}."
            )
        rows = [row for row in rows if row.split == split]
        return rows, [entry for entry in aside if entry.split in (split, None)]
    if out.suffix == ".jsonl" and len(found) > 1:
        raise ManifestError(
            f"{out}: one manifest cannot hold the splits {', '.join(found)}. "
            f"Choose one with --split, or let --out name a folder, which gets a manifest for each."
        )
    return rows, aside


def _sift(
    rows: list[Row], keep_missing: bool, need: Collection[str], progress: bool
) -> tuple[list[Row], list[SetAside]]:
    """Set aside what cannot be read back, lacks a modality or its media, or has an id that is taken."""
    from tqdm import tqdm

    judges: list[Callable[[Row], Verdict]] = [lambda row: fault(row.sample), lambda row: _lacks(row.sample, need)]
    if not keep_missing:
        judges.append(_Presence())
    judges.append(_Ids())
    refused: list[SetAside] = []
    kept: set[int] = set()
    order = sorted(range(len(rows)), key=lambda place: _training_last(rows[place].split))
    for place in tqdm(order, "looking for media", unit="row", disable=None if progress else True):
        row = rows[place]
        verdict = next((verdict for judge in judges if (verdict := judge(row))), None)
        if verdict is None:
            kept.add(place)
        else:
            refused.append(SetAside(row.split, row.where, str(row.sample.id), *verdict))
    return [row for place, row in enumerate(rows) if place in kept], refused


def _training_last(split: str) -> int:
    return 0 if "test" in split else 2 if "train" in split else 1


def _lacks(sample: Sample, need: Collection[str]) -> Verdict:
    for name in need:
        if getattr(sample, name) is None:
            return f"no {name}", f"has no {name}, which --need asks for."
    return None


class _Presence:
    """Says whether the media of a row are there and not empty; each file is looked at once."""

    def __init__(self):
        self._known: dict[str, Verdict] = {}

    def __call__(self, row: Row) -> Verdict:
        for path in (row.sample.video, row.sample.speech):
            if path is not None and (verdict := self._look(path)):
                return verdict
        return None

    def _look(self, path: str) -> Verdict:
        if path not in self._known:
            self._known[path] = _absence(path)
        return self._known[path]


def _absence(path: str) -> Verdict:
    if os.path.isdir(path):
        return None if is_frame_folder(path) else (Reason.EMPTY_FILE, f"{path}: the folder holds no numbered pictures.")
    try:
        size = os.stat(path).st_size if os.path.isfile(path) else None
    except OSError:
        size = None
    if size is None:
        return Reason.MISSING_FILE, f"{path}: no such file."
    return None if size else (Reason.EMPTY_FILE, f"{path}: the file is empty.")


class _Ids:
    """Says whether an id was used before, and where."""

    def __init__(self):
        self._places: dict[str, str] = {}

    def __call__(self, row: Row) -> Verdict:
        first = self._places.get(row.sample.id)
        if first is None:
            self._places[row.sample.id] = row.where
            return None
        return Reason.ID_TWICE, f"the id '{row.sample.id}' is that of {first} already."


def _count_missing(report: ImportReport, rows: list[Row]) -> None:
    look = _Presence()
    for row in rows:
        report.splits[row.split].missing += look(row) is not None


def _leaks(rows: list[Row]) -> list[str]:
    """Say which splits share videos with one that is trained on."""
    videos: dict[str, set[str]] = {}
    for row in rows:
        if row.sample.video is not None:
            videos.setdefault(row.split, set()).add(row.sample.video)
    trained = [split for split in videos if _training_last(split) == 2]
    pairs = [(a, b, len(videos[a] & videos[b])) for a in trained for b in videos if b not in trained]
    return [f"{count:,} videos of {b} are in {a} as well: a model would know them." for a, b, count in pairs if count]


def _nothing_left(source: str, root: Path, aside: Sequence[SetAside]) -> str:
    if not aside:
        return f"{root}: '{source}' found not one sample; nothing was written."
    counts = ImportReport(source, str(root), set_aside=list(aside)).reasons
    first = aside[0]
    return (
        f"{root}: '{source}' found not one usable sample; nothing was written. Set aside {len(aside):,}: "
        f"{reasons(counts)}; the first: {first.where}: {first.detail}"
    )


def _write(report: ImportReport, rows: list[Row], out: Path, split: str | None) -> None:
    """Write the account of what was set aside, then the manifests: none exists without its account."""
    account = set_aside_path(out, split)
    if report.set_aside:
        atomic_write(account, set_aside_lines(report.set_aside))
        report.set_aside_file = str(account)
    elif account.exists():
        try:
            account.unlink()  # that of an earlier import into the same place
        except OSError as error:
            raise storage_error(account, error) from error
    samples: dict[str, list[Sample]] = {}
    for row in rows:
        samples.setdefault(row.split, []).append(row.sample)
    for name, kept in samples.items():
        path = out if out.suffix == ".jsonl" else out / f"{name}.jsonl"
        write_manifest(path, kept)
        part = report.splits[name]
        part.kept, part.manifest = len(kept), str(path)
        part.video, part.speech, part.text = (
            sum(getattr(sample, modality) is not None for sample in kept) for modality in MODALITIES
        )
        part.videos = len({sample.video for sample in kept} - {None})

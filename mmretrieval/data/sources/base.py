"""What a source of data yields, and the table of sources.

A source is a function that reads a release, as its authors hand it out, below a folder. It yields three kinds of
findings: a ``Row`` for every sample, a ``SetAside`` for everything in the release that is no sample, with the reason,
and a ``Note`` for what a person should know. It does not look whether the media are there and in order: that is the
same for all, see ``importing.py``. Its docstring is its description in ``mmretrieval import --list``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, NamedTuple

from mmretrieval.data.manifest import Sample
from mmretrieval.errors import ManifestError
from mmretrieval.registry import Registry


class Reason(StrEnum):
    """Why things are set aside, as they are counted; what exactly is wrong stands in the detail of each."""

    BROKEN_ROW = "broken row"
    BAD_SPAN = "no such span"
    DAMAGED = "damaged file"
    EMPTY_CAPTION = "empty caption"
    EMPTY_FILE = "empty file"
    ID_TWICE = "id used twice"
    MISSING_FILE = "missing file"
    NO_CAPTION = "no caption"
    NO_LABEL = "no label"
    TOO_SHORT = "too short"
    UNKNOWN_LABEL = "unknown label"


WHOLE = "all"
"""The split of releases that are not split."""


class Row(NamedTuple):
    """One sample of a release: which split it belongs to, and where in the release it stands."""

    split: str
    where: str
    sample: Sample


class SetAside(NamedTuple):
    """Something in a release that is no usable sample.

    ``split`` and ``id`` are None where they are not known; ``reason`` is counted, ``detail`` says what is wrong.
    """

    split: str | None
    where: str
    id: str | None
    reason: str
    detail: str


class Note(NamedTuple):
    """What a person should know about a release although nothing is set aside."""

    text: str


Finding = Row | SetAside | Note
Source = Callable[..., Iterator[Finding]]

sources: Registry[Source] = Registry("source", "'mmretrieval import --list' explains")


def missing(source: str, root: Any, what: str, looked_for: list[str]) -> ManifestError:
    """Return the error for a part of a release that is not there."""
    return ManifestError(
        f"{root}: found no {what}: looked for {', '.join(looked_for)}. "
        f"'mmretrieval import --list' shows the layout that '{source}' expects."
    )


def fault(sample: Sample) -> tuple[str, str] | None:
    """Say why a sample could not be read back from a manifest, as (reason, detail); None if it could.

    Annotations are written by many hands: where a text is expected there may be a number, or nothing.
    """
    for key in ("id", "video", "speech", "text", "video_id"):
        value = getattr(sample, key)
        if value is None:
            continue
        if not isinstance(value, str):
            return Reason.BROKEN_ROW, f"its {key} is not a text but {value!r:.60}."
        if not value.strip():
            return (
                (Reason.EMPTY_CAPTION, "the caption is empty.")
                if key == "text"
                else (Reason.BROKEN_ROW, f"its {key} is empty.")
            )
        if not _is_text(value):
            printable = value.encode("utf-8", "backslashreplace").decode()
            return Reason.BROKEN_ROW, f"its {key} is not valid UTF-8: {printable}. Rename it."
    if sample.video is None and sample.speech is None and sample.text is None:
        return Reason.BROKEN_ROW, "it has neither video nor speech nor text."
    if any(not isinstance(label, str) or not label.strip() for label in sample.labels):
        return Reason.BROKEN_ROW, "one of its labels is empty."
    for word, start, end in sample.words:
        if not word or not 0 <= start <= end < math.inf:
            return Reason.BROKEN_ROW, f"the word '{word}' has the times {start:g}–{end:g}."
    return _span_fault(sample.start, sample.end)


def _span_fault(start: float | None, end: float | None) -> tuple[str, str] | None:
    begin = 0.0 if start is None else start
    if not 0 <= begin < math.inf:
        return Reason.BAD_SPAN, f"it starts at {begin:g} s; a span starts at 0 or later."
    if end is not None and not begin < end < math.inf:
        return Reason.BAD_SPAN, f"{begin:g}–{end:g} s: a span ends after it starts."
    return None


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True

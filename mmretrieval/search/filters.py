"""What may be an answer at all: a folder, a pattern of paths, dates, lengths and tags, looked at before ranking."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmretrieval.errors import QueryError, did_you_mean

if TYPE_CHECKING:
    from mmretrieval.search.gallery import Gallery

Date = str | date | datetime


@dataclass(frozen=True)
class Filter:
    """Conditions that a moment has to meet, all of them; None or empty ones are no condition.

    What is not known of a video (a copy without a date) does not meet a condition on it.

    Attributes:
        folder: The file lies in it or in a folder below it.
        path_glob: ``*``, ``?`` and ``[…]`` over the path. Without a slash the file's name has to match (``*.mov``),
            else the path from any folder on (``holiday/2026-*/*``); ``*`` crosses slashes.
        after: The file was changed on this day (2026-01-31) or at this time (2026-01-31T18:00), or later. UTC, unless
            the time says otherwise.
        before: The file was changed before this day began, or before this time.
        min_seconds: The video lasts at least so long.
        max_seconds: The video lasts at most so long.
        tags: The video has every one of these labels; upper and lower case are the same.

    Raises:
        QueryError: A date that is none, a length below 0, or limits that leave nothing between them.
    """

    folder: str | Path | None = None
    path_glob: str | None = None
    after: Date | None = None
    before: Date | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self):
        if isinstance(self.tags, str):
            object.__setattr__(self, "tags", (self.tags,))
        after, before = _time("after", self.after), _time("before", self.before)
        if after is not None and before is not None and after >= before:
            raise QueryError(f"nothing is after {self.after} and before {self.before}: 'after' must be the earlier one")
        for name in ("min_seconds", "max_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds >= 0:
                raise QueryError(f"{name} is a length in seconds and at least 0, got {seconds:g}")
        if None not in (self.min_seconds, self.max_seconds) and self.min_seconds > self.max_seconds:
            raise QueryError(
                f"nothing lasts at least {self.min_seconds:g} s and at most {self.max_seconds:g} s: "
                f"min_seconds must be the smaller one"
            )

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) not in (None, "", ()) for field in fields(self))

    def rows(self, gallery: Gallery) -> np.ndarray | None:
        """Return the rows that meet all conditions, (m,) int, ascending; None if there is no condition."""
        masks = [mask for _, mask in self._conditions(gallery)]
        return np.flatnonzero(np.logical_and.reduce(masks)) if masks else None

    def why_nothing(self, gallery: Gallery) -> str:
        """Say in a line why no moment meets the conditions."""
        conditions = self._conditions(gallery)
        for name, mask in conditions:
            if not mask.any():
                return f"no moment passes the filter: none of {len(gallery)} has {name}{self._hint(name, gallery)}"
        names = " and ".join(name for name, _ in conditions)
        return f"no moment passes the filter: none of {len(gallery)} has {names} at once"

    def _conditions(self, gallery: Gallery) -> list[tuple[str, np.ndarray]]:
        """Return every condition in words, with the moments that meet it, (n,) bool."""
        found = []
        if self.folder not in (None, ""):
            inside = os.path.abspath(self.folder).rstrip(os.sep) + os.sep
            found.append((f"a path in {self.folder}", _where(gallery, lambda path: path.startswith(inside))))
        if self.path_glob:
            found.append((f"a path like '{self.path_glob}'", _where(gallery, _matcher(self.path_glob))))
        if (after := _time("after", self.after)) is not None:
            found.append((f"a file changed at or after {self.after}", gallery.modified >= after))
        if (before := _time("before", self.before)) is not None:
            found.append((f"a file changed before {self.before}", gallery.modified < before))
        if self.min_seconds is not None:
            found.append((f"a video of at least {self.min_seconds:g} s", gallery.durations >= self.min_seconds))
        if self.max_seconds is not None:
            found.append((f"a video of at most {self.max_seconds:g} s", gallery.durations <= self.max_seconds))
        none = np.zeros(len(gallery), bool)
        found += [(f"the tag '{tag}'", gallery.tags.get(tag.lower(), none)) for tag in self.tags]
        return found

    def _hint(self, name: str, gallery: Gallery) -> str:
        tag = next((tag for tag in self.tags if name == f"the tag '{tag}'"), None)
        return "" if tag is None else did_you_mean(tag.lower(), gallery.tags).replace(" Did", ". Did", 1)


def _where(gallery: Gallery, meets) -> np.ndarray:
    codes, paths = gallery.paths
    return np.array([bool(meets(path)) for path in paths], bool)[codes]


def _matcher(pattern: str):
    translated = re.compile(fnmatch.translate(pattern))
    if "/" not in pattern:
        return lambda path: translated.match(os.path.basename(path))
    anywhere = re.compile(fnmatch.translate(f"*/{pattern}"))
    return lambda path: translated.match(path) or anywhere.match(path)


def _time(name: str, value: Date | None) -> float | None:
    """Return a date or a time as seconds since 1970."""
    if value in (None, ""):
        return None
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise QueryError(f"{name}: '{value}' is no date: write it like 2026-01-31 or 2026-01-31T18:00") from None
    if not isinstance(time, datetime):
        time = datetime(time.year, time.month, time.day)
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()

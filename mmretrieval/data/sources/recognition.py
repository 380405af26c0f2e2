"""What releases for action recognition have in common: lists of classes, and clips that are files or folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Reason, Row, SetAside
from mmretrieval.data.sources.files import CLIPS, Shelf, read_json, read_lines
from mmretrieval.errors import ManifestError, UnknownNameError, did_you_mean

_NUMBERED = re.compile(r"(\d+)[\s,;]+(\S.*)")


class Clips:
    """Finds videos by name below some folders, in their order: files first, then folders of frames.

    Args:
        folders: Where to look.
        frames: Expect a folder of frames where there is neither.
    """

    def __init__(self, folders: Iterable[Path], frames: bool = False):
        every = list(dict.fromkeys(folders))
        self._files = Shelf(every, CLIPS)
        self._home = str((self._files.folders or every)[0])
        self._frames = frames

    def find(self, *names: str) -> str | None:
        """Return the path of the first of these names that is there; None if none is."""
        found = (self._files.find(name) or self._folder(name) for name in names)
        return next((path for path in found if path), None)

    def find_or_expect(self, *names: str) -> str:
        """Return the path of the first of these names that is there, else where the first should be."""
        expected = os.path.join(self._home, names[0]) if self._frames else self._files.find_or_expect(names[0])
        return self.find(*names) or expected

    def _folder(self, name: str) -> str | None:
        paths = (os.path.join(folder, name) for folder in self._files.folders)
        return next((path for path in paths if os.path.isdir(path)), None)


class Classes:
    """The names of a data set's classes by their number.

    Read from one name per line, counted from 0; from ``number name`` per line; or from a JSON object
    ``{"name": number}``, the numbers as text or not.

    Raises:
        ManifestError: The file is empty, or says something else.
    """

    def __init__(self, path: Path):
        self.path = path
        self.names = _from_json(path) if path.suffix.lower() == ".json" else _from_lines(path)
        if not self.names:
            raise ManifestError(f"{path}: names not one class.")

    def problem(self, number: int) -> tuple[str, str] | None:
        """Say why a label is none of the classes, as reason and detail; None if it is one."""
        if number in self.names:
            return None
        first, last = min(self.names), max(self.names)
        detail = f"its label is {number}; {self.path.name} has {len(self.names)} classes, numbered {first}–{last}."
        return Reason.UNKNOWN_LABEL, detail


def check_variant(source: str, variant: str, known: Sequence[str]) -> None:
    """Raise ``UnknownNameError`` for a variant that a source does not have."""
    if variant not in known:
        raise UnknownNameError(
            f"{source} has no variant '{variant}'.{did_you_mean(variant, known)} Known: {', '.join(known)}."
        )


def _from_json(path: Path) -> dict[int, str]:
    table = read_json(path)
    try:
        return {int(number): name for name, number in table.items()}
    except (AttributeError, ValueError, TypeError):
        raise ManifestError(f'{path}: an object {{"name of a class": number, …}} is needed.') from None


def _from_lines(path: Path) -> dict[int, str]:
    lines = read_lines(path)
    if None in lines:
        raise ManifestError(f"{path}, line {lines.index(None) + 1}: not UTF-8.")
    names = [line.strip().strip('"') for line in lines if line.strip()]
    numbered = [_NUMBERED.fullmatch(name) for name in names]
    if not all(numbered):
        return dict(enumerate(names))
    return {int(parts[1]): parts[2] for parts in numbered}


def read_id_lists(lists: Mapping[str, Path], clips: Mapping[str, Clips]) -> Iterator[Finding]:
    """Yield the samples of lists with ``ID;label`` per line, by split; a test list may leave out the label."""
    for split, path in lists.items():
        for number, line in enumerate(read_lines(path), start=1):
            where = f"{path.name}, line {number}"
            if line is None:
                yield SetAside(split, where, None, Reason.BROKEN_ROW, "not UTF-8.")
                continue
            name, _, label = (part.strip() for part in line.partition(";"))
            if not name and not label:
                continue
            if not name:
                yield SetAside(split, where, None, Reason.BROKEN_ROW, f"a row is ID;label; this one is {line:.60}")
            elif not label and split != "test":
                yield SetAside(split, where, name, Reason.NO_LABEL, "has no label after its ID.")
            else:
                video = clips[split].find_or_expect(name)
                yield Row(split, where, Sample(name, video, video_id=name, labels=(label,) if label else ()))

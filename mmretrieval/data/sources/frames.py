"""Lists of folders of frames, as the framework of arXiv 2010.11757 and its descendants read them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import first_file, places, read_lines
from mmretrieval.data.sources.recognition import Classes, Clips, check_variant
from mmretrieval.errors import ManifestError, UnknownNameError
from mmretrieval.media.frame_names import FRAME_RATE

SPLITS = ("train", "val", "test")
VARIANTS = ("full", "mini")
CLASSES = ("classes.txt", "categories.txt", "labels.txt", "label.txt", "labels.json")
SEPARATORS = {";": "semicolons", ",": "commas", "\t": "tabs", " ": "spaces"}
_BY_NAME = {"semicolon": ";", "comma": ",", "tab": "\t", "\\t": "\t", "space": " "}
_INTEGER = re.compile(r"-?\d+")


@sources.register("frames")
def frames(
    root: Path,
    media: Sequence[Path] = (),
    variant: str = "full",
    classes: Path | None = None,
    separator: str | None = None,
    min_frames: int = 0,
) -> Iterator[Finding]:
    """Folders of frames with lists of them, in the layout of the published framework for action recognition.

    ROOT/train.txt, val.txt, test.txt     PATH FIRST LAST LABEL per line; also several labels, in test.txt none.
                                          Semicolons, commas or tabs may stand between them: --separator, or found
    ROOT/PATH/00001.jpg …                 the frames; FIRST and LAST are the numbers of files
    ROOT/classes.txt                      the names of the classes, one per line, counted from 0; or --classes FILE

    --variant mini takes mini_train.txt, mini_val.txt and mini_test.txt. Labels that are no class are set aside, and
    with --min-frames N videos of fewer frames, which the published code leaves out in silence (N is 3 for
    Something-Something, 30 for Kinetics). Without names the classes are called by their numbers.
    """
    check_variant("frames", variant, VARIANTS)
    lists = find_lists(root, variant)
    if not lists:
        raise missing("frames", root, "list of a split", [f"{_prefix(variant)}{split}.txt" for split in SPLITS])
    file = classes or first_file([root], CLASSES)
    yield from read_frame_lists(root, lists, media, Classes(file) if file else None, separator, min_frames)


def find_lists(root: Path, variant: str) -> dict[str, Path]:
    """Return the list of each split that is there."""
    prefix = _prefix(variant)
    folders = [root, root / "lists", root / "annotations"]
    found = {split: first_file(folders, [f"{prefix}{split}.txt", f"{prefix}{split}_400.txt"]) for split in SPLITS}
    return {split: path for split, path in found.items() if path}


def _prefix(variant: str) -> str:
    return "mini_" if variant == "mini" else ""


def read_frame_lists(
    root: Path,
    lists: dict[str, Path],
    media: Sequence[Path] = (),
    classes: Classes | None = None,
    separator: str | None = None,
    min_frames: int = 0,
) -> Iterator[Finding]:
    """Yield the samples of lists of frame folders.

    A range of frames becomes a span in seconds at the rate that folders of frames are read with.
    """
    clips = Clips(places(root, [".", "images", "frames"], media), frames=True)
    for split, path in lists.items():
        lines = read_lines(path)
        between = _separator(path, [line for line in lines if line], separator)
        for number, line in enumerate(lines, start=1):
            where = f"{path.name}, line {number}"
            if line is None:
                yield SetAside(split, where, None, Reason.BROKEN_ROW, "not UTF-8.")
            elif line.strip():
                yield _row(split, where, line, between, clips, classes, min_frames)


class _Entry(NamedTuple):
    path: str
    first: int
    last: int
    labels: list[int]


def _row(
    split: str, where: str, line: str, separator: str, clips: Clips, classes: Classes | None, min_frames: int
) -> Finding:
    entry = _entry(line, separator)
    if entry is None:
        problem = f"a row is a path, its first and its last frame and a label; this one is {line.strip():.60}"
        return SetAside(split, where, None, Reason.BROKEN_ROW, problem)
    if fault := _fault(split, entry, classes, min_frames):
        return SetAside(split, where, entry.path, *fault)
    base = min(entry.first, 1)  # files are numbered from 1, or from 0 if a range starts there
    name = entry.path if entry.first == base else f"{entry.path}:{entry.first}-{entry.last}"
    start = (entry.first - base) / FRAME_RATE or None
    end = (entry.last - base + 1) / FRAME_RATE
    labels = tuple(classes.names[label] if classes else str(label) for label in entry.labels)
    video = clips.find_or_expect(entry.path)
    return Row(split, where, Sample(name, video, video_id=entry.path, start=start, end=end, labels=labels))


def _fault(split: str, entry: _Entry, classes: Classes | None, min_frames: int) -> tuple[str, str] | None:
    if not 0 <= entry.first <= entry.last:
        return Reason.BAD_SPAN, f"its frames are {entry.first}–{entry.last}."
    count = entry.last - entry.first + 1
    if count < min_frames:
        return Reason.TOO_SHORT, f"has {count} frames, --min-frames asks for {min_frames}."
    if not entry.labels and split != "test":
        return Reason.NO_LABEL, "has no label after its first and its last frame."
    for label in entry.labels:
        if classes and (problem := classes.problem(label)):
            return problem
        if label < 0:
            return Reason.UNKNOWN_LABEL, f"its label is {label}; classes are numbered from 0."
    return None


def _entry(line: str, separator: str) -> _Entry | None:
    """Read one line: the numbers at its end, of which there must be two at least, and the path before them."""
    line = line.strip()
    cells = re.split(" +", line) if separator == " " else [cell.strip() for cell in line.split(separator)]
    first = len(cells)
    while first > 1 and _INTEGER.fullmatch(cells[first - 1]):
        first -= 1
    path, numbers = separator.join(cells[:first]), [int(cell) for cell in cells[first:]]
    return _Entry(path, numbers[0], numbers[1], numbers[2:]) if path and len(numbers) >= 2 else None


def _separator(path: Path, lines: Sequence[str], wanted: str | None) -> str:
    """Return what stands between the cells of a list: what fits most of its lines.

    Raises:
        UnknownNameError: Another separator was asked for than there are.
        ManifestError: Nothing fits one line, or something else than what was asked for fits more.
    """
    wanted = _BY_NAME.get(wanted, wanted) if wanted else None
    if wanted is not None and wanted not in SEPARATORS:
        raise UnknownNameError(f"unknown separator '{wanted}'. Known: ';' ',' tab and space.")
    fits = {separator: sum(_entry(line, separator) is not None for line in lines) for separator in SEPARATORS}
    found = max(fits, key=fits.get)
    if lines and not fits[found]:
        raise ManifestError(
            f"{path}: not one line is a path, its first and its last frame and a label; the first is {lines[0]:.60}"
        )
    if wanted is not None and fits[wanted] < fits[found]:
        raise ManifestError(
            f"{path}: its lines are separated by {SEPARATORS[found]}, not by {SEPARATORS[wanted]}. "
            "Leave out --separator, and what fits is found."
        )
    return wanted or found

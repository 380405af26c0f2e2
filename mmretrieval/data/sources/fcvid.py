"""FCVID.

The two lists are those that public code reads; how the file of classes is called is from memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Note, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import first_file, places, read_lines
from mmretrieval.data.sources.recognition import Classes, Clips
from mmretrieval.errors import ManifestError

SPLIT_LIST = "FCVID_VideoName_TrainTestSplit.txt"
LABELS = "FCVID_Label.txt"
CLASSES = ("FCVID_ClassName.txt", "FCVID_Class.txt", "classes.txt", "class_index.txt")
VIDEOS = ("FCVID", "FCVID_Videos", "videos", "frames", ".")


@sources.register("fcvid")
def fcvid(root: Path, media: Sequence[Path] = (), classes: Path | None = None) -> Iterator[Finding]:
    """FCVID: web videos of events, scenes and objects in 239 categories; a video may have several.

    ROOT/materials/FCVID_VideoName_TrainTestSplit.txt    FILE train or FILE test per line; also in ROOT
    ROOT/materials/FCVID_Label.txt                       a line per video in the same order: a 0 or 1 per category
    ROOT/materials/classes.txt                           the names of the categories, one per line; or --classes FILE
    ROOT/videos/FILE                                     folders of frames will do

    Without names of categories they are called by their numbers, counted from 0.
    """
    folders = [root, root / "materials", root / "annotations"]
    names, matrix = (first_file(folders, [name]) for name in (SPLIT_LIST, LABELS))
    for path, name in ((names, SPLIT_LIST), (matrix, LABELS)):
        if path is None:
            raise missing("fcvid", root, "list", [name, f"materials/{name}"])
    file = classes or first_file(folders, CLASSES)
    if file is None:
        yield Note("there are no names of categories: they are called by their numbers.")
    known = Classes(file) if file else None
    lines, rows = read_lines(names), read_lines(matrix)
    if len(lines) != len(rows):
        raise ManifestError(
            f"{matrix}: has {len(rows):,} lines, {names.name} has {len(lines):,}; they belong together."
        )
    clips = Clips(places(root, VIDEOS, media))
    for number, (line, row) in enumerate(zip(lines, rows), start=1):
        yield _row(f"{names.name}, line {number}", line, row, known, clips)


def _row(where: str, line: str | None, row: str | None, classes: Classes | None, clips: Clips) -> Finding:
    file, split = (line or "").rsplit(None, 1) if len((line or "").split()) > 1 else ("", "")
    if split not in ("train", "test"):
        problem = f"a row is a file and 'train' or 'test'; this one is {(line or 'not UTF-8').strip():.60}"
        return SetAside(None, where, None, Reason.BROKEN_ROW, problem)
    name = str(PurePosixPath(file).with_suffix(""))
    try:
        marked = [number for number, cell in enumerate((row or "").replace(",", " ").split()) if float(cell) > 0]
    except ValueError:
        return SetAside(split, where, name, Reason.BROKEN_ROW, f"its labels are no numbers: {row:.60}")
    if not marked:
        return SetAside(split, where, name, Reason.NO_LABEL, "is in no category.")
    for number in marked:
        if classes and (fault := classes.problem(number)):
            return SetAside(split, where, name, *fault)
    labels = tuple(classes.names[number] if classes else str(number) for number in marked)
    return Row(split, where, Sample(name, clips.find_or_expect(file, name), video_id=name, labels=labels))

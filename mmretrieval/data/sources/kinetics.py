"""Kinetics-400 and Mini-Kinetics.

Where the videos lie and what they are called depends on who downloaded them; hence the list of likely places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Note, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import Line, first_file, places, read_table
from mmretrieval.data.sources.frames import find_lists, read_frame_lists
from mmretrieval.data.sources.recognition import Classes, Clips, check_variant
from mmretrieval.errors import ManifestError

TABLES = {
    "train": ("train.csv", "kinetics-400_train.csv", "kinetics400_train.csv"),
    "val": ("val.csv", "validate.csv", "kinetics-400_val.csv", "kinetics400_val.csv"),
    "test": ("test.csv", "kinetics-400_test.csv", "kinetics400_test.csv"),
}
VIDEOS = ("{split}", "videos/{split}", "videos", "images/{split}", "videos_{split}", "{split}_256", ".")
MINI = ("mini_kinetics400.txt", "mini_classes.txt")
CLASSES = ("kinetics-400_label.txt", "images/kinetics-400_label.txt", "classes.txt", "labels.txt")


@sources.register("kinetics")
def kinetics(root: Path, media: Sequence[Path] = (), variant: str = "400") -> Iterator[Finding]:
    """Kinetics-400 and Mini-Kinetics: ten-second clips with the name of an action, which becomes a label.

    ROOT/train.csv, val.csv, test.csv    label,youtube_id,time_start,time_end,split per line; also in annotations/
    ROOT/train/LABEL/ID_000010_000020.mp4    and val/…; also without the folder of the class, or ID.mp4

    or, where there are no such tables, the lists of the published framework for action recognition:

    ROOT/train.txt, val.txt, test.txt    images/train/LABEL/ID_000010_000020;FIRST;LAST;NUMBER per line
    ROOT/images/train/LABEL/…            folders of frames; the class is named by its folder

    --variant mini takes the 200 classes of Mini-Kinetics: those named in ROOT/mini_kinetics400.txt, or the lists
    mini_train.txt and mini_val.txt.
    """
    check_variant("kinetics", variant, ("400", "mini"))
    folders = [root, root / "annotations", root / "data", root / "kinetics400"]
    tables = {split: first_file(folders, names) for split, names in TABLES.items()}
    if not any(tables.values()):
        yield from _lists(root, media, variant)
        return
    kept = _mini_classes(root) if variant == "mini" else None
    others = 0
    for split, path in tables.items():
        if path is None:
            yield Note(f"there is no {TABLES[split][0]}: that split is left out.")
            continue
        clips = Clips(places(root, [name.format(split=split) for name in VIDEOS], media))
        for finding in _table(split, path, clips):
            if kept is not None and isinstance(finding, Row) and not kept.issuperset(finding.sample.labels):
                others += 1
            else:
                yield finding
    if others:
        yield Note(f"{others:,} clips are of classes that Mini-Kinetics does not have: left out.")


def _mini_classes(root: Path) -> set[str]:
    path = first_file([root, root / "annotations"], MINI)
    if path is None:
        raise missing("kinetics", root, "list of the classes of Mini-Kinetics", list(MINI))
    return set(Classes(path).names.values())


def _table(split: str, path: Path, clips: Clips) -> Iterator[Finding]:
    header, lines = read_table(path)
    for name in ("youtube_id", "time_start", "time_end"):
        if name not in header:
            raise ManifestError(f"{path}: has no column '{name}'; its columns are {', '.join(header)}.")
    for line in lines:
        yield _row(split, f"{path.name}, line {line.number}", line, header, clips)


def _row(split: str, where: str, line: Line, header: list[str], clips: Clips) -> Finding:
    if line.problem:
        return SetAside(split, where, None, Reason.BROKEN_ROW, line.problem)
    cells = dict(zip(header, (cell.strip() for cell in line.cells)))
    video, label = cells["youtube_id"], cells.get("label", "")
    try:
        name = f"{video}_{int(float(cells['time_start'])):06}_{int(float(cells['time_end'])):06}"
    except ValueError:
        problem = f"its times are '{cells['time_start']}' and '{cells['time_end']}'; two numbers are needed."
        return SetAside(split, where, video, Reason.BROKEN_ROW, problem)
    if not label and split != "test":
        return SetAside(split, where, name, Reason.NO_LABEL, "has no label.")
    names = [name, video]
    if label:
        folders = dict.fromkeys((label, label.replace(" ", "_")))
        names = [f"{folder}/{name}" for folder in folders] + [f"{folder}/{video}" for folder in folders] + names
    path = clips.find_or_expect(*names)
    return Row(split, where, Sample(name, path, video_id=name, labels=(label,) if label else ()))


def _lists(root: Path, media: Sequence[Path], variant: str) -> Iterator[Finding]:
    lists = find_lists(root, variant)
    if not lists:
        prefix = "mini_" if variant == "mini" else ""
        looked_for = ["train.csv", "val.csv", f"{prefix}train.txt", f"{prefix}val.txt"]
        raise missing("kinetics", root, "list of a split", looked_for)
    file = first_file([root], CLASSES if variant == "400" else MINI)
    classes = Classes(file) if file else None
    for finding in read_frame_lists(root, lists, media, classes):
        if classes is None and isinstance(finding, Row) and finding.sample.labels:
            label = Path(finding.sample.video).parent.name
            finding = finding._replace(sample=replace(finding.sample, labels=(label,)))
        yield finding

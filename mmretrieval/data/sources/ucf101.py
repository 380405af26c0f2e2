"""UCF101."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import first_file, places, read_lines
from mmretrieval.data.sources.recognition import Classes, Clips, check_variant

VIDEOS = ("UCF-101", "UCF101", "videos", "frames", ".")


@sources.register("ucf101")
def ucf101(root: Path, media: Sequence[Path] = (), variant: str = "1") -> Iterator[Finding]:
    """UCF101: clips of sports and daily life with the name of an action, which becomes a label.

    ROOT/ucfTrainTestlist/trainlist01.txt    CLASS/v_CLASS_g08_c01.avi NUMBER per line
    ROOT/ucfTrainTestlist/testlist01.txt     CLASS/v_CLASS_g01_c01.avi per line
    ROOT/ucfTrainTestlist/classInd.txt       NUMBER CLASS per line, counted from 1
    ROOT/UCF-101/CLASS/v_CLASS_g01_c01.avi   or all of it in ROOT; folders of frames will do

    --variant 1, 2 or 3 takes that one of the three published splits.
    """
    check_variant("ucf101", variant, ("1", "2", "3"))
    folders = [root, root / "ucfTrainTestlist", root / "annotations"]
    names = {split: f"{split}list0{variant}.txt" for split in ("train", "test")}
    lists = {split: first_file(folders, [name]) for split, name in names.items()}
    file = first_file(folders, ["classInd.txt"])
    for part in (*lists.items(), ("classes", file)):
        if part[1] is None:
            looked_for = names.get(part[0], "classInd.txt")
            raise missing("ucf101", root, "list", [looked_for, f"ucfTrainTestlist/{looked_for}"])
    classes = Classes(file)
    clips = Clips(places(root, VIDEOS, media))
    for split, path in lists.items():
        for number, line in enumerate(read_lines(path), start=1):
            where = f"{path.name}, line {number}"
            if line is None:
                yield SetAside(split, where, None, Reason.BROKEN_ROW, "not UTF-8.")
            elif line.strip():
                yield _row(split, where, line.strip(), classes, clips)


def _row(split: str, where: str, line: str, classes: Classes, clips: Clips) -> Finding:
    file, _, number = line.partition(" ")
    label = file.rpartition("/")[0]
    name = file.removesuffix(".avi")
    if not label or (number and not number.strip().isdecimal()):
        problem = f"a row is CLASS/FILE.avi and the number of the class; this one is {line:.60}"
        return SetAside(split, where, None, Reason.BROKEN_ROW, problem)
    if number and (fault := classes.problem(int(number))):
        return SetAside(split, where, name, *fault)
    if label not in classes.names.values() or (number and classes.names[int(number)] != label):
        problem = f"its class '{label}' does not stand under this number in {classes.path.name}."
        return SetAside(split, where, name, Reason.UNKNOWN_LABEL, problem)
    return Row(split, where, Sample(name, clips.find_or_expect(file, name), video_id=name, labels=(label,)))

"""Moments in Time.

The names of the lists and their four columns are from memory; the votes are not needed and may be left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import CLIPS, Shelf, first_file, places, read_lines, table_rows

SPLITS = {
    "train": (("trainingSet.csv", "train.csv", "training.csv"), ("training", "train")),
    "val": (("validationSet.csv", "val.csv", "validation.csv"), ("validation", "val")),
    "test": (("testingSet.csv", "testSet.csv", "test.csv"), ("testing", "test")),
}


@sources.register("moments")
def moments(root: Path, media: Sequence[Path] = ()) -> Iterator[Finding]:
    """Moments in Time: three-second clips with the name of an action, which becomes a label; there are no captions.

    ROOT/trainingSet.csv, validationSet.csv    class/file.mp4,label,votes_yes,votes_no per line
    ROOT/training/class/file.mp4               and validation/…; or the classes in ROOT itself or in ROOT/videos

    In the names of classes "+" stands for a space.
    """
    lists = {split: first_file([root], names) for split, (names, _) in SPLITS.items()}
    if not any(lists.values()):
        raise missing("moments", root, "list of a split", ["trainingSet.csv", "validationSet.csv", "testingSet.csv"])
    for split, path in lists.items():
        if path is None:
            continue
        videos = Shelf(places(root, [*SPLITS[split][1], "videos", "."], media), CLIPS)
        for line in table_rows(read_lines(path), ",", None):
            where = f"{path.name}, line {line.number}"
            if line.problem:
                yield SetAside(split, where, None, Reason.BROKEN_ROW, line.problem)
            elif line.number > 1 or os.path.splitext(line.cells[0])[1]:  # the first line may name the columns
                yield _row(split, where, [cell.strip() for cell in line.cells], videos)


def _row(split: str, where: str, cells: list[str], videos: Shelf) -> Finding:
    name = os.path.splitext(cells[0])[0]
    if len(cells) < 2 or not cells[0] or not cells[1]:
        problem = f"a row is class/file.mp4,label,votes_yes,votes_no; this one is {','.join(cells):.60}"
        return SetAside(split, where, name or None, Reason.BROKEN_ROW, problem)
    video = videos.find_or_expect(cells[0])
    label = cells[1].replace("+", " ")
    return Row(split, where, Sample(name, video, video_id=name, labels=(label,)))

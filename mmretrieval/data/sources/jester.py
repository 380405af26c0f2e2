"""Jester."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mmretrieval.data.sources.base import Finding, Note, missing, sources
from mmretrieval.data.sources.files import first_file, places
from mmretrieval.data.sources.recognition import Clips, read_id_lists

LISTS = {"train": "jester-v1-train.csv", "val": "jester-v1-validation.csv", "test": "jester-v1-test.csv"}


@sources.register("jester")
def jester(root: Path, media: Sequence[Path] = ()) -> Iterator[Finding]:
    """Jester: hand gestures before a camera, with the name of the gesture, which becomes a label.

    ROOT/jester-v1-train.csv, jester-v1-validation.csv, jester-v1-test.csv    ID;label per line, in test only ID;
                                                                              also in annotations/ or labels/
    ROOT/20bn-jester-v1/ID/00001.jpg                                          folders of frames

    Left and right are classes: never mirror these videos.
    """
    folders = [root, root / "annotations", root / "labels"]
    lists = {split: first_file(folders, [name]) for split, name in LISTS.items()}
    if not any(lists.values()):
        raise missing("jester", root, "list of a split", list(LISTS.values()))
    for split, path in lists.items():
        if path is None:
            yield Note(f"there is no {LISTS[split]}: that split is left out.")
    clips = Clips(places(root, ["20bn-jester-v1", "videos", "frames", "."], media), frames=True)
    found = {split: path for split, path in lists.items() if path}
    yield from read_id_lists(found, dict.fromkeys(found, clips))

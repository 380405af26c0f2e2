"""Something-Something, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Note, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import first_file, places, read_json
from mmretrieval.data.sources.recognition import Classes, Clips, check_variant, read_id_lists
from mmretrieval.errors import ManifestError

PREFIX = "something-something-v"
LONG = {"train": "train", "val": "validation", "test": "test"}
VIDEOS = ("20bn-something-something-v{version}", "{split}", "videos", "frames", ".")
MINI = ("mini_ssv2.txt", "mini_classes.txt")


@sources.register("something")
def something(root: Path, media: Sequence[Path] = (), variant: str | None = None) -> Iterator[Finding]:
    """Something-Something: people doing simple things with objects; the template of a description becomes a label.

    Version 1
    ROOT/something-something-v1-train.csv, …-validation.csv, …-test.csv    ID;label per line, in test only ID
    ROOT/20bn-something-something-v1/ID/00001.jpg                          folders of frames

    Version 2
    ROOT/something-something-v2-train.json, …-validation.json, …-test.json    also train.json …, also in labels/
                                      a list of {"id": ID, "label": description, "template": "Holding [something]"}
    ROOT/20bn-something-something-v2/ID.webm

    --variant v1 or v2 where both are there; else version 2 is taken. --variant mini takes the 87 classes of version 2
    that ROOT/mini_ssv2.txt names. Descriptions become captions. Left and right are classes: never mirror these videos.
    """
    check_variant("something", variant or "v2", ("v1", "v2", "mini"))
    folders = [root, root / "labels", root / "annotations"]
    second = {split: first_file(folders, [f"{PREFIX}2-{name}.json", f"{name}.json"]) for split, name in LONG.items()}
    first = {split: first_file(folders, [f"{PREFIX}1-{name}.csv"]) for split, name in LONG.items()}
    lists = first if variant == "v1" or (variant is None and not any(second.values())) else second
    if not any(lists.values()):
        raise missing("something", root, "list of a split", [f"{PREFIX}1-train.csv", f"{PREFIX}2-train.json"])
    version = 1 if lists is first else 2
    for split, path in lists.items():
        if path is None:
            yield Note(f"there is no {PREFIX}{version}-{LONG[split]}: that split is left out.")
    found = {split: path for split, path in lists.items() if path}
    shelves = {
        split: Clips(places(root, [name.format(version=version, split=split) for name in VIDEOS], media), version == 1)
        for split in found
    }
    if version == 1:
        yield from read_id_lists(found, shelves)
    else:
        yield from _second(found, shelves, _mini_classes(root) if variant == "mini" else None)


def _mini_classes(root: Path) -> set[str]:
    path = first_file([root, root / "labels"], MINI)
    if path is None:
        raise missing("something", root, "list of the classes of the small one", list(MINI))
    return set(Classes(path).names.values())


def _second(lists: Mapping[str, Path], shelves: Mapping[str, Clips], kept: set[str] | None) -> Iterator[Finding]:
    others = 0
    for split, path in lists.items():
        entries = read_json(path)
        if not isinstance(entries, list):
            raise ManifestError(f'{path}: a list of {{"id": …, "label": …, "template": …}} is needed.')
        for number, entry in enumerate(entries, start=1):
            finding = _row(split, f"{path.name}, entry {number}", entry, shelves[split])
            if kept is not None and isinstance(finding, Row) and not kept.issuperset(finding.sample.labels):
                others += 1
            else:
                yield finding
    if others:
        yield Note(f"{others:,} clips are of classes that the small one does not have: left out.")


def _row(split: str, where: str, entry: Any, clips: Clips) -> Finding:
    name = entry.get("id") if isinstance(entry, Mapping) else None
    if not isinstance(name, (str, int)) or not str(name):
        return SetAside(split, where, None, Reason.BROKEN_ROW, f"has no 'id': {entry!r:.60}")
    name, template = str(name), entry.get("template")
    if not template and split != "test":
        return SetAside(split, where, name, Reason.NO_LABEL, "has no 'template'.")
    labels = (str(template).replace("[", "").replace("]", ""),) if template else ()
    video = clips.find_or_expect(name)
    return Row(split, where, Sample(name, video, text=entry.get("label"), video_id=name, labels=labels))

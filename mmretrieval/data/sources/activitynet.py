"""ActivityNet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.activitynet_captions import VIDEOS
from mmretrieval.data.sources.base import Finding, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import first_file, places, read_json
from mmretrieval.data.sources.recognition import Clips, check_variant
from mmretrieval.errors import ManifestError

LISTS = ("activity_net.v1-3.min.json", "activity_net.v1-3.json", "activity_net.v1-2.min.json", "activity_net.json")
SPLITS = {"training": "train", "validation": "val", "testing": "test"}


@sources.register("activitynet")
def activitynet(root: Path, media: Sequence[Path] = (), variant: str = "moments") -> Iterator[Finding]:
    """ActivityNet: videos of some two minutes, with the names of activities and when they are seen.

    ROOT/activity_net.v1-3.min.json    {"database": {ID: {"subset": "training", "annotations":
                                       [{"label": "Archery", "segment": [s, s]}, …]}}}; also in annotations/
    ROOT/videos/v_ID.mp4               or ID.mp4; mkv, webm and folders of frames too

    --variant moments (default)    a sample per activity: the span in which it is seen
    --variant videos               a sample per video: the whole of it, with all its labels, as networks for whole
                                   videos are measured

    Videos of the test split have no annotations: each is a sample without label.
    """
    check_variant("activitynet", variant, ("moments", "videos"))
    path = first_file([root, root / "annotations"], LISTS)
    if path is None:
        raise missing("activitynet", root, "annotations", list(LISTS))
    repeated: list[str] = []
    content = read_json(path, repeated)
    entries = content.get("database") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise ManifestError(f'{path}: an object {{"database": {{ID: {{"subset": …, "annotations": […]}}}}}} is needed.')
    shelves = {
        split: Clips(places(root, [name.format(split=split) for name in VIDEOS], media)) for split in SPLITS.values()
    }
    for name in set(repeated) & entries.keys():
        problem = "stands there more than once; the last one counts."
        yield SetAside(None, f"{path.name}, {name}", name, Reason.ID_TWICE, problem)
    for name, entry in entries.items():
        yield from _rows(f"{path.name}, {name}", name, entry, variant, shelves)


def _rows(where: str, name: str, entry: Any, variant: str, shelves: Mapping[str, Clips]) -> Iterator[Finding]:
    split = SPLITS.get(str(entry.get("subset"))) if isinstance(entry, Mapping) else None
    notes = entry.get("annotations") if split else None
    if split is None or not isinstance(notes, list):
        problem = f"has no 'subset' of {', '.join(SPLITS)}, or no list of 'annotations': {entry!r:.60}"
        yield SetAside(split, where, name, Reason.BROKEN_ROW, problem)
        return
    if not notes and split != "test":
        yield SetAside(split, where, name, Reason.NO_LABEL, "has no annotation.")
        return
    video = shelves[split].find_or_expect(f"v_{name}", name)
    if variant == "videos" or not notes:
        labels = tuple(dict.fromkeys(map(_label, notes)))
        yield Row(split, where, Sample(name, video, video_id=name, labels=labels))
        return
    for number, note in enumerate(notes):
        yield _moment(split, f"{where}, annotation {number + 1}", f"{name}-{number}", note, video, name)


def _moment(split: str, where: str, sample_id: str, note: Any, video: str, name: str) -> Finding:
    label = _label(note)
    if not label:
        return SetAside(split, where, sample_id, Reason.NO_LABEL, f"has no 'label': {note!r:.60}")
    span = note.get("segment")
    if not isinstance(span, list) or len(span) != 2 or not all(type(time) in (int, float) for time in span):
        problem = f"its segment is {span!r:.60}; two numbers are needed."
        return SetAside(split, where, sample_id, Reason.BAD_SPAN, problem)
    start, end = map(float, span)
    return Row(split, where, Sample(sample_id, video, video_id=name, start=start, end=end, labels=(label,)))


def _label(note: Any) -> str:
    label = note.get("label") if isinstance(note, Mapping) else None
    return label.strip() if isinstance(label, str) else ""

"""VATEX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Note, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import CLIPS, Shelf, places, read_json
from mmretrieval.errors import ManifestError

SPLITS = {
    "train": ("vatex_training_v*.json", "vatex_train*.json"),
    "val": ("vatex_validation_v*.json", "vatex_val*.json"),
    "test": ("vatex_public_test_english_v*.json", "vatex_public_test*.json", "vatex_test*.json"),
}
VIDEOS = ("videos", "video", "clips", "{split}", "vatex_{split}", "vatex_{long}", "{long}", "videos/{split}", ".")
LONG = {"train": "training", "val": "validation", "test": "public_test"}
_NAME = re.compile(r"(.+)_(\d{6})_(\d{6})")


@sources.register("vatex")
def vatex(root: Path, media: Sequence[Path] = ()) -> Iterator[Finding]:
    """VATEX: ten-second clips of YouTube videos with ten written captions each; the English ones are taken.

    ROOT/vatex_training_v1.0.json, vatex_validation_v1.0.json, vatex_public_test_english_v1.1.json
                                      a list of {"videoID": "YTID_000010_000020", "enCap": […]}; also in annotations/
    ROOT/videos/YTID_000010_000020.mp4    or a folder per split
    ROOT/videos/YTID.mp4              whole videos will do: they are cut from second 10 to second 20
    """
    folders = [folder for folder in (root, root / "annotations", root / "annotation") if folder.is_dir()]
    lists = {split: _newest(folders, patterns) for split, patterns in SPLITS.items()}
    if not any(lists.values()):
        raise missing("vatex", root, "annotations", [patterns[0] for patterns in SPLITS.values()])
    whole = 0
    for split, path in lists.items():
        if path is None:
            yield Note(f"there is no {SPLITS[split][0]}: the split '{split}' is left out.")
            continue
        names = [name.format(split=split, long=LONG[split]) for name in VIDEOS]
        videos = Shelf(places(root, names, media), CLIPS)
        entries = read_json(path)
        if not isinstance(entries, list):
            raise ManifestError(f'{path}: a list of {{"videoID": …, "enCap": […]}} is needed.')
        for number, entry in enumerate(entries, start=1):
            for finding in _rows(split, f"{path.name}, entry {number}", entry, videos):
                whole += isinstance(finding, Row) and finding.sample.start is not None
                yield finding
    if whole:
        yield Note(f"{whole:,} captions are of whole videos, which are cut by the times in their names.")


def _newest(folders: Sequence[Path], patterns: Sequence[str]) -> Path | None:
    """Return the file with the highest version of the first pattern that fits any."""
    for folder in folders:
        for pattern in patterns:
            if found := sorted(path for path in folder.glob(pattern) if "without_annotations" not in path.name):
                return found[-1]
    return None


def _rows(split: str, where: str, entry: Any, videos: Shelf) -> Iterator[Finding]:
    video_id = entry.get("videoID") if isinstance(entry, Mapping) else None
    if not isinstance(video_id, str) or not video_id:
        yield SetAside(split, where, None, Reason.BROKEN_ROW, f"has no 'videoID': {entry!r:.60}")
        return
    captions = entry.get("enCap")
    if not isinstance(captions, list) or not captions:
        yield SetAside(split, where, video_id, Reason.NO_CAPTION, "has no English captions ('enCap').")
        return
    video, start, end = videos.find(video_id), None, None
    parts = _NAME.fullmatch(video_id)
    if video is None and parts and (whole := videos.find(parts[1])):
        video, start, end = whole, float(parts[2]), float(parts[3])
    video = video or videos.find_or_expect(video_id)
    for number, caption in enumerate(captions):
        text = caption.strip() if isinstance(caption, str) else caption
        yield Row(split, where, Sample(f"{video_id}-{number}", video, None, text, video_id, start, end))

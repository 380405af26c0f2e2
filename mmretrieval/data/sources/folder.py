"""Any folder of videos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import WHOLE, Finding, Note, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import read_lines
from mmretrieval.data.sources.splitting import split_rows
from mmretrieval.errors import ManifestError
from mmretrieval.media.suffixes import SPEECH_SUFFIXES, STILL_SUFFIXES, VIDEO_SUFFIXES

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@sources.register("folder")
def folder(root: Path, val_share: float = 0.0, test_share: float = 0.0, seed: int = 0) -> Iterator[Finding]:
    """Any folder of videos or pictures, with their captions beside them.

    ROOT/…/clip.mp4     a video, or a picture where no video has its name
    ROOT/…/clip.txt     its captions, one per line
    ROOT/…/clip.wav     its spoken caption, in any format; it belongs to the first line

    Names of sub-folders become labels, with "+" for a space. If the folders in ROOT are train, val and test, they are
    the splits; else --val-share 0.1 --test-share 0.1 hold out a tenth of the videos each, drawn by --seed.
    """
    if not root.is_dir():
        raise ManifestError(f"{root}: is not a folder.")
    top = [entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    by_folder = bool(top) and all(name.lower() in SPLITS for name in top)
    if by_folder and (val_share or test_share):
        raise ManifestError(f"{root}: is split into {', '.join(sorted(top))} already; leave out the shares.")
    reader = _Reader(root, by_folder)
    findings = [finding for current, names in _walk(root) for finding in reader.folder(current, names)]
    if not reader.clips:
        raise missing("folder", root, "video or picture", [*VIDEO_SUFFIXES, *STILL_SUFFIXES])
    yield from findings if by_folder else split_rows(findings, val_share, test_share, seed)
    if reader.bare:
        yield Note(f"{reader.bare:,} of {reader.clips:,} clips have no caption beside them.")


class _Reader:
    """Finds in each folder what belongs together."""

    def __init__(self, root: Path, by_folder: bool):
        self.root, self.by_folder = root, by_folder
        self.clips = self.bare = 0

    def folder(self, current: Path, names: list[str]) -> Iterator[Finding]:
        """Yield the samples of one folder."""
        by_kind: dict[tuple[str, str], list[str]] = {}
        for name in names:
            stem, suffix = os.path.splitext(name)
            by_kind.setdefault((stem, _kind(suffix.lower())), []).append(name)
        place = current.relative_to(self.root)
        parts = list(place.parts)
        split = SPLITS[parts.pop(0).lower()] if self.by_folder and parts else WHOLE
        labels = tuple(part.replace("+", " ") for part in parts)
        for stem in dict.fromkeys(stem for stem, _ in by_kind):
            kinds = {kind: by_kind.get((stem, kind), []) for kind in ("video", "still", "speech", "text")}
            clips = kinds["video"] or kinds["still"]
            if not clips and (kinds["text"] or kinds["speech"]):
                orphan = (place / (kinds["text"] or kinds["speech"])[0]).as_posix()
                yield SetAside(
                    split, orphan, None, Reason.MISSING_FILE, "no video or picture of this name lies beside it."
                )
            for clip in clips[:1]:
                yield from self._samples(split, current, clip, kinds, labels)
            for clip in clips[1:]:
                where = (place / clip).as_posix()
                yield SetAside(split, where, None, Reason.BROKEN_ROW, f"{clips[0]} has the same name; give it another.")

    def _samples(
        self, split: str, current: Path, clip: str, kinds: dict[str, list[str]], labels: tuple[str, ...]
    ) -> Iterator[Finding]:
        self.clips += 1
        where = (current / clip).relative_to(self.root).as_posix()
        name = os.path.splitext(where)[0]
        speech = str(current / kinds["speech"][0]) if kinds["speech"] else None
        sample = Sample(name, str(current / clip), speech, video_id=name, labels=labels)
        if not kinds["text"]:
            self.bare += speech is None
            yield Row(split, where, sample)
            return
        lines = read_lines(current / kinds["text"][0])
        captions = [line.strip() for line in lines if line is not None and line.strip()]
        if None in lines:
            problem = f"{kinds['text'][0]}, line {lines.index(None) + 1}: not UTF-8."
            yield SetAside(split, where, name, Reason.BROKEN_ROW, problem)
        elif not captions:
            yield SetAside(split, where, name, Reason.EMPTY_CAPTION, f"{kinds['text'][0]}: the file holds no caption.")
        elif len(captions) == 1:
            yield Row(split, where, replace(sample, text=captions[0]))
        else:
            for number, caption in enumerate(captions):
                own = replace(sample, id=f"{name}-{number}", speech=None if number else speech, text=caption)
                yield Row(split, f"{where}, caption {number + 1}", own)


def _kind(suffix: str) -> str:
    kinds = {"video": VIDEO_SUFFIXES, "still": STILL_SUFFIXES, "speech": SPEECH_SUFFIXES, "text": (".txt",)}
    return next((kind for kind, suffixes in kinds.items() if suffix in suffixes), "other")


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folders below and their files, by name; hidden ones are skipped."""
    for current, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(current), sorted(name for name in names if not name.startswith("."))

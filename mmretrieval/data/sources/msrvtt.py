"""MSR-VTT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Note, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import CLIPS, Shelf, first_file, places, read_json, read_table
from mmretrieval.errors import ManifestError, UnknownNameError, did_you_mean

ANNOTATIONS = ("MSRVTT_data.json", "train_val_videodatainfo.json", "videodatainfo_2017.json", "test_videodatainfo.json")
TRAIN = {"1k-a": "MSRVTT_train.9k.csv", "7k": "MSRVTT_train.7k.csv"}
TEST = "MSRVTT_JSFUSION_test.csv"
OFFICIAL = {"train": "train", "validate": "val", "test": "test"}
VIDEOS = (
    *("videos/all", "videos", "video", "MSRVTT_Videos", "TrainValVideo", "TestVideo", "train-video", "test-video"),
    *("all", "."),
)


@sources.register("msrvtt")
def msrvtt(root: Path, media: Sequence[Path] = (), variant: str = "1k-a") -> Iterator[Finding]:
    """MSR-VTT: web videos with twenty written captions each.

    ROOT/MSRVTT_data.json              or train_val_videodatainfo.json and test_videodatainfo.json; with "videos" and
                                       "sentences"; also in annotation/ or msrvtt_data/
    ROOT/MSRVTT_train.9k.csv, MSRVTT_train.7k.csv    video_id per line: what is trained on
    ROOT/MSRVTT_JSFUSION_test.csv      key,vid_key,video_id,sentence: 1,000 videos with one caption each
    ROOT/videos/all/videoN.mp4         or videos/, MSRVTT_Videos/, TrainValVideo/ and TestVideo/

    --variant 1k-a (default)  train on the 9k list, test on JSFusion's 1k-A
    --variant 7k              train on the 7k list, test on JSFusion's 1k-A
    --variant full            the splits that the JSON itself names: train, val, test
    """
    if variant not in (*TRAIN, "full"):
        raise UnknownNameError(
            f"msrvtt has no variant '{variant}'.{did_you_mean(variant, [*TRAIN, 'full'])} Known: 1k-a, 7k, full."
        )
    folders = [root, *(root / name for name in ("annotation", "annotations", "msrvtt_data", "data"))]
    videos = Shelf(places(root, VIDEOS, media), CLIPS)
    annotations = _Annotations(root, folders)
    yield from annotations.broken
    if variant == "full":
        yield from _full(annotations, videos)
        return
    path = first_file(folders, [TRAIN[variant]])
    test = first_file(folders, [TEST])
    if path is None and test is None:
        raise missing("msrvtt", root, "list of a split", [TRAIN[variant], TEST])
    listed: set[str] = set()
    if path is None:
        yield Note(f"there is no {TRAIN[variant]}: the split 'train' is left out.")
    else:
        yield from _train(path, annotations, videos, listed)
    if test is None:
        yield Note(f"there is no {TEST}: the split 'test' is left out.")
    else:
        yield from _test(test, videos, listed)
    if others := len(annotations.captions.keys() - listed):
        yield Note(f"{others:,} of {len(annotations.captions):,} videos with captions are in neither list: left out.")


class _Annotations:
    """The captions of the JSON files by video, and each video's own split."""

    def __init__(self, root: Path, folders: list[Path]):
        files = [path for name in ANNOTATIONS if (path := first_file(folders, [name]))]
        if not files:
            raise missing("msrvtt", root, "annotations", list(ANNOTATIONS))
        if files[0].name == ANNOTATIONS[0]:
            files = files[:1]  # it holds what the others do
        self.splits: dict[str, str | None] = {}
        self.captions: dict[str, list[tuple[str, str, Any]]] = {}
        self.broken: list[SetAside] = []
        for path in files:
            self._read(path)

    def _read(self, path: Path) -> None:
        content = read_json(path)
        if not isinstance(content, Mapping) or not isinstance(content.get("sentences"), list):
            raise ManifestError(f"{path}: an object with the lists 'videos' and 'sentences' is needed.")
        for video in content.get("videos") or []:
            if isinstance(video, Mapping) and isinstance(video.get("video_id"), str):
                self.splits[video["video_id"]] = OFFICIAL.get(video.get("split"))
        for number, entry in enumerate(content["sentences"], start=1):
            where = f"{path.name}, sentence {number}"
            if not isinstance(entry, Mapping) or not isinstance(entry.get("video_id"), str):
                self.broken.append(SetAside(None, where, None, Reason.BROKEN_ROW, f"has no 'video_id': {entry!r:.60}"))
                continue
            video = entry["video_id"]
            here = self.captions.setdefault(video, [])
            here.append((where, f"{video}-{entry.get('sen_id', len(here))}", entry.get("caption", "")))

    def rows(self, split: str, video: str, videos: Shelf) -> Iterator[Row]:
        path = videos.find_or_expect(video)
        for where, name, caption in self.captions.get(video, ()):
            text = caption.strip() if isinstance(caption, str) else caption
            yield Row(split, where, Sample(name, path, text=text, video_id=video))


def _full(annotations: _Annotations, videos: Shelf) -> Iterator[Finding]:
    for video, split in annotations.splits.items():
        if video not in annotations.captions:
            yield SetAside(split, f"videos, {video}", video, Reason.NO_CAPTION, "no sentence describes it.")
        elif split is not None:
            yield from annotations.rows(split, video, videos)
    for video, captions in annotations.captions.items():
        if annotations.splits.get(video) is None:
            problem = f"'videos' names no split (train, validate, test) for its video '{video}'."
            for where, name, _ in captions:
                yield SetAside(None, where, name, Reason.BROKEN_ROW, problem)


def _train(path: Path, annotations: _Annotations, videos: Shelf, listed: set[str]) -> Iterator[Finding]:
    header, lines = read_table(path)
    column = _column(path, header, "video_id")
    for line in lines:
        where = f"{path.name}, line {line.number}"
        if line.problem:
            yield SetAside("train", where, None, Reason.BROKEN_ROW, line.problem)
            continue
        video = line.cells[column].strip()
        if video in listed:
            yield SetAside("train", where, video, Reason.BROKEN_ROW, "the video was listed before.")
        elif video not in annotations.captions:
            yield SetAside("train", where, video, Reason.NO_CAPTION, "no sentence describes it.")
        else:
            yield from annotations.rows("train", video, videos)
        listed.add(video)


def _test(path: Path, videos: Shelf, listed: set[str]) -> Iterator[Finding]:
    header, lines = read_table(path)
    column, sentence = _column(path, header, "video_id"), _column(path, header, "sentence")
    for line in lines:
        where = f"{path.name}, line {line.number}"
        if line.problem:
            yield SetAside("test", where, None, Reason.BROKEN_ROW, line.problem)
            continue
        video = line.cells[column].strip()
        name = f"{video}-{line.cells[header.index('key')].strip()}" if "key" in header else video
        listed.add(video)
        sample = Sample(name, videos.find_or_expect(video), text=line.cells[sentence].strip(), video_id=video)
        yield Row("test", where, sample)


def _column(path: Path, header: list[str], name: str) -> int:
    if name not in header:
        raise ManifestError(f"{path}: has no column '{name}'; its columns are {', '.join(header)}.")
    return header.index(name)

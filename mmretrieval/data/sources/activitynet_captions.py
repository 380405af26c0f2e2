"""ActivityNet Captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Note, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import CLIPS, Shelf, first_file, places, read_json
from mmretrieval.errors import ManifestError, UnknownNameError, did_you_mean

SPLITS = ("train", "val_1", "val_2")
VARIANTS = ("moments", "paragraphs")
VIDEOS = ("videos", "video", "{split}", "videos/{split}", "Activity_Videos", "v1-3/train_val", "v1-2/val", ".")


@sources.register("activitynet-captions")
def activitynet_captions(root: Path, media: Sequence[Path] = (), variant: str = "moments") -> Iterator[Finding]:
    """ActivityNet Captions: videos of some two minutes, with written captions that have a start and an end.

    ROOT/train.json, val_1.json, val_2.json    {"v_ID": {"duration": s, "timestamps": [[s, s], …], "sentences": […]}}
                                               also in captions/ or annotations/
    ROOT/videos/v_ID.mp4                       or ID.mp4; mkv and webm too

    --variant moments (default)  a sample per caption: the span of the video that it describes
    --variant paragraphs         a sample per video: the whole of it, with all its captions one after the other

    Spans that end after their video are cut at its end, spans that start there are set aside. val_1 and val_2
    describe the same videos. With --check, the end is that of the file, else the one in the annotations.
    """
    if variant not in VARIANTS:
        raise UnknownNameError(
            f"activitynet-captions has no variant '{variant}'.{did_you_mean(variant, VARIANTS)} "
            f"Known: {', '.join(VARIANTS)}."
        )
    folders = [root, root / "captions", root / "annotations", root / "annotation"]
    lists = {split: first_file(folders, [f"{split}.json"]) for split in SPLITS}
    if not any(lists.values()):
        raise missing("activitynet-captions", root, "annotations", [f"{split}.json" for split in SPLITS])
    reader = _Reader(variant)
    for split, path in lists.items():
        if path is None:
            yield Note(f"there is no {split}.json: that split is left out.")
            continue
        folder = split.partition("_")[0]
        videos = Shelf(places(root, [name.format(split=folder) for name in VIDEOS], media), CLIPS)
        repeated: list[str] = []
        entries = read_json(path, repeated)
        if not isinstance(entries, dict):
            raise ManifestError(f'{path}: an object {{"v_…": {{"duration": …, …}}}} is needed.')
        for name in repeated:
            problem = "stands there more than once; the last one counts."
            yield SetAside(split, f"{path.name}, {name}", name, Reason.ID_TWICE, problem)
        for name, entry in entries.items():
            yield from reader.rows(split, f"{path.name}, {name}", name, entry, videos)
    if reader.clipped:
        yield Note(f"{reader.clipped:,} captions end after their video and were cut at its end.")


class _Reader:
    """Makes samples of one video's captions."""

    def __init__(self, variant: str):
        self.variant = variant
        self.clipped = 0

    def rows(self, split: str, where: str, name: str, entry: Any, videos: Shelf) -> Iterator[Finding]:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("sentences"), list):
            yield SetAside(split, where, name, Reason.BROKEN_ROW, f"has no list of 'sentences': {entry!r:.60}")
            return
        sentences = [text.strip() if isinstance(text, str) else text for text in entry["sentences"]]
        if not sentences:
            yield SetAside(split, where, name, Reason.NO_CAPTION, "has no sentence.")
            return
        video = videos.find(name) or videos.find(name.removeprefix("v_")) or videos.find_or_expect(name)
        if self.variant == "paragraphs":
            # the two validation files describe the same videos: their samples need names of their own
            text = " ".join(text for text in sentences if isinstance(text, str))
            yield Row(split, where, Sample(_name(split, name), video, text=text, video_id=name))
            return
        spans = entry.get("timestamps")
        if not isinstance(spans, list) or len(spans) != len(sentences):
            count = len(spans) if isinstance(spans, list) else "no"
            problem = f"has {len(sentences)} sentences, but {count} timestamps."
            yield SetAside(split, where, name, Reason.BROKEN_ROW, problem)
            return
        duration = entry.get("duration")
        for number, (text, span) in enumerate(zip(sentences, spans)):
            sample_id = f"{_name(split, name)}-{number}"
            yield self._moment(split, f"{where}, sentence {number + 1}", sample_id, video, text, span, duration)

    def _moment(
        self, split: str, where: str, sample_id: str, video: str, text: Any, span: Any, duration: Any
    ) -> Finding:
        if not isinstance(span, list) or len(span) != 2 or not all(map(_is_number, span)):
            problem = f"its time stamps are {span!r:.60}; two numbers are needed."
            return SetAside(split, where, sample_id, Reason.BAD_SPAN, problem)
        start, end = map(float, span)
        if _is_number(duration) and duration > 0:
            if start >= duration:
                problem = f"it starts at {start:g} s, the video ends at {duration:g} s."
                return SetAside(split, where, sample_id, Reason.BAD_SPAN, problem)
            if end > duration:
                end = float(duration)
                self.clipped += 1
        return Row(split, where, Sample(sample_id, video, text=text, start=start, end=end))


def _name(split: str, name: str) -> str:
    return f"{name}-{split}" if split != "train" else name


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

"""Spoken Moments in Time.

Certain about the release (public code consumes it): videos, transcriptions and ``train_set.txt``. The other two lists
are taken to be named alike. Not known are where the recordings lie and in what format, and how several captions of one
video are named; hence a list of likely folders, any format, and two ways to join captions to their video. Sizes of
splits are counted, never assumed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Note, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import CLIPS, Shelf, places, read_lines, table_rows
from mmretrieval.errors import ManifestError
from mmretrieval.media.suffixes import SPEECH_SUFFIXES

SPLITS = {"train": "train_set.txt", "val": "val_set.txt", "test": "test_set.txt"}
RECORDINGS = (
    *("audio", "audios", "wavs", "wav", "recordings", "speech", "spoken_captions", "spoken_caption", "captions"),
    *("audio_captions", "caption_audio"),
)
_SPEECH = (*SPEECH_SUFFIXES, ".webm", ".mp4", ".mkv")  # in a folder of recordings, a container holds one


@sources.register("smit")
def smit(root: Path, media: Sequence[Path] = ()) -> Iterator[Finding]:
    """Spoken Moments in Time: three-second clips with spoken descriptions and their transcripts.

    ROOT/videos/NAME.mp4
    ROOT/transcriptions/NAME.txt           the caption is the first line
    ROOT/audio/NAME.wav                    the recordings, if you have them; also wavs/, recordings/, speech/,
                                           spoken_captions/ …, and any format
    ROOT/train_set.txt, val_set.txt, test_set.txt    one NAME per line, without suffix; it may have sub-folders
    ROOT/caption_to_video.csv              if several captions describe one video: CAPTION NAME,VIDEO NAME per line

    Without that table, captions NAME_1, NAME_2 … belong to the video NAME if they have none of their own.
    """
    lists = {split: root / name for split, name in SPLITS.items() if (root / name).is_file()}
    if not lists:
        raise missing("smit", root, "list of a split", list(SPLITS.values()))
    videos = Shelf(places(root, ["videos"], media), CLIPS)
    if not videos.folders:
        raise missing("smit", root, "folder of videos", ["videos/"])
    recordings = Shelf(places(root, RECORDINGS), _SPEECH)
    transcripts = root / "transcriptions"
    if not transcripts.is_dir() and not recordings.folders:
        looked_for = ["transcriptions/", *(f"{name}/" for name in RECORDINGS)]
        raise missing("smit", root, "captions", looked_for)
    for name in SPLITS.values():
        if not (root / name).is_file():
            yield Note(f"there is no {name}: that split is left out.")
    reader = _Reader(videos, recordings, transcripts if transcripts.is_dir() else None, _table(root))
    for split, path in lists.items():
        for number, line in enumerate(read_lines(path), start=1):
            where = f"{path.name}, line {number}"
            if line is None:
                yield SetAside(split, where, None, Reason.BROKEN_ROW, "not UTF-8.")
            elif line.strip():
                yield reader.row(split, where, line.strip())
    yield from reader.notes()


class _Reader:
    """Puts together what belongs to one name of a list."""

    def __init__(self, videos: Shelf, recordings: Shelf, transcripts: Path | None, table: dict[str, str]):
        self.videos, self.recordings, self.transcripts, self.table = videos, recordings, transcripts, table
        self.by_number = self.silent = self.rows = 0

    def row(self, split: str, where: str, name: str) -> Finding:
        text = None
        if self.transcripts is not None:
            path = self.transcripts / f"{name}.txt"
            if not path.is_file():
                return SetAside(split, where, name, Reason.NO_CAPTION, f"{path}: no such file.")
            try:
                lines = read_lines(path)
            except ManifestError as error:
                return SetAside(split, where, name, Reason.NO_CAPTION, str(error))
            if lines and lines[0] is None:
                return SetAside(split, where, name, Reason.BROKEN_ROW, f"{path}: its first line is not UTF-8.")
            text = lines[0].strip() if lines else ""
            if not text:
                return SetAside(split, where, name, Reason.EMPTY_CAPTION, f"{path}: its first line is empty.")
        speech = self.recordings.find(name)
        if speech is None and self.transcripts is None:
            return SetAside(split, where, name, Reason.NO_CAPTION, "there is no recording of that name.")
        self.rows += 1
        self.silent += speech is None
        video_id, video = self._video(name)
        return Row(split, where, Sample(name, video, speech, text, video_id))

    def notes(self) -> Iterator[Note]:
        if self.by_number:
            yield Note(f"{self.by_number:,} captions belong to the video of their name without the number at its end.")
        if not self.recordings.folders:
            yield Note(f"there are no recordings (looked for {', '.join(f'{name}/' for name in RECORDINGS)}).")
        elif self.silent:
            yield Note(f"{self.silent:,} of {self.rows:,} captions have no recording; --need speech leaves them out.")

    def _video(self, name: str) -> tuple[str, str]:
        """Return name and path of the video that a caption describes."""
        if name in self.table:
            return self.table[name], self.videos.find_or_expect(self.table[name])
        own = self.videos.find(name)
        stem = re.fullmatch(r"(.*[^_\-#.])[_\-#.]+\d+", name)
        if own is None and stem and (shared := self.videos.find(stem[1])):
            self.by_number += 1
            return stem[1], shared
        return name, own or self.videos.find_or_expect(name)


def _table(root: Path) -> dict[str, str]:
    """Read which video each caption describes, where a table says so."""
    path = root / "caption_to_video.csv"
    if not path.is_file():
        return {}
    table = {}
    for line in table_rows(read_lines(path), ",", 2):
        if line.problem:
            raise ManifestError(f"{path}, line {line.number}: {line.problem}")
        caption, video = map(_without_suffix, line.cells)
        table[caption] = video
    return table


def _without_suffix(cell: str) -> str:
    name, suffix = os.path.splitext(cell.strip())
    return name if suffix.lower() in (*_SPEECH, *CLIPS) else name + suffix

"""Places Audio Captions.

Keys, ``text_alignment`` and the names of the lists of 2020 are as public code reads them. Which entries have
``asr_text``, ``uttid`` and word times differs between releases, so all three are optional.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmretrieval.data.manifest import Sample
from mmretrieval.data.sources.base import Finding, Note, Reason, Row, SetAside, missing, sources
from mmretrieval.data.sources.files import Shelf, first_file, read_json
from mmretrieval.errors import ManifestError, UnknownNameError, did_you_mean
from mmretrieval.media.suffixes import SPEECH_SUFFIXES, STILL_SUFFIXES

VARIANTS = {
    "400k": ("train", "val", "dev", "test"),
    "2020": ("train_2020", "dev_seen_2020", "dev_unseen_2020", "test_seen_2020", "test_unseen_2020"),
}


@sources.register("places-audio")
def places_audio(root: Path, media: Sequence[Path] = (), variant: str = "400k") -> Iterator[Finding]:
    """Places Audio Captions: photographs with spoken descriptions. A picture is a clip of one frame.

    ROOT/metadata/train.json, val.json    {"image_base_path": …, "audio_base_path": …, "data": [{"wav", "image",
                                          "uttid", "asr_text", "text_alignment"}, …]}; also in ROOT itself
    ROOT/metadata/train_2020.json, dev_seen_2020.json, dev_unseen_2020.json, test_…    taken by --variant 2020
    ROOT/wavs/…                           recordings
    ROOT/images/…                         the photographs; they come apart, as Places205: name their folder by --media

    The base paths in the files are those of whoever wrote them; where they do not exist, ROOT and --media are searched.
    "text_alignment" (word start and end, joined by "__") becomes the times of the words.
    """
    if variant not in VARIANTS:
        raise UnknownNameError(
            f"places-audio has no variant '{variant}'.{did_you_mean(variant, VARIANTS)} Known: {', '.join(VARIANTS)}."
        )
    wanted = VARIANTS[variant]
    lists = {split: path for split in wanted if (path := _find(root, split))}
    if not lists:
        looked_for = [f"metadata/{split}.json" for split in wanted]
        raise missing("places-audio", root, "list of a split", looked_for)
    reader = _Reader(root, media)
    for split, path in lists.items():
        content = read_json(path)
        if not isinstance(content, Mapping) or not isinstance(content.get("data"), list):
            raise ManifestError(f"{path}: an object with the list 'data' is needed.")
        reader.open(content)
        for number, entry in enumerate(content["data"], start=1):
            yield reader.row(split.removesuffix("_2020"), f"{path.name}, entry {number}", entry)
    if reader.without_text:
        count = f"{reader.without_text:,} of {reader.rows:,}"
        yield Note(f"{count} recordings have no transcript; --need text leaves them out.")


def _find(root: Path, split: str) -> Path | None:
    return first_file([root / "metadata", root], [f"{split}.json"])


class _Reader:
    """Puts together recording, picture, transcript and times of the words."""

    def __init__(self, root: Path, media: Sequence[Path]):
        self.root, self.media = root, [Path(folder) for folder in media]
        self.rows = self.without_text = 0

    def open(self, content: Mapping[str, Any]) -> None:
        """Take up where one list says that its files are."""
        # the names of recordings begin with wavs/ already, those of pictures do not begin with images/
        self.images = self._shelf(content.get("image_base_path"), ("images", "images256", "."), STILL_SUFFIXES)
        self.recordings = self._shelf(content.get("audio_base_path"), (".", "wavs", "audio"), SPEECH_SUFFIXES)

    def _shelf(self, base: Any, usual: Sequence[str], suffixes: Sequence[str]) -> Shelf:
        named = [self.root / base] if isinstance(base, str) and base else []
        return Shelf([*self.media, *named, *(self.root / name for name in usual)], suffixes)

    def row(self, split: str, where: str, entry: Any) -> Finding:
        parts = entry if isinstance(entry, Mapping) else {}
        wav, image = parts.get("wav"), parts.get("image")
        if not isinstance(wav, str) or not isinstance(image, str) or not wav or not image:
            return SetAside(split, where, None, Reason.BROKEN_ROW, f"needs 'wav' and 'image': {entry!r:.60}")
        name = str(parts.get("uttid") or Path(wav).stem)
        try:
            words = _words(parts.get("text_alignment") or "")
        except ValueError as error:
            return SetAside(split, where, name, Reason.BROKEN_ROW, str(error))
        text = parts.get("asr_text") or None
        if isinstance(text, str):
            text = text.strip() or None
        self.rows += 1
        self.without_text += text is None
        video, speech = self.images.find_or_expect(image), self.recordings.find_or_expect(wav)
        return Row(split, where, Sample(name, video, speech, text, video_id=image, words=words))


def _words(alignment: Any) -> tuple[tuple[str, float, float], ...]:
    """Read start__word__end, one after the other; a word may hold underscores itself."""
    words = []
    for entry in str(alignment).split():
        try:
            start, rest = entry.split("__", 1)
            word, end = rest.rsplit("__", 1)
            words.append((word, float(start), float(end)))
        except ValueError:
            raise ValueError(f"'text_alignment' holds '{entry:.40}'; each entry is start__word__end.") from None
    return tuple(words)

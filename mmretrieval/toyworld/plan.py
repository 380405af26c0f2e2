"""Which clips a world has: every scene, sentence and voice, and which split each belongs to, decided before drawing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from mmretrieval.errors import ManifestError
from mmretrieval.toyworld.scene import Scene, draw_scene
from mmretrieval.toyworld.sentences import Caption, write_caption
from mmretrieval.toyworld.voices import SEEN_VOICES, UNSEEN_VOICES, Narration, draw_narration

SPLITS = ("train", "val", "test")
FEWEST = 10
"""Clips of the smallest world: below, a split would be empty."""
TRIES = 400


@dataclass(frozen=True)
class Clip:
    """One clip: what happens, what is said about it and how."""

    id: str
    split: str
    scene: Scene
    caption: Caption
    narration: Narration


@dataclass
class Said:
    """What has been said already, to keep descriptions apart."""

    meanings: set[tuple] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    by_subject: dict[tuple, list[Caption]] = field(default_factory=lambda: defaultdict(list))

    def add(self, caption: Caption) -> None:
        """Remember a caption."""
        self.meanings.add(caption.meaning)
        self.texts.add(caption.text)
        self.by_subject[caption.subject].append(caption)

    def repeats(self, caption: Caption) -> bool:
        """Whether the same was said before, in the same words or in others."""
        return caption.meaning in self.meanings or caption.text in self.texts

    def confuses(self, caption: Caption) -> bool:
        """Whether one scene could be meant by this caption and by an earlier one."""
        return any(caption.agrees(earlier) for earlier in self.by_subject.get(caption.subject, ()))


def split_sizes(clips: int) -> dict[str, int]:
    """Return how many clips go to train, val and test: 84, 6 and 10 of a hundred."""
    test, val = max(1, round(clips * 0.10)), max(1, round(clips * 0.06))
    return {"train": clips - val - test, "val": val, "test": test}


def plan(clips: int, seed: int) -> list[Clip]:
    """Decide all clips of a world, in order of their ids.

    Within test, and within val, no caption fits the scene of another clip; and what a caption of either says is said
    nowhere else. About half of the test clips are spoken by voices that occur nowhere else.

    Raises:
        ManifestError: More clips are asked for than the world has descriptions, or fewer than its splits need.
    """
    if clips < FEWEST:
        raise ManifestError(f"a toy world of {clips} clips is too small to be split; ask for at least {FEWEST}.")
    sizes = split_sizes(clips)
    splits = [split for split in SPLITS for _ in range(sizes[split])]
    planned: dict[int, Clip] = {}
    held_out = Said()
    for split in ("test", "val", "train"):
        said = Said()
        for number in (i for i, s in enumerate(splits) if s == split):
            clip = _draw_clip(seed, number, clips, split, held_out, None if split == "train" else said)
            said.add(clip.caption)
            planned[number] = clip
        if split != "train":
            held_out.meanings |= said.meanings
            held_out.texts |= said.texts
    return [planned[number] for number in range(clips)]


def _draw_clip(seed: int, number: int, clips: int, split: str, held_out: Said, within: Said | None) -> Clip:
    """Draw a clip anew until it says nothing that it must not say."""
    for attempt in range(TRIES):
        rng = np.random.default_rng(np.random.SeedSequence([seed, number, attempt]))
        scene = draw_scene(rng)
        caption = write_caption(rng, scene)
        if held_out.repeats(caption) or (within and (within.confuses(caption) or caption.text in within.texts)):
            continue
        voices = UNSEEN_VOICES if split == "test" and rng.random() < 0.5 else SEEN_VOICES
        return Clip(f"{split}{number:06d}", split, scene, caption, draw_narration(rng, voices))
    raise ManifestError(
        f"a toy world of {clips} clips needs more different descriptions than there are; ask for fewer clips."
    )

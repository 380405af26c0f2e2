"""A collection that moves to another model, and that model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from fakes import ColourModel, video

from mmretrieval.collection import Collection


class Inverse(ColourModel):
    """Another model: its embedding is the mean of the complementary colour, in another width."""

    dim = 6
    metric = "inner_product"

    def __init__(self, name: str = "two", **more):
        super().__init__(name, **more)

    def video(self, clip) -> np.ndarray:
        return 255 - super().video(clip)


class Stopping(Inverse):
    """Somebody presses Ctrl-C after four clips."""

    def embed(self, modality, items):
        if self.embedded >= 4:
            raise KeyboardInterrupt
        return super().embed(modality, items)


def write_clips(folder: Path) -> Path:
    """Write four videos of two to four seconds, and a copy of one of them."""
    video(folder / "a.mp4", "red", "green", "blue", "red")
    video(folder / "b.mp4", "green", "blue")
    video(folder / "c.mp4", "blue", "red", "green")
    video(folder / "d.mp4", "red", "blue")
    shutil.copy(folder / "c.mp4", folder / "e.mp4")
    return folder


def collect(place: Path, clips: Path, model) -> Collection:
    """Make a collection of their moments, of which one is removed; another is named by a manifest row."""
    row = {"id": "mine", "video": str(clips / "d.mp4"), "start": 0.25, "end": 1.5, "text": "red, then blue"}
    (place / "rows.jsonl").write_text(json.dumps({**row, "labels": ["red"]}) + "\n")
    built = Collection.build(
        place / "made", [place / "rows.jsonl", clips], model, place / "model", window=1.0, stride=0.9
    )
    built.remove([next(moment.id for moment in built.moments if moment.path.endswith("a.mp4") and moment.start)])
    return built


def whole_message(error) -> str:
    return str(error.value)

"""What a build or an addition did, in numbers and in the first few reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmretrieval.collection.sources import SetAside
from mmretrieval.shown import count, one_line


class Summary(NamedTuple):
    """The outcome of a build or an addition.

    Attributes:
        videos: Videos that were looked at and are new to the collection.
        moments: Moments added.
        resumed: Those among them that an interrupted run had embedded.
        known: Moments of the given videos that were in the collection already.
        duplicates: Files with the content of another.
        black: Near-black moments that were dropped.
        still: Moments that were dropped as they only repeat the still picture before them.
        discarded: Shards of an interrupted run that were damaged, or of another model or other options.
        set_aside: What could not be used.
    """

    videos: int = 0
    moments: int = 0
    resumed: int = 0
    known: int = 0
    duplicates: int = 0
    black: int = 0
    still: int = 0
    discarded: int = 0
    set_aside: tuple[SetAside, ...] = ()

    @property
    def quarantined(self) -> int:
        """How many files or parts of files could not be used."""
        return len(self.set_aside)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**self._asdict(), "quarantined": self.quarantined, "set_aside": plain(self.set_aside)}

    def lines(self, shown: int = 5) -> list[str]:
        """Say it to a person, with so many reasons."""
        lines = [f"{count(self.videos, 'new video')}, {count(self.moments, 'moment')} added"]
        notes = {
            "of them embedded by an interrupted run": self.resumed,
            "there already": self.known,
        }
        lines[0] += "".join(f", {number} {what}" for what, number in notes.items() if number)
        if self.duplicates:
            lines.append(f"{count(self.duplicates, 'file')} with the content of another, noted as such")
        if self.black or self.still:
            lines.append(f"dropped: {self.black} near-black and {self.still} still moments; --keep-still keeps them")
        if self.discarded:
            what = "of an interrupted run discarded: damaged, or of another model or other options"
            lines.append(f"{count(self.discarded, 'shard')} {what}")
        if self.set_aside:
            lines.append(f"{count(self.quarantined, 'problem')}, set aside:")
            lines += [f"  {describe(aside)}" for aside in self.set_aside[:shown]]
        if self.quarantined > shown:
            lines.append(f"  and {self.quarantined - shown} more")
        return lines


def describe(aside: SetAside) -> str:
    """Return one line about something that was set aside."""
    if aside.start is None:
        where = ""
    elif aside.end is None:
        where = f" from {aside.start:.1f} s"
    else:
        where = f" at {aside.start:.1f}–{aside.end:.1f} s"
    return one_line(f"{aside.path}{where}: {aside.reason}")


def plain(set_aside: Sequence[SetAside]) -> list[dict[str, Any]]:
    """Return what was set aside as plain values."""
    return [{name: value for name, value in aside._asdict().items() if value is not None} for aside in set_aside]


def state_of(collection: Any) -> str:
    """Return one line about what a collection is now."""
    facts = collection.info()
    inside = f"{count(facts['moments'], 'moment')} of {count(facts['videos'], 'video')}"
    return f"{collection.folder}: {inside}, generation {facts['generation']}"

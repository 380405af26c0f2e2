"""What an import found, kept and set aside, for people and for scripts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmretrieval.data.sources.base import SetAside

EXAMPLES = 3


@dataclass
class SplitReport:
    """One split: rows found and kept, what the kept ones have, and where they were written (None if there are none).

    ``missing`` counts kept rows whose media are not there: only with ``keep_missing``.
    """

    found: int = 0
    kept: int = 0
    video: int = 0
    speech: int = 0
    text: int = 0
    videos: int = 0
    missing: int = 0
    manifest: str | None = None


@dataclass
class ImportReport:
    """One import.

    Attributes:
        source: Which source.
        root: The release.
        splits: Each split by name.
        set_aside: Everything that was set aside, with its place and reason.
        set_aside_file: Where each of them is named (None if there is none).
        notes: What a person should know.
        checked: Media files that were opened.
        seconds: How long it took.
    """

    source: str
    root: str
    splits: dict[str, SplitReport] = field(default_factory=dict)
    set_aside: list[SetAside] = field(default_factory=list)
    set_aside_file: str | None = None
    notes: list[str] = field(default_factory=list)
    checked: int = 0
    seconds: float = 0.0

    @property
    def reasons(self) -> dict[str, int]:
        """How many were set aside for each reason, the most frequent first."""
        return dict(Counter(entry.reason for entry in self.set_aside).most_common())

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON; what was set aside is counted here and named in ``set_aside_file``."""
        rest = {key: value for key, value in vars(self).items() if key not in ("splits", "set_aside", "set_aside_file")}
        return rest | {
            "splits": {name: asdict(split) for name, split in self.splits.items()},
            "set_aside": {"total": len(self.set_aside), "reasons": self.reasons, "file": self.set_aside_file},
        }

    def lines(self) -> Iterator[str]:
        """Yield the report as lines for a person."""
        yield f"{'split':18} {'found':>9} {'kept':>9} {'videos':>9} {'speech':>9} {'text':>9}"
        for name, split in self.splits.items():
            where = f"→ {split.manifest}" if split.manifest else "→ not written: nothing in it can be used"
            counts = (split.found, split.kept, split.videos, split.speech, split.text)
            yield f"{name:18} {' '.join(f'{count:>9,}' for count in counts)}   {where}"
        if self.checked:
            yield f"{self.checked:,} media files were opened"
        if self.set_aside:
            yield f"set aside {len(self.set_aside):,}: {reasons(self.reasons)}; each is named in {self.set_aside_file}"
            for entry in self.set_aside[:EXAMPLES]:
                yield f"  {entry.where}: {entry.detail}"
            if len(self.set_aside) > EXAMPLES:
                yield "  …"
        for note in self.notes:
            yield f"note: {note}"

    def warnings(self) -> Iterator[str]:
        """Yield what must not be overlooked: manifests that point to files that are not there."""
        for split in self.splits.values():
            if split.missing:
                yield (
                    f"{split.missing:,} of {split.kept:,} rows of {split.manifest} point to files that are missing or "
                    "empty; they were kept because of --keep-missing and cannot be read until the files are there."
                )


def reasons(counts: dict[str, int]) -> str:
    """Return "3 × missing file, 1 × empty caption"."""
    return ", ".join(f"{count:,} × {reason}" for reason, count in counts.items())


def set_aside_lines(entries: list[SetAside]) -> str:
    """Return what was set aside as JSON lines."""
    return "".join(json.dumps(_printable(entry._asdict()), ensure_ascii=False) + "\n" for entry in entries)


def set_aside_path(out: Path, split: str | None) -> Path:
    """Return where to name what was set aside: beside the one manifest, or in the folder of manifests."""
    manifest = out if out.suffix == ".jsonl" or split is None else out / f"{split}.jsonl"
    return manifest.with_suffix(".set_aside.jsonl") if manifest.suffix == ".jsonl" else out / "set_aside.jsonl"


def _printable(values: dict[str, Any]) -> dict[str, Any]:
    """Make names that are no UTF-8 writable."""
    return {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in values.items()
    }

"""Random but repeatable splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from mmretrieval.data.sources.base import WHOLE, Finding, Row
from mmretrieval.errors import ManifestError


def split_rows(findings: Iterable[Finding], val_share: float, test_share: float, seed: int) -> Iterator[Finding]:
    """Hold out shares of the videos for validation and test; all captions of a video go the same way.

    Videos are ordered by a hash of seed and name: the same seed gives the same split on every machine, in whatever
    order the files are found. Without shares nothing is split.

    Raises:
        ManifestError: The shares are negative or leave nothing to train on.
    """
    if val_share < 0 or test_share < 0 or val_share + test_share >= 1:
        raise ManifestError(
            f"shares of {val_share:g} for validation and {test_share:g} for test were asked for; "
            "each is at least 0, and together they stay below 1."
        )
    findings = list(findings)
    if not val_share and not test_share:
        yield from findings
        return
    videos = {_video(finding) for finding in findings if isinstance(finding, Row)}
    drawn = sorted(videos, key=lambda video: hashlib.sha256(f"{seed}:{video}".encode(errors="replace")).digest())
    tests, vals = round(test_share * len(drawn)), round(val_share * len(drawn))
    splits = dict.fromkeys(drawn, "train")
    splits |= dict.fromkeys(drawn[:tests], "test") | dict.fromkeys(drawn[tests : tests + vals], "val")
    for finding in findings:
        if isinstance(finding, Row):
            finding = finding._replace(split=splits[_video(finding)])
        elif getattr(finding, "split", None) == WHOLE:
            finding = finding._replace(split=None)
        yield finding


def _video(row: Row) -> str:
    return str(row.sample.video_id or row.sample.video or row.sample.id)

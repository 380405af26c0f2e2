"""Opening every media file of a release, to name the damaged ones before training meets them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from mmretrieval.data.sources.base import Reason, Row, SetAside
from mmretrieval.environment import cores
from mmretrieval.errors import MMRetrievalError
from mmretrieval.media.files import OVERRUN
from mmretrieval.media.frame_names import is_frame_folder

_BEGINNING = 0.1
"""Seconds of a recording that are decoded."""


class _Medium(NamedTuple):
    """A file as it was found: its length in seconds (videos), or why it cannot be used."""

    duration: float = 0.0
    problem: str | None = None


class Checked(NamedTuple):
    """What is left, what is not, what was changed on the way, and how many files were opened."""

    rows: list[Row]
    refused: list[SetAside]
    notes: list[str]
    files: int


def check_media(rows: list[Row], keep_missing: bool, progress: bool) -> Checked:
    """Open every file of ``rows`` and decode its beginning, several at a time.

    Spans that end after their video are cut at its end; those that begin there are set aside. With ``keep_missing``,
    files that are not there are passed over.
    """
    jobs = [(kind, path) for row in rows for kind, path in _files(row)]
    jobs = [job for job in dict.fromkeys(jobs) if not keep_missing or _is_there(job[1])]
    media = dict(zip(jobs, _open_all(jobs, progress)))
    kept: list[Row] = []
    refused: list[SetAside] = []
    clipped = 0
    for row in rows:
        found = [media[job] for job in _files(row) if job in media]
        problem = next((medium.problem for medium in found if medium.problem), None)
        verdict = (Reason.DAMAGED, problem) if problem else None
        video = media.get(("video", row.sample.video))
        if verdict is None and video is not None:
            verdict = _outside(row, video.duration)
        if verdict is not None:
            refused.append(SetAside(row.split, row.where, row.sample.id, *verdict))
            continue
        if video is not None and (row.sample.end or 0.0) > video.duration:
            clipped += row.sample.end > video.duration + OVERRUN
            row = row._replace(sample=replace(row.sample, end=video.duration))
        kept.append(row)
    notes = [f"{clipped:,} spans end after their video file and were cut at its end."] if clipped else []
    return Checked(kept, refused, notes, len(jobs))


def _outside(row: Row, duration: float) -> tuple[str, str] | None:
    start = row.sample.start or 0.0
    if start < duration:
        return None
    return Reason.BAD_SPAN, f"{row.sample.video}: it starts at {start:g} s, the video ends at {duration:.1f} s."


def _files(row: Row) -> list[tuple[str, str]]:
    both = (("video", row.sample.video), ("speech", row.sample.speech))
    return [(kind, path) for kind, path in both if path is not None]


def _is_there(path: str) -> bool:
    return is_frame_folder(path) or (os.path.isfile(path) and os.path.getsize(path) > 0)


def _open_all(jobs: list[tuple[str, str]], progress: bool) -> list[_Medium]:
    from tqdm import tqdm

    # the decoders work without the interpreter's lock
    with ThreadPoolExecutor(cores()) as pool:
        opened = pool.map(_open, jobs)
        return list(tqdm(opened, "opening", len(jobs), unit="file", disable=None if progress else True))


def _open(job: tuple[str, str]) -> _Medium:
    kind, path = job
    try:
        if kind == "video":
            from mmretrieval.media.video import open_video

            with open_video(path) as video:
                video.read([0])
                return _Medium(video.duration)
        from mmretrieval.media.audio import read_audio

        read_audio(path, end=_BEGINNING)
        return _Medium()
    except MMRetrievalError as error:
        return _Medium(problem=str(error))
    except Exception as error:  # a damaged file can make a decoder raise anything
        return _Medium(problem=f"{path}: {type(error).__name__}: {error}")

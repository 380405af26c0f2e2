"""Shards that are sealed early, and a disk that is full at the worst time."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mmretrieval import files
from mmretrieval.collection import ledger


def small_shards(monkeypatch, moments: int) -> None:
    """Seal a shard after so many moments, however long they take."""
    monkeypatch.setattr("mmretrieval.collection.embed.MOST_CLIPS", 2)
    monkeypatch.setattr(ledger, "SHARD_MOMENTS", moments)
    monkeypatch.setattr(ledger, "SHARD_SECONDS", math.inf)


@contextmanager
def full_disk(at: int) -> Iterator[None]:
    """Let the n-th sync of a file or folder find the disk full; a file is synced, then its folder."""
    synced, sync = [], os.fsync

    def full(handle: int) -> None:
        synced.append(handle)
        if len(synced) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        yield

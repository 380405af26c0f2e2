"""What a collection makes sure of before it takes something in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmretrieval.collection.ingest import Ingest
from mmretrieval.collection.ledger import FOLDER as PENDING
from mmretrieval.collection.locks import READERS
from mmretrieval.collection.segments import FOLDER, Moment
from mmretrieval.errors import CollectionError


def has_foreign(folder: Path) -> bool:
    """Return whether a folder without a manifest holds anything but what an interrupted build left there."""
    return any(
        not (item.name in (FOLDER, READERS, PENDING) or item.name.startswith((".", "index-")))
        for item in folder.iterdir()
    )


def check_embedded(moments: Sequence[Moment], embeddings: np.ndarray, dim: int, taken: Iterable[str]) -> None:
    """Make sure that moments and embeddings (n, D) can be added to a collection with the ids ``taken``."""
    if embeddings.shape != (len(moments), dim) or not len(moments):
        raise CollectionError(
            f"{len(moments)} moments with embeddings of shape {embeddings.shape}: give one or more and (moments, {dim})"
        )
    if not np.isfinite(embeddings).all():
        row = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
        raise CollectionError(f"the embedding of moment '{moments[row].id}' has numbers that are not finite")
    known = set(taken)
    for moment in moments:
        if moment.id in known:
            raise CollectionError(f"there is a moment '{moment.id}' already: give it another id")
        known.add(moment.id)


def check_video(model: Any) -> None:
    """Make sure that a model knows video."""
    if "video" not in model.modalities:
        raise CollectionError(
            f"a collection needs a model with video, this one knows {', '.join(model.modalities)}: train one with video"
        )


def nothing_usable(outcome: Ingest) -> CollectionError:
    """Return the error for sources of which no moment came."""
    summary = outcome.summary
    if not summary.set_aside:
        return CollectionError(
            f"nothing is left to index: {summary.black} near-black and {summary.still} still moments were dropped; "
            f"keep them with --keep-still"
        )
    first, count = summary.set_aside[0], summary.quarantined
    start = "the only video is unusable" if count == 1 else f"all {count} videos are unusable; the first"
    return CollectionError(f"{start}: {first.path}: {first.reason}")

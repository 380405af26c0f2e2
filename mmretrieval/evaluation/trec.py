"""Rankings in the text files of TREC, which trec_eval, ranx, ir_measures and pyserini read.

Per direction two files: ``text_to_video.run`` with lines ``qid Q0 docid rank score tag`` and ``text_to_video.qrels``
with lines ``qid 0 docid 1``. Blanks separate the columns, so blanks in ids are written as in web addresses: ``a b``
becomes ``a%20b``, and ``%`` itself ``%25``; ``unescape`` takes it back.

Items of equal score stand in the order of the gallery, and ranks say so. trec_eval does not look at ranks and orders
equal scores by id; only there may its numbers differ from the report's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from mmretrieval.evaluation.retrieval import (
    checked_embeddings,
    directions,
    groups_of,
    item_rows,
    score_blocks,
)
from mmretrieval.files import atomic_write

DEPTH = 1000
_BLANKS = re.compile(r"[\s%]")

unescape = unquote
"""Return the id behind a name in a TREC file."""


def escape(name: str) -> str:
    """Return an id as one word: white space and ``%`` become ``%`` and the hexadecimal digits of their UTF-8 bytes."""
    return _BLANKS.sub(lambda blank: quote(blank.group(), safe=""), name)


def write_trec(
    folder: str | Path,
    embeddings: Mapping[str, Any],
    ids: Sequence[str],
    video_ids: Sequence[str] | None = None,
    relevance: str = "both",
    depth: int = DEPTH,
    tag: str = "mmretrieval",
) -> list[Path]:
    """Write a run file and a qrels file per direction.

    Where videos repeat and are merged (``relevance`` "video" or "both"), a video goes by its video id, a caption by its
    sample id; "both" adds the other rule, own row only, in the folder ``strict``.

    Args:
        folder: Where to; files of these names are replaced.
        embeddings: Modality → (N, D).
        ids: Id of each sample.
        video_ids: Video of each sample.
        relevance: As in ``retrieval_report``.
        depth: Items listed per query, at most. Recall up to there equals the report's; mAP counts what lies deeper
            as not found.
        tag: Name of the system in the last column.

    Returns:
        The files.

    Raises:
        UnknownNameError, ValueError, ModelError: As in ``retrieval_report``; ValueError for a depth below 1.
        StorageError: The files cannot be written.
    """
    if depth < 1:
        raise ValueError(f"a run lists at least 1 item per query, got a depth of {depth}")
    vectors = checked_embeddings(embeddings, video_ids, "inner_product")
    groups = groups_of(video_ids, relevance)
    names = np.array([escape(name) for name in ids], dtype=object)
    places = [(Path(folder), groups)]
    if groups is not None and relevance == "both":
        places.append((Path(folder) / "strict", None))
    files = []
    for place, these in places:
        merged = names if these is None else np.array([escape(name) for name in video_ids or []], dtype=object)
        for query, gallery in directions(vectors):
            label = {name: merged if name == "video" else names for name in vectors}
            run, qrels = _lines(vectors, these, (query, gallery), label, depth, escape(tag))
            stem = place / f"{query}_to_{gallery}"
            for suffix, lines in ((".run", run), (".qrels", qrels)):
                files.append(stem.with_suffix(suffix))
                atomic_write(files[-1], "".join(lines))
    return files


def _lines(
    vectors: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
    direction: tuple[str, str],
    label: Mapping[str, np.ndarray],
    depth: int,
    tag: str,
) -> tuple[list[str], list[str]]:
    query, gallery = direction
    items = label[gallery][item_rows(vectors, groups, gallery)]
    run, qrels = [], []
    for rows, scores, relevant in score_blocks(vectors, groups, query, gallery):
        for name, row, right in zip(label[query][rows], scores, relevant, strict=True):
            run += _ranking(name, row, items, depth, tag)
            right_items = np.flatnonzero(right) if groups is not None else [right]
            qrels += [f"{name} 0 {items[item]} 1\n" for item in right_items]
    return run, qrels


def _ranking(name: str, scores: np.ndarray, items: np.ndarray, depth: int, tag: str) -> Iterator[str]:
    # nine digits tell any two float32 numbers apart, so equal scores stay equal and others stay different
    for rank, item in enumerate(np.argsort(-scores, kind="stable")[:depth], start=1):
        yield f"{name} Q0 {items[item]} {rank} {scores[item]:.9g} {tag}\n"

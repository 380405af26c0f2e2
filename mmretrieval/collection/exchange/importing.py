"""Shards of ``.npy`` and Parquet into a collection."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmretrieval.collection.checks import has_foreign
from mmretrieval.collection.collection import Collection, model_record
from mmretrieval.collection.exchange.layout import (
    Shard,
    at_row,
    check_unchanged,
    find_shards,
    open_embeddings,
    read_about,
)
from mmretrieval.collection.exchange.rows import Rows
from mmretrieval.collection.exchange.videos import Facts, look_up
from mmretrieval.collection.generations import delete_unneeded, first_generation, next_generation
from mmretrieval.collection.locks import only_writer, read_pinned
from mmretrieval.collection.manifest import NAME, Manifest
from mmretrieval.collection.segments import SEGMENT_ROWS, Moment, in_parts, live_table, segment_table
from mmretrieval.errors import CollectionError

if TYPE_CHECKING:
    import pyarrow

UNIT = 1e-5
"""How far from 1 a length may be that is left as it is, so that what was exported comes back to the bit."""


def import_collection(
    path: str | Path,
    folder: str | Path,
    model: Any,
    model_path: str | Path,
    *,
    any_model: bool = False,
    root: str | Path | None = None,
    progress: bool = True,
) -> Collection:
    """Make a collection of embeddings that lie in a folder, or add them to one of the same model.

    Where rows do not say what their video holds or how long it lasts, the files are asked that are there. All of them
    are one generation: after an error, or when the process is killed, what was there before is there.
    Memory holds one segment at a time, the ids, and the index.

    Args:
        path: The collection.
        folder: Holds ``img_emb/img_emb_0.npy``, ``metadata/metadata_0.parquet`` and so on.
        model: What made the embeddings: its ``metric``, ``dim`` and ``fingerprint()`` are asked for.
        model_path: Where that model is saved.
        any_model: Believe that ``model`` made them where the folder does not say so.
        root: The folder that relative paths start from; ``folder`` by default.
        progress: Show a progress bar when standard error is a terminal.

    Raises:
        CollectionError: Another model made them, or something does not fit together: the message names file and row.
        StorageError: The disk is full or refuses to be written; what was there before is untouched.
    """
    path, folder = Path(path), Path(folder)
    if not folder.is_dir():
        raise CollectionError(f"no folder '{folder}': give one with img_emb and metadata in it")
    about = read_about(folder)
    _check_origin(folder, about, model, any_model)
    shards = find_shards(folder, model.dim)
    total = sum(shard.rows for shard in shards)
    if about is not None and about["count"] != total:
        raise CollectionError(
            f"'{folder}' holds {total} rows, {about['count']} were exported: export the collection again"
        )
    if not total:
        raise CollectionError(f"'{folder}' holds no embeddings: there is nothing to import")
    home = Path(os.path.abspath(folder if root is None else root))
    videos = {} if about is not None else _videos(shards, home, progress)
    with only_writer(path):
        present = _present(path, model, model_path, about)
        taken = set(live_table(path, present.segments, present.removed, ["id"]).column("id").to_pylist())
        with next_generation(path, present) as draft:
            segments = list(present.segments)
            tables = (table for shard in shards for table in _tables(shard, home, videos, model, taken))
            for table in in_parts(tables, SEGMENT_ROWS):
                segments.append(draft.add_segment(table.combine_chunks()))
            draft.keep_index(segments)
            draft.publish(segments, present.removed)
        manifest, pin = read_pinned(path)
        delete_unneeded(path, manifest)
        return Collection(path, manifest, pin)


def _check_origin(folder: Path, about: dict[str, Any] | None, model: Any, any_model: bool) -> None:
    """Make sure that the model has made the embeddings, as far as the folder says."""
    if about is None:
        if not any_model:
            raise CollectionError(
                f"'{folder}' does not say which model made its embeddings: if it was this one, import it with "
                f"--any-model; with another every answer is chance"
            )
        return
    made_by, given = about["model"]["fingerprint"], model.fingerprint()
    if made_by != given:
        raise CollectionError(
            f"'{folder}' was made by model {made_by[:8]}, this is {given[:8]}: import it with {about['model']['path']}"
        )
    check_unchanged(folder, about)


def _present(path: Path, model: Any, model_path: str | Path, about: dict[str, Any] | None) -> Manifest:
    """Return the generation that the import starts from."""
    precision = None if about is None else about["model"].get("precision")
    if not (path / NAME).exists():
        if has_foreign(path):
            raise CollectionError(f"'{path}' is not empty and not a collection: give a new folder")
        record = model_record(path, model, model_path)
        return first_generation(
            model.metric, model.dim, {**record, "precision": precision} if precision is not None else record
        )
    collection = Collection.open(path)
    collection.check_model(model)
    present = collection.manifest
    collection.close()
    own = present.model.get("precision", "fp32")
    if about is not None and (precision or "fp32") != own:
        raise CollectionError(
            f"the embeddings of {path} were computed in {own}, these in {precision or 'fp32'}: import them into "
            f"another collection"
        )
    return present


def _videos(shards: list[Shard], root: Path, progress: bool) -> dict[str, Facts]:
    """Return what the files say of themselves that rows say nothing of."""
    lacking = dict.fromkeys(found for shard in shards for found in Rows(shard.metadata, root).lacking())
    return look_up([path for path, _ in lacking], [path for path, unknown in lacking if unknown], progress)


def _tables(shard: Shard, root: Path, videos: dict[str, Facts], model: Any, taken: set[str]) -> Iterator[pyarrow.Table]:
    """Yield what a shard adds to the segments; its ids are then taken, too."""
    stored = open_embeddings(shard.embeddings, model.dim)
    rows = Rows(shard.metadata, root, videos)
    for start, moments in rows:
        embeddings = np.array(stored[start : start + len(moments)], np.float32)
        _make_fit(embeddings, model.metric, shard.embeddings, start)
        _take_ids(moments, taken, shard.metadata, start)
        yield segment_table(moments, embeddings)


def _take_ids(moments: list[Moment], taken: set[str], file: Path, start: int) -> None:
    for number, moment in enumerate(moments):
        if moment.id in taken:
            raise at_row(file, start + number, f"there is a moment '{moment.id}' already: give it another id")
        taken.add(moment.id)


def _make_fit(embeddings: np.ndarray, metric: str, file: Path, start: int) -> None:
    """Make embeddings (n, D) what the metric needs, in place: for the cosine, their length is 1."""
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all():
        raise at_row(file, start + int(np.argmin(finite)), "the embedding has numbers that are not finite")
    if metric != "cosine":
        return
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    if not lengths.all():
        raise at_row(file, start + int(np.argmin(lengths)), "the embedding is all zeros, it has no direction")
    other = abs(lengths - 1) > UNIT
    embeddings[other] = embeddings[other] / lengths[other, None]

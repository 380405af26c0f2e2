"""``mmretrieval index export`` and ``import``: collections to and from what other programs use."""

from __future__ import annotations

import io
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmretrieval.errors import CollectionError
from mmretrieval.shown import count

Folder = Annotated[Path, typer.Argument(help="The folder of the collection.")]


class Format(StrEnum):
    """What a collection can be exported as."""

    npy = "npy"
    csv = "csv"


def export(
    collection: Folder,
    out: Annotated[Path, typer.Argument(help="A new folder; for csv a new file, or - for standard output.")],
    format: Annotated[
        Format | None,
        typer.Option(help="npy: embeddings and Parquet. csv: a table of moments; OUT.csv and - are one by default."),
    ] = None,
    shard: Annotated[int, typer.Option(help="Rows of one .npy file.")] = 100_000,
) -> None:
    """Write a collection as other programs read it.

    npy is the layout of clip-retrieval: img_emb/img_emb_0.npy, metadata/metadata_0.parquet with the same rows, and so
    on; 'index import' reads it again. csv lists the moments without their embeddings, as a table that
    'index build' and 'import csv' read again; a text that a spreadsheet would take for a formula gets an apostrophe
    before it.

    Example: mmretrieval index export indexes/holidays embeddings
    """
    from mmretrieval.collection import Collection
    from mmretrieval.collection.exchange import export_collection, list_moments

    opened = Collection.open(collection)
    if format is None:
        format = Format.csv if str(out) == "-" or out.suffix.lower() == ".csv" else Format.npy
    if format is Format.npy and str(out) == "-":
        raise CollectionError("embeddings are written to a folder: name one, or leave --format out for a table on -")
    if format is Format.npy:
        typer.echo(f"{out}: {count(export_collection(opened, out, shard), 'moment')}")
    elif str(out) == "-":
        stream = io.TextIOWrapper(sys.stdout.buffer, "utf-8", newline="", write_through=True)
        try:
            list_moments(opened, stream)
        finally:
            stream.detach()
    else:
        typer.echo(f"{out}: {count(list_moments(opened, out), 'moment')}")


def import_(
    collection: Folder,
    folder: Annotated[Path, typer.Argument(help="Holds img_emb/img_emb_0.npy, metadata/metadata_0.parquet, …")],
    model: Annotated[Path, typer.Option(help="The saved model that made the embeddings.")],
    any_model: Annotated[
        bool,
        typer.Option(
            "--any-model",
            help="Believe that MODEL made them where the folder does not say so. Nothing can check this: with another "
            "model every answer is chance.",
        ),
    ] = False,
    root: Annotated[Path | None, typer.Option(help="Where relative paths of videos start; FOLDER by default.")] = None,
) -> None:
    """Make a collection of embeddings that are there already, or add them to one of the same model.

    The Parquet files need a column path (video_path, image_path); id, start, end, duration, hash, tags, modified,
    caption and others are used where they are.

    Example: mmretrieval index import indexes/holidays embeddings --model runs/demo/model
    """
    from mmretrieval.collection.exchange import import_collection
    from mmretrieval.collection.summary import state_of
    from mmretrieval.model import RetrievalModel

    loaded = RetrievalModel.from_pretrained(model)
    made = import_collection(collection, folder, loaded, model, any_model=any_model, root=root)
    typer.echo(state_of(made))

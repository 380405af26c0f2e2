"""Where Milvus is, on the command line, and ``mmretrieval index push``."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmretrieval.errors import CollectionError, QueryError
from mmretrieval.shown import count

if TYPE_CHECKING:
    from mmretrieval.search.milvus import Milvus

BACKENDS = ("faiss", "milvus")
"""Where the nearest moments may be looked up."""

Uri = Annotated[
    str | None,
    typer.Option(
        metavar="URI", envvar="MMRETRIEVAL_MILVUS", help="Where Milvus is: http://host:19530, or a file of Milvus Lite."
    ),
]
Token = Annotated[
    str | None,
    typer.Option(metavar="TOKEN", envvar="MMRETRIEVAL_MILVUS_TOKEN", help="user:password or API key for Milvus."),
]


Backend = Annotated[
    str, typer.Option(help="Where the nearest moments are looked up: faiss, in the folder itself, or milvus.")
]


def backend_of(name: str, uri: str | None, token: str | None) -> Milvus | None:
    """Return where the nearest moments are looked up, None where the collection has them."""
    if name not in BACKENDS:
        raise QueryError(f"unknown backend '{name}': use one of {', '.join(BACKENDS)}")
    return connect(uri, token) if name == "milvus" else None


def connect(uri: str | None, token: str | None) -> Milvus:
    """Connect to the Milvus that was named."""
    from mmretrieval.search.milvus import Milvus

    if not uri:
        raise CollectionError("say where Milvus is: --milvus http://host:19530 or MMRETRIEVAL_MILVUS")
    return Milvus(uri, token)


def push(
    collection: Annotated[Path, typer.Argument(help="The folder of a collection.")],
    milvus: Uri = None,
    milvus_token: Token = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print plain values for scripts.")] = False,
) -> None:
    """Copy a collection into Milvus, for 'search' and 'serve --backend milvus'; given again, only what has changed.

    Example: mmretrieval index push indexes/holidays --milvus http://localhost:19530
    """
    from mmretrieval.collection import Collection
    from mmretrieval.search.pushing import push

    opened = Collection.open(collection)
    with closing(connect(milvus, milvus_token)) as server:
        done = push(opened, server)
        if as_json:
            typer.echo(json.dumps({**done._asdict(), "generation": opened.manifest.generation}, indent=2))
            return
        typer.echo(
            f"{count(done.written, 'moment')} written, {done.removed} removed; {done.name} in {server.place} has "
            f"{count(done.rows, 'moment')}, generation {opened.manifest.generation}"
        )

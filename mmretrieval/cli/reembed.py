"""``mmretrieval index reembed``: a collection moves to another model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmretrieval.cli.index import AsJson, Folder, Precision, Processes, TimeLimit, index

if TYPE_CHECKING:
    from mmretrieval.collection.reembedding import LossError


@index.command()
def reembed(
    collection: Folder,
    model: Annotated[Path, typer.Option(help="The saved model that embeds the videos from now on.")],
    out: Annotated[Path | None, typer.Option(help="A new folder for the outcome, instead of COLLECTION.")] = None,
    allow_lost: Annotated[
        bool, typer.Option("--allow-lost", help="Go on without moments whose videos are gone, changed or damaged.")
    ] = False,
    precision: Precision = "auto",
    time_limit: TimeLimit = 300.0,
    workers: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Embed the moments of a collection anew with another model; interrupted, the next run does only the rest.

    The collection stays as it is until all is embedded. Ids, spans, metadata and what was removed stay, too.

    Example: mmretrieval index reembed indexes/holidays --model runs/better/model
    """
    from mmretrieval.collection import Collection
    from mmretrieval.collection.reembedding import LossError
    from mmretrieval.collection.summary import state_of
    from mmretrieval.model import RetrievalModel

    opened = Collection.open(collection)
    loaded = RetrievalModel.from_pretrained(model)
    limits = {"precision": precision, "time_limit": time_limit, "workers": workers}
    try:
        summary = opened.reembed(loaded, model, out=out, allow_lost=allow_lost, **limits)
    except LossError as error:
        _list(error, as_json)
        raise
    result = opened if out is None else Collection.open(out)
    facts = result.info()
    if as_json:
        typer.echo(json.dumps({**summary.to_json(), "collection": facts}, indent=2))
        return
    if summary.already:
        typer.echo(f"{collection} was made by model {facts['model']['fingerprint'][:8]} already: nothing to do")
        return
    for line in summary.lines():
        typer.echo(line)
    typer.echo(state_of(result))


def _list(error: LossError, as_json: bool) -> None:
    """Say which videos cannot be embedded, and why."""
    from mmretrieval.collection.summary import describe, plain

    if as_json:
        typer.echo(json.dumps({"set_aside": plain(error.set_aside)}, indent=2))
        return
    for aside in error.set_aside:
        typer.echo(f"cannot be embedded: {describe(aside)}")

"""``mmretrieval index``: collections, made and looked after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

index = typer.Typer(help="Make a collection of videos and look after it.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(help="The folder of the collection.")]
Sources = Annotated[list[Path], typer.Argument(help="Video files, folders of them, or manifests (.jsonl).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print plain values for scripts.")]


@index.command()
def build(
    collection: Folder,
    sources: Sources,
    model: Annotated[Path, typer.Option(help="The saved model that embeds the videos.")],
    window: Annotated[float, typer.Option(min=1.0, help="Seconds of a moment.")] = 3.0,
    on_bad: Annotated[str, typer.Option(help="Broken files: skip (and list them) or raise.")] = "skip",
) -> None:
    """Embed videos and make them searchable; given again, it embeds only what is new.

    Example: mmretrieval index build indexes/holidays --model runs/demo/model ~/Videos
    """
    from mmretrieval.collection import Collection
    from mmretrieval.model import RetrievalModel

    made = Collection.build(
        collection, sources, RetrievalModel.from_pretrained(model), model, window=window, on_bad=on_bad
    )
    _summarise(made.info())


@index.command()
def add(
    collection: Folder,
    sources: Sources,
    model: Annotated[Path | None, typer.Option(help="The model, if it has moved since indexing.")] = None,
    window: Annotated[float, typer.Option(min=1.0, help="Seconds of a moment.")] = 3.0,
    on_bad: Annotated[str, typer.Option(help="Broken files: skip (and list them) or raise.")] = "skip",
) -> None:
    """Add videos to a collection with the model that made it."""
    from mmretrieval.search.searcher import Searcher

    searcher = Searcher.open(collection, model)
    added = searcher.collection.add(sources, searcher.model, window=window, on_bad=on_bad)
    typer.echo(f"{added.added} moments added, {added.known} were there already, {added.set_aside} files set aside")
    _summarise(searcher.collection.info())


@index.command()
def remove(
    collection: Folder,
    targets: Annotated[list[str], typer.Argument(help="Paths of videos, or ids of moments.")],
) -> None:
    """Take videos or single moments out of a collection; the files themselves are left alone."""
    from mmretrieval.collection import Collection

    opened = Collection.open(collection)
    typer.echo(f"{opened.remove(targets)} moments removed")


@index.command()
def info(collection: Folder, as_json: AsJson = False) -> None:
    """Show what a collection holds: videos, moments, files set aside, generation, model, index."""
    from mmretrieval.collection import Collection

    facts = Collection.open(collection).info()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _summarise(facts)


@index.command()
def verify(collection: Folder, as_json: AsJson = False) -> None:
    """Compare every file with its checksum; exit code 1 names a damaged one."""
    from mmretrieval.collection.verify import verify_collection

    problems = verify_collection(collection)
    if as_json:
        typer.echo(json.dumps([problem._asdict() for problem in problems], indent=2))
    else:
        for problem in problems:
            typer.echo(f"{problem.file}: {problem.problem}")
        typer.echo(f"{len(problems)} problems" if problems else "every file is as it was written")
    raise typer.Exit(1 if problems else 0)


def _summarise(facts: dict) -> None:
    for name, value in facts.items():
        if not isinstance(value, list | dict):
            typer.echo(f"{name:14} {value}")
    for name, value in facts.items():
        if isinstance(value, dict):
            typer.echo(f"{name:14} " + ", ".join(f"{key} {part}" for key, part in value.items()))
    for aside in facts.get("set_aside", []):
        typer.echo(f"set aside: {aside['path']}: {aside['reason']}")

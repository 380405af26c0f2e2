"""``mmretrieval index``: collections, made and looked after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mmretrieval.cli.exchange import export, import_
from mmretrieval.cli.milvus import push
from mmretrieval.cli.verbs import Verbs
from mmretrieval.shown import count, one_line

index = Verbs(help="Make a collection of videos and look after it.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(help="The folder of the collection.")]
Sources = Annotated[
    list[Path], typer.Argument(help="Video files, folders of them, manifests (.jsonl) or tables (.csv).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print plain values for scripts.")]

index.command()(push)

Window = Annotated[float, typer.Option(help="Seconds of a moment, at least 1.")]
Stride = Annotated[float | None, typer.Option(help="Seconds between the starts of moments; a window by default.")]
Shots = Annotated[bool, typer.Option("--shots", help="Let no moment reach over a cut from one shot to the next.")]
KeepStill = Annotated[bool, typer.Option("--keep-still", help="Keep near-black moments and repeated still pictures.")]
Precision = Annotated[str, typer.Option(help="fp32, bf16, int8, or auto: bf16 where the processor has it.")]
TimeLimit = Annotated[float, typer.Option(help="Seconds, beyond its length, to decode a video in.")]
Processes = Annotated[
    int | None, typer.Option("--workers", help="Decoding processes, of a cluster in all; one for two cores by default.")
]
OnBad = Annotated[str, typer.Option(help="Broken files: skip (and list them) or raise.")]
Runner = Annotated[
    str,
    typer.Option(help="Who embeds: local, or ray, a cluster whose machines have the files under the same paths."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        envvar="RAY_ADDRESS",
        help="The Ray cluster, host:port or auto, from one of its machines; one of this machine alone by default.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything was set aside.")]


@index.command()
def build(
    collection: Folder,
    sources: Sources,
    model: Annotated[Path, typer.Option(help="The saved model that embeds the videos.")],
    window: Window = 3.0,
    stride: Stride = None,
    shots: Shots = False,
    keep_still: KeepStill = False,
    precision: Precision = "auto",
    time_limit: TimeLimit = 300.0,
    workers: Processes = None,
    on_bad: OnBad = "skip",
    runner: Runner = "local",
    ray_address: RayAddress = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Embed videos and make them searchable; given again, or after an interruption, it does only the rest.

    Example: mmretrieval index build indexes/holidays --model runs/demo/model ~/Videos
    """
    from mmretrieval.collection import Collection
    from mmretrieval.model import RetrievalModel

    options = {"window": window, "stride": stride, "shots": shots, "keep_still": keep_still, "precision": precision}
    limits = {"time_limit": time_limit, "workers": workers, "on_bad": on_bad}
    limits |= {"runner": runner, "ray_address": ray_address}
    loaded = RetrievalModel.from_pretrained(model)
    _report(Collection.build(collection, sources, loaded, model, **options, **limits), strict, as_json)


@index.command()
def add(
    collection: Folder,
    sources: Sources,
    model: Annotated[Path | None, typer.Option(help="The model, if it has moved since indexing.")] = None,
    window: Window = 3.0,
    stride: Stride = None,
    shots: Shots = False,
    keep_still: KeepStill = False,
    precision: Precision = "auto",
    time_limit: TimeLimit = 300.0,
    workers: Processes = None,
    on_bad: OnBad = "skip",
    runner: Runner = "local",
    ray_address: RayAddress = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Add videos to a collection with the model that made it, in the precision that made it.

    Example: mmretrieval index add indexes/holidays ~/Videos/2026
    """
    from mmretrieval.search.searcher import Searcher

    options = {"window": window, "stride": stride, "shots": shots, "keep_still": keep_still, "precision": precision}
    limits = {"time_limit": time_limit, "workers": workers, "on_bad": on_bad}
    limits |= {"runner": runner, "ray_address": ray_address}
    searcher = Searcher.open(collection, model)
    searcher.collection.add(sources, searcher.model, **options, **limits)
    _report(searcher.collection, strict, as_json)


@index.command()
def remove(
    collection: Folder,
    targets: Annotated[list[str], typer.Argument(help="Paths of videos, or ids of moments.")],
) -> None:
    """Take videos or single moments out of a collection; the files themselves are left alone.

    Example: mmretrieval index remove indexes/holidays ~/Videos/private.mp4
    """
    from mmretrieval.collection import Collection

    opened = Collection.open(collection)
    typer.echo(f"{count(opened.remove(targets), 'moment')} removed")


@index.command()
def compact(collection: Folder, as_json: AsJson = False) -> None:
    """Write a collection without what was removed, merge what was added bit by bit, and choose the index anew.

    Example: mmretrieval index compact indexes/holidays
    """
    from mmretrieval.collection import Collection

    opened = Collection.open(collection)
    saved = opened.compact()
    facts = opened.info()
    if as_json:
        typer.echo(json.dumps({"saved_bytes": saved, "collection": facts}, indent=2))
    else:
        typer.echo(f"{collection}: {saved / 2**20:.1f} MiB smaller, generation {facts['generation']}")


@index.command()
def info(collection: Folder, as_json: AsJson = False) -> None:
    """Show what a collection holds: videos, moments, files set aside, generation, model, index.

    Example: mmretrieval index info indexes/holidays --json
    """
    from mmretrieval.collection import Collection

    facts = Collection.open(collection).info()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _summarise(facts)


@index.command()
def verify(collection: Folder, as_json: AsJson = False) -> None:
    """Compare every file with its checksum; exit code 1 names a damaged one.

    Example: mmretrieval index verify indexes/holidays
    """
    from mmretrieval.collection.verify import verify_collection

    problems = verify_collection(collection)
    if as_json:
        typer.echo(json.dumps([problem._asdict() for problem in problems], indent=2))
    else:
        for problem in problems:
            typer.echo(f"{problem.file}: {problem.problem}")
        typer.echo(f"{len(problems)} problems" if problems else "every file is as it was written")
    raise typer.Exit(1 if problems else 0)


index.command()(export)
index.command("import")(import_)


def _report(collection: Any, strict: bool, as_json: bool) -> None:
    """Say what a build or an addition did, and what the collection is now."""
    from mmretrieval.collection.summary import state_of

    summary = collection.summary
    if as_json:
        typer.echo(json.dumps({**summary.to_json(), "collection": collection.info()}, indent=2))
    else:
        for line in summary.lines():
            typer.echo(line)
        if summary.quarantined:
            typer.echo(f"the whole list: mmretrieval index info {collection.folder}")
        typer.echo(state_of(collection))
    raise typer.Exit(1 if strict and summary.quarantined else 0)


def _summarise(facts: dict) -> None:
    for name, value in facts.items():
        if not isinstance(value, list | dict):
            typer.echo(f"{name:14} {value}")
    for name, value in facts.items():
        if isinstance(value, dict):
            typer.echo(f"{name:14} " + ", ".join(f"{key} {part}" for key, part in value.items()))
    for aside in facts.get("set_aside", []):
        typer.echo(one_line(f"set aside: {aside['path']}{_where(aside)}: {aside['reason']}"))


def _where(aside: dict) -> str:
    times = [f"{aside[name]:.1f}" for name in ("start", "end") if name in aside]
    return f" at {'–'.join(times)} s" if times else ""

"""``mmretrieval evaluate-cross``: trained on one data set, tested on others, in one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmretrieval.cli.learn import Relevance, Ties, names


def evaluate_cross(
    model: Annotated[list[str], typer.Option(help="NAME=FOLDER of a saved model; once per model.")],
    data: Annotated[list[str], typer.Option(help="NAME=MANIFEST; once per data set.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables, the picture and what is measured already.")] = Path(
        "runs/cross"
    ),
    modalities: Annotated[
        str | None,
        typer.Option(help="Use no others, e.g. video,text; else all that model and data set share.", metavar="NAMES"),
    ] = None,
    relevance: Annotated[Relevance, typer.Option(help="As in 'mmretrieval evaluate'.")] = Relevance.both,
    ties: Annotated[Ties, typer.Option(help="As in 'mmretrieval evaluate'.")] = Ties.position,
    subsets: Annotated[
        Path | None, typer.Option(help="Folder with the index files of each data set in a folder of its name.")
    ] = None,
    per_direction: Annotated[bool, typer.Option("--per-direction", help="Also a table of every direction.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the tables for scripts.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 2,
) -> None:
    r"""Train on one data set, test on others: every model on every data set, as a table and a heat-map.

    What is measured is kept: after Ctrl-C, or with one more model, the same command measures only what is missing.

    Example:
      mmretrieval evaluate-cross --model smit=runs/smit/model --model vatex=runs/vatex/model \
        --data smit=smit/test.jsonl --data vatex=vatex/test.jsonl --out runs/cross
    """
    models, sets = (_named(pairs, flag) for pairs, flag in ((model, "--model"), (data, "--data")))
    from mmretrieval.evaluate import evaluate_cross as measure
    from mmretrieval.evaluation.cross import cross_markdown, cross_values, write_cross
    from mmretrieval.evaluation.protocol import Rules

    rules = Rules(subsets, relevance.value, ties.value)

    def say(line: str) -> None:
        typer.echo(line, err=True)

    cells, facts = measure(models, sets, out, names(modalities), rules, workers, say)
    files = write_cross(out, cells, facts, per_direction)
    if as_json:
        tables = {"full": cross_values(cells), "subsets": cross_values(cells, subsets=True)}
        typer.echo(json.dumps(tables, indent=2, ensure_ascii=False))
        return
    typer.echo(cross_markdown(cells, per_direction), nl=False)
    typer.echo("written: " + "   ".join(map(str, files)))


def _named(pairs: list[str], flag: str) -> dict[str, Path]:
    """Read NAME=PATH pairs."""
    found: dict[str, Path] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not name or not path:
            raise typer.BadParameter(f"'{pair}' is not of the form NAME=PATH", param_hint=flag)
        if name in found or name == "mean":
            reason = "is the name of the last column" if name == "mean" else "was given twice"
            raise typer.BadParameter(f"the name '{name}' {reason}", param_hint=flag)
        found[name] = Path(path)
    return found

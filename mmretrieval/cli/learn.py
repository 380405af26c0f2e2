"""``mmretrieval train`` and ``mmretrieval evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped recipe: toyworld/demo.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, e.g. training.epochs=5")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the interrupted run in the same output.")
    ] = False,
    print_recipe: Annotated[bool, typer.Option("--print", help="Show the resolved recipe and stop.")] = False,
) -> None:
    """Train a model from a recipe; Ctrl-C saves, and --resume goes on exactly there.

    The run's folder receives model/, report.json, curves.png, TensorBoard logs and the resolved recipe.

    Examples:
      mmretrieval train recipes/toyworld/base.yaml training.epochs=5 output=runs/short

      mmretrieval train toyworld/demo --resume
    """
    from mmretrieval.recipe import dump_recipe, load_recipe

    checked = load_recipe(recipe, overrides)
    if print_recipe:
        typer.echo(dump_recipe(checked), nl=False)
        return
    from mmretrieval.evaluation.retrieval import format_report
    from mmretrieval.run import train as run_training

    report = run_training(checked, resume=resume)
    if report:
        typer.echo(format_report(report["retrieval"]))
        typer.echo(
            f"model: {checked.output}/model   report: {checked.output}/report.json   {checked.output}/curves.png"
        )


def evaluate(
    model: Annotated[Path, typer.Argument(help="The folder of a saved model.")],
    manifest: Annotated[Path, typer.Argument(help="A manifest (JSON lines) of clips with captions.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for scripts.")] = False,
    on_bad: Annotated[str, typer.Option(help="Unreadable clips: skip (and count) or raise.")] = "skip",
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 2,
) -> None:
    """Measure retrieval in all directions: recall at 1, 5 and 10, mean average precision, median rank.

    Example: mmretrieval evaluate runs/demo/model toyworld/test.jsonl --json
    """
    from mmretrieval.evaluation.retrieval import format_report
    from mmretrieval.run import evaluate_saved

    report = evaluate_saved(model, manifest, on_bad=on_bad, workers=workers)
    if as_json:
        typer.echo(json.dumps(report["retrieval"], indent=2))
        return
    typer.echo(format_report(report["retrieval"]))
    for failure in report["failures"]:
        typer.echo(f"set aside: {failure.id}: {failure.reason}", err=True)

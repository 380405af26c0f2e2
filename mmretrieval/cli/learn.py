"""``mmretrieval train`` and ``mmretrieval evaluate``."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmretrieval.shown import one_line


class Relevance(StrEnum):
    """What is a right answer where several captions describe one video."""

    both = "both"
    video = "video"
    pair = "pair"


class Ties(StrEnum):
    """Where the right item stands among items of exactly its score."""

    position = "position"
    expected = "expected"
    pessimistic = "pessimistic"


def train(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped recipe: toyworld/demo.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, e.g. training.epochs=5")] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the interrupted run in the same output, if there is one."),
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
    from mmretrieval.evaluation.recognition import format_recognition
    from mmretrieval.evaluation.retrieval import format_report
    from mmretrieval.run import train as run_training

    report = run_training(checked, resume=resume)
    if report:
        recognition = report.get("recognition")
        typer.echo(format_recognition(recognition) if recognition else format_report(report["retrieval"]))
        typer.echo(
            f"model: {checked.output}/model   report: {checked.output}/report.json   {checked.output}/curves.png"
        )


def evaluate(
    model: Annotated[Path, typer.Argument(help="The folder of a saved model.")],
    manifest: Annotated[Path, typer.Argument(help="A manifest (JSON lines) of clips with captions.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for scripts.")] = False,
    modalities: Annotated[
        str | None, typer.Option(help="Some of the model's, e.g. video,text; all if not given.", metavar="NAMES")
    ] = None,
    relevance: Annotated[
        Relevance,
        typer.Option(help="What is right: only the paired item (pair), any item of the same video (video), or both."),
    ] = Relevance.both,
    ties: Annotated[
        Ties, typer.Option(help="Among items of one score: the gallery's order, the expected place, the last place.")
    ] = Ties.position,
    subsets: Annotated[
        Path | None, typer.Option(help="Folder of index files of 1,000 pairs; default: beside the manifest.")
    ] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Also write TREC run and qrels files there.")] = None,
    depth: Annotated[int, typer.Option(min=1, help="Items listed per query in those.")] = 1000,
    clips: Annotated[int, typer.Option(min=1, help="Recognition: excerpts of each video; logits are averaged.")] = 1,
    crops: Annotated[int, typer.Option(help="Recognition: squares cut out of each of them: 1, 3, 5 or 10.")] = 1,
    on_bad: Annotated[str, typer.Option(help="Unreadable clips: skip (and count) or raise.")] = "skip",
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 2,
) -> None:
    """Measure a model on the clips of a manifest.

    For retrieval in all directions: recall at 1, 5 and 10, mean average precision, median rank. For recognition: top-1,
    top-5, mean average precision.

    With more than 1,000 clips there is also mean ± std over five sets of 1,000, drawn once and kept in MANIFEST.subsets
    so that every model is measured on the same ones.

    Examples:
      mmretrieval evaluate runs/demo/model toyworld/test.jsonl --json
      mmretrieval evaluate runs/smit/model smit/test.jsonl --relevance pair --run-dir runs/smit/trec
      mmretrieval evaluate runs/kinetics/model kinetics/val.jsonl --clips 10 --crops 3
    """
    from mmretrieval.errors import ModelError
    from mmretrieval.media.views import Views
    from mmretrieval.saved import read_config

    views = Views(clips, crops)
    if read_config(model)[0] == "recognition":
        return _evaluate_recognition(model, manifest, as_json, on_bad, workers, views)
    if views.count > 1:
        raise ModelError(f"--clips and --crops are for recognition, and {model} is a model for retrieval")
    from mmretrieval.evaluate import Export, evaluate_saved
    from mmretrieval.evaluation.protocol import Rules
    from mmretrieval.evaluation.retrieval import format_report

    report = evaluate_saved(
        model,
        manifest,
        on_bad=on_bad,
        workers=workers,
        modalities=names(modalities),
        rules=Rules(subsets, relevance.value, ties.value),
        export=Export(run_dir, depth) if run_dir else None,
    )
    if as_json:
        typer.echo(json.dumps(report["retrieval"], indent=2))
    else:
        typer.echo(format_report(report["retrieval"]))
        for failure in report["failures"]:
            typer.echo(one_line(f"set aside: {failure.id}: {failure.reason}"), err=True)
    for warning in report["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


def _evaluate_recognition(model: Path, manifest: Path, as_json: bool, on_bad: str, workers: int, views) -> None:
    from mmretrieval.evaluate import evaluate_recognition
    from mmretrieval.evaluation.recognition import format_recognition

    report = evaluate_recognition(model, manifest, on_bad, workers, views)
    typer.echo(json.dumps(report["recognition"], indent=2) if as_json else format_recognition(report["recognition"]))
    for failure in report["failures"]:
        typer.echo(one_line(f"set aside: {failure.id}: {failure.reason}"), err=True)


def names(text: str | None) -> list[str] | None:
    """Split a list of names written with commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]

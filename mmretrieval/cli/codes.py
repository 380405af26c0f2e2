"""``mmretrieval codes``: what the codes of a trained model stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mmretrieval.shown import one_line


def codes(
    model: Annotated[Path, typer.Argument(help="The folder of a saved model with a codebook.")],
    manifest: Annotated[Path, typer.Argument(help="A manifest (JSON lines); word timings and labels help.")],
    truth: Annotated[
        Path | None, typer.Option(help="More about the clips, by id: settings, things and their boxes (JSON lines).")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for codes.json and the pictures.")] = None,
    stop_words: Annotated[
        str | None, typer.Option(help="Words to leave out, with commas between; by default 17 function words.")
    ] = None,
    window: Annotated[
        float, typer.Option(min=0.0, help="Milliseconds around a code that count as spoken there, on either side.")
    ] = 40.0,
    least: Annotated[int, typer.Option(min=1, help="Leave out what occurs less often than this.")] = 5,
    top: Annotated[int, typer.Option("-n", min=1, help="How many codes to show and to compare.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for scripts.")] = False,
    on_bad: Annotated[str, typer.Option(help="Unreadable clips: skip (and count) or raise.")] = "skip",
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 2,
) -> None:
    """Say what codes stand for: the words they hear and read, what they see, and whether that is the same thing.

    For each code its best word and its best label with F1, precision P(name | code) and recall P(code | name); how the
    modalities share the codes; and in --out pictures of it.

    Example: mmretrieval codes runs/demo/model toyworld/test.jsonl --truth toyworld/truth.jsonl --out runs/demo/codes
    """
    from mmretrieval.data.dataset import ClipDataset, create_loader
    from mmretrieval.data.manifest import read_manifest
    from mmretrieval.evaluation.code_study import read_truth, study_codes
    from mmretrieval.evaluation.code_words import STOP_WORDS
    from mmretrieval.files import atomic_write
    from mmretrieval.model import RetrievalModel
    from mmretrieval.run import consecutive, with_modalities

    loaded = RetrievalModel.from_pretrained(model)
    samples = with_modalities(read_manifest(manifest, on_bad=on_bad).samples, loaded.modalities, manifest)
    dataset = ClipDataset(samples, loaded.processor, loaded.modalities, on_bad=on_bad)
    study = study_codes(
        loaded,
        samples,
        create_loader(dataset, consecutive(len(samples), 64), workers),
        read_truth(truth) if truth is not None else None,
        STOP_WORDS if stop_words is None else {word.strip().lower() for word in stop_words.split(",")},
        window / 1000,
        least,
        top,
    )
    if out is not None:
        from mmretrieval.evaluation.code_pictures import draw_study

        atomic_write(out / "codes.json", json.dumps(study.report, indent=2, ensure_ascii=False) + "\n")
        drawn = draw_study(study, loaded, out)
    if as_json:
        typer.echo(json.dumps(study.report, indent=2, ensure_ascii=False))
        return
    typer.echo(format_study(study.report, top))
    for failure in study.failures:
        typer.echo(one_line(f"set aside: {failure.id}: {failure.reason}"), err=True)
    if out is not None:
        typer.echo(f"report: {out}/codes.json   pictures: {', '.join(path.name for path in drawn)}")


def format_study(report: dict[str, Any], top: int) -> str:
    """Lay a report out for the screen: the best codes, then a line about each group and about sharing."""
    groups = report["groups"]
    spoken = groups.get("spoken words", groups.get("typed words", {"ranking": []}))["ranking"]
    seen = {row["code"]: row for row in report["seen"]}
    lines = [f"{'code':>5}  {'word':16} {'F1':>5} {'P':>5} {'R':>5}   {'seen':22} {'F1':>5} {'P':>5} {'R':>5}"]
    for row in (spoken or report["seen"])[:top]:
        right = seen.get(row["code"])
        left = row if spoken else None
        lines.append(f"{row['code']:5d}  {_cells(left, 16)}   {_cells(right, 22)}".rstrip())
    lines.append("")
    if "spoken words" not in groups:
        lines.append("spoken words: none; they need a model with speech and 'words' in the manifest")
    for name, group in groups.items():
        detected = len(group["detected"])
        lines.append(
            f"{name + ':':24} {detected} of {group['names']} have a code with precision ≥ {report['detected_from']:.2f}"
        )
    return "\n".join(lines + _sharing(report))


def _cells(row: dict[str, Any] | None, width: int) -> str:
    if row is None:
        return " " * width
    name = row["name"] if len(row["name"]) <= width else row["name"][: width - 1] + "…"
    return f"{name:{width}} {row['f1']:5.2f} {row['precision']:5.2f} {row['recall']:5.2f}"


def _sharing(report: dict[str, Any]) -> list[str]:
    usage, agree = report["usage"], report["agreement"]
    perplexity = ", ".join(f"{name} {value:.0f}" for name, value in usage["perplexity"].items())
    apart = ", ".join(f"{pair.replace('_', '–')} {value:.2f}" for pair, value in usage["jsd"].items())
    lines = [
        f"{'codes:':24} {usage['used']} of {usage['size']} used, {usage['dead']} dead; "
        f"{usage['shared']:.0%} shared by two modalities or more, {usage['balanced']:.0%} evenly by all",
        f"{'perplexity:':24} {perplexity}",
    ]
    if apart:
        lines.append(f"{'divergence (bits):':24} {apart}")
    if agree is not None and agree["codes"]:
        lines.append(
            f"{'seen = said:':24} {agree['agreeing']:.0%} of the best {agree['codes']} codes, "
            f"{agree['by_chance']:.0%} by chance"
        )
    return lines

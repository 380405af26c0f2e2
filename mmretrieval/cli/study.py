"""``mmretrieval study``: one question, several recipes, several seeds, one table."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def study(
    path: Annotated[
        str,
        typer.Argument(help="A study (YAML), a folder of studies, or a shipped one: toyworld/study.", metavar="STUDY"),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.key=value for every run, e.g. data.train=world/train.jsonl")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Instead of the study's, e.g. 0,1,2.", metavar="NUMBERS")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of all studies; one's runs and tables are in a folder of its name.")
    ] = Path("runs/study"),
    only: Annotated[str | None, typer.Option(help="Train only the runs whose label fits, e.g. 'amm*'.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs, where they stand and how long they take.")
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Runs at work at a time; more than one makes better use of several cores.")
    ] = 1,
    report: Annotated[
        bool, typer.Option("--report", help="Train nothing; make the tables of what is finished.")
    ] = False,
) -> None:
    """Train every run of a study with every seed and compare them in a table and a picture.

    Finished runs are kept, interrupted ones go on where they were, a failed one is reported and the others go on.
    After Ctrl-C the same command goes on. The tables are up to date after every run. Where a metric is named timing.…,
    the networks are timed together at the end. Exit code 1: something failed.

    Examples:
      mmretrieval study toyworld/study --dry-run
      mmretrieval study recipes/toyworld/study/losses.yaml --seeds 0,1,2 --only 'amm*'
    """
    from mmretrieval.study.plan import find_studies, plan_runs, read_study
    from mmretrieval.study.timing import check_timed

    numbers = _numbers(seeds)
    files = find_studies(path)
    given = [path if Path(path).stem == file.stem else f"{path.rstrip('/')}/{file.name}" for file in files]
    studies = [read_study(file, name) for file, name in zip(files, given, strict=True)]
    plans = [(one, plan_runs(one, out, overrides or [], numbers)) for one in studies]
    for one, runs in plans:
        check_timed(one, runs)
    failed = False
    for one, runs in plans:
        options = [*(overrides or []), *(["--seeds", seeds] if seeds else [])]
        options += ["--out", str(out)] if out != Path("runs/study") else []
        command = shlex.join(["mmretrieval", "study", one.given, *options])
        failed |= _list(one, runs, out, only) if dry_run else _work(one, runs, out, only, report, command, jobs)
    raise typer.Exit(1 if failed else 0)


def _work(one, runs: list, out: Path, only: str | None, report: bool, command: str, jobs: int) -> bool:
    """Train what is missing and write the pages; return whether something failed."""
    from mmretrieval.study.results import collect
    from mmretrieval.study.runner import Ledger, chosen, run_missing
    from mmretrieval.study.table import write_pages
    from mmretrieval.study.timing import measure_times

    ledger = Ledger(out / one.name / "ledger.json")

    def write() -> list[Path]:
        return write_pages(out / one.name, collect(one, runs, ledger), command)

    def say(line: str) -> None:
        typer.echo(f"{one.name}: {line}", err=True)

    failed = []
    if not report:
        failed = run_missing(chosen(runs, only), runs, ledger, out, say, write, jobs)
        measure_times(one, runs, out, say)
    pages = write()
    typer.echo(pages[0].read_text("utf-8"))
    typer.echo("written: " + "   ".join(map(str, pages)))
    return bool(failed)


def _list(one, runs: list, out: Path, only: str | None) -> bool:
    """Say what would be trained, and how long it probably takes."""
    from mmretrieval.study.runner import FINISHED, Ledger, chosen, duration, expected_seconds, state_of

    ledger = Ledger(out / one.name / "ledger.json")
    typer.echo(f"{one.name}: {one.question}" if one.question else one.name)
    times = []
    for run in chosen(runs, only):
        state, detail = state_of(run)
        if state == FINISHED:
            typer.echo(f"  finished  {run.name} ({duration(ledger.seconds(run) or 0)})")
            continue
        times.append(expected_seconds(run, runs, ledger))
        about = "unknown time" if times[-1] is None else f"about {duration(times[-1])}"
        todo = {"new": "train   ", "started": "go on   "}.get(state, "refuse  ")
        typer.echo(f"  {todo}  {run.name} ({', '.join(part for part in (detail, about) if part)})")
    known = None if None in times else sum(times)
    total = "nothing is left to do" if not times else "time unknown until a run is finished"
    typer.echo(f"{len(times)} to train: {total if not times or known is None else f'about {duration(known)}'}")
    return False


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        message = f"got '{text}'; different numbers from 0 on are needed, e.g. 0,1,2"
        raise typer.BadParameter(message, param_hint="--seeds")
    return numbers

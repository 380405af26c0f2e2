"""``mmretrieval models`` and ``mmretrieval doctor``."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated

import typer

from mmretrieval.errors import MMRetrievalError


def models(
    names: Annotated[
        list[str] | None, typer.Argument(help="Only these, also by names of published tables; all if none is named.")
    ] = None,
    rule: Annotated[str, typer.Option(help="What MACs count: conv-only, as published tables, or all.")] = "conv-only",
    as_json: Annotated[bool, typer.Option("--json", help="Print a list for scripts.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a table for a page.")] = False,
    timed: Annotated[
        bool, typer.Option("--time", help="Also peak memory, latency and throughput of the named ones, in fp32.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Clips at once for the throughput.")] = 8,
    weights: Annotated[bool, typer.Option("--weights", help="List the released weights of these instead.")] = False,
) -> None:
    """List the video backbones: parameters and multiply-adds of one clip at each one's own clip size.

    Example: mmretrieval models resnet50 tam_resnet50 --time
    """
    from mmretrieval.evaluation.cost import zoo_table

    if weights:
        _list_weights(names or [], as_json)
        return
    if timed and not names:
        raise MMRetrievalError(
            "--time takes minutes for all of them: name those to time, e.g. 'mmretrieval models resnet18 --time'"
        )
    if as_json and as_markdown:
        raise MMRetrievalError("--json and --markdown are two ways to print one table: give one of them")
    rows = zoo_table(names or [], rule)
    if timed:
        _add_times(rows, batch)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if as_markdown:
        _markdown(rows, rule, timed)
        return
    width = max(24, *(len(row["name"]) for row in rows))
    heading = f"{'name':{width}} {'family':12} {'parameters':>12} {rule + ' MACs':>16} {'clip':>10}"
    typer.echo(heading + (f" {'peak':>9} {'latency':>9} {'clips/s':>8}" if timed else "") + "  published as")
    for row in rows:
        clip = f"{row['frames']}×{row['size']}²"
        line = f"{row['name']:{width}} {row['family']:12} {row['params']:12,} {row['macs']:16,} {clip:>10}"
        if timed:
            line += f" {row['peak_bytes'] / 2**20:5.0f} MiB {row['latency'] * 1000:6.1f} ms {row['throughput']:8.2f}"
        typer.echo(f"{line}  {row['published'] or ''}".rstrip())
    if timed:
        typer.echo(f"throughput of {batch} clips at once; {rows[0]['threads']} threads; medians of interleaved rounds")


def _markdown(rows: list[dict], rule: str, timed: bool) -> None:
    """Print rows as a Markdown table with the command that makes it."""
    heads = ["name", "family", "parameters", f"MACs ({rule})", "clip"]
    heads += ["peak of activations", "latency", "clips/s"] if timed else []
    lines = [[*heads, "published as"]]
    for row in rows:
        cells = [f"`{row['name']}`", row["family"], f"{row['params']:,}", f"{row['macs']:,}"]
        cells.append(f"{row['frames']}×{row['size']}²")
        if timed:
            peak, latency = f"{row['peak_bytes'] / 2**20:.0f} MiB", f"{row['latency'] * 1000:.1f} ms"
            cells += [peak, latency, f"{row['throughput']:.2f}"]
        lines.append([*cells, row["published"] or ""])
    lines.insert(1, ["---"] * len(lines[0]))
    typer.echo("\n".join(f"| {' | '.join(line)} |" for line in lines))
    if timed:
        note = f"Latency of one clip, throughput of {rows[0]['batch']} at once; fp32, {rows[0]['threads']} threads."
        typer.echo(f"\n{note} Medians of interleaved rounds.")
    typer.echo(f"\nMade by `{shlex.join(['mmretrieval', *sys.argv[1:]])}`.")


def _add_times(rows: list[dict], batch: int) -> None:
    """Add what has to be measured to rows of the table."""
    from mmretrieval.backbones import create_backbone
    from mmretrieval.evaluation.cost import measure, peak_activations

    networks = {row["name"]: create_backbone(row["name"]) for row in rows}
    times = measure(networks, batch)
    for row in rows:
        peak = peak_activations(networks[row["name"]].to("meta"))
        row |= {"peak_bytes": peak, **times[row["name"]]._asdict()}


def _list_weights(names: list[str], as_json: bool) -> None:
    """Print the released weights, of all networks or of those that are named."""
    from dataclasses import asdict

    from mmretrieval.backbones.published import parse
    from mmretrieval.backbones.released import RELEASES

    wanted = {(parse(name) or (name,))[0] for name in names}
    found = [release for release in RELEASES.values() if not wanted or release.network in wanted]
    if as_json:
        typer.echo(json.dumps([asdict(release) for release in found], indent=2))
        return
    for release in found:
        typer.echo(
            f"{release.file}: {release.network}, {release.dataset}, {release.top1} % top-1; {release.license}, "
            f"{release.checksum}; {release.url}"
        )
    if not found:
        typer.echo(f"no released weights are known for {', '.join(names)}")


def doctor() -> None:
    """Check what works on this machine and say the one command that mends the rest.

    Example: mmretrieval doctor
    """
    from mmretrieval.cli.checks import run_checks

    failed = 0
    for check in run_checks():
        mark = "ok" if check.ok else "FAIL" if check.needed else "–"
        typer.echo(f"{mark:4} {check.name:22} {check.detail}")
        if not check.ok:
            failed += check.needed
            typer.echo(f"     {'mend it with' if check.needed else 'if you want it'}: {check.remedy}")
    raise typer.Exit(1 if failed else 0)

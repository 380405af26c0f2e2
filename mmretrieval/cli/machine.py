"""``mmretrieval models`` and ``mmretrieval doctor``."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def models(as_json: Annotated[bool, typer.Option("--json", help="Print a list for scripts.")] = False) -> None:
    """List the video backbones: parameters and multiply-adds at each one's own clip size."""
    from mmretrieval.evaluation.cost import zoo_table

    rows = zoo_table()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    typer.echo(f"{'name':24} {'family':10} {'parameters':>12} {'MACs':>16} {'clip':>10}")
    for row in rows:
        clip = f"{row['frames']}×{row['size']}²"
        typer.echo(f"{row['name']:24} {row['family']:10} {row['params']:12,} {row['macs']:16,} {clip:>10}")


def doctor() -> None:
    """Check what works on this machine and say the one command that mends the rest."""
    from mmretrieval.cli.checks import run_checks

    failed = 0
    for check in run_checks():
        typer.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name:22} {check.detail}")
        if not check.ok:
            failed += check.needed
            typer.echo(f"     mend it with: {check.remedy}")
    raise typer.Exit(1 if failed else 0)

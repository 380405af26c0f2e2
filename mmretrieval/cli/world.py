"""``mmretrieval toyworld``: render and narrate the embedded corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def toyworld(
    out: Annotated[Path, typer.Argument(help="Folder to write; must be new, empty or hold the same world.")],
    clips: Annotated[int, typer.Option(min=20, help="Clips in all; a tenth becomes the test split.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same world, byte for byte.")] = 0,
    long: Annotated[int, typer.Option(min=0, help="Also write this many videos of 20–60 s with several scenes.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; all cores if not given.")] = None,
) -> None:
    """Render and narrate the toy world: MP4 clips, spoken captions, manifests and the ground truth.

    Example: mmretrieval toyworld toyworld --clips 5000 --long 40
    """
    from mmretrieval.toyworld.corpus import build

    summary = build(out, clips=clips, seed=seed, long=long, workers=workers)
    counts = ", ".join(f"{count} {split}" for split, count in summary["splits"].items())
    typer.echo(f"{out}: {counts} clips{f', {long} long videos' if long else ''}")
    typer.echo(f"Train on it: mmretrieval train toyworld/base data.train={out}/train.jsonl data.val={out}/val.jsonl "
               f"data.test={out}/test.jsonl")  # fmt: skip

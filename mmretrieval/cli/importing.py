"""``mmretrieval import``: releases of data sets to manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def _list_sources(wanted: bool) -> None:
    """Print every source with the layout it expects, and stop."""
    if not wanted:
        return
    import inspect

    from mmretrieval.data.sources import sources

    for name in sources.names():
        typer.echo(f"{name}\n" + "".join(f"  {line}\n" for line in inspect.getdoc(sources.get(name)).splitlines()))
    raise typer.Exit


def import_(
    source: Annotated[str, typer.Argument(help="smit, moments, msrvtt, … : see above.")],
    root: Annotated[Path, typer.Argument(help="The folder of the release; for csv, the file.")],
    out: Annotated[Path, typer.Option(help="A folder for a manifest per split, or one FILE.jsonl.")],
    split: Annotated[str | None, typer.Option(help="Take this split only.")] = None,
    media: Annotated[
        list[Path] | None, typer.Option(help="Look here first for videos, pictures; may be repeated.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="Which published split or form; see --list.")] = None,
    val_share: Annotated[float | None, typer.Option(help="folder, csv: share of videos for validation.")] = None,
    test_share: Annotated[float | None, typer.Option(help="folder, csv: share of videos for test.")] = None,
    seed: Annotated[int | None, typer.Option(help="folder, csv: which videos these are.")] = None,
    classes: Annotated[Path | None, typer.Option(help="frames, fcvid: file with the names of the classes.")] = None,
    separator: Annotated[str | None, typer.Option(help="frames: what separates a list's cells; else found.")] = None,
    min_frames: Annotated[int | None, typer.Option(help="frames: set aside videos of fewer frames.")] = None,
    need: Annotated[list[str] | None, typer.Option(help="Modality every sample must have; may be repeated.")] = None,
    keep_missing: Annotated[bool, typer.Option("--keep-missing", help="Keep rows whose media are missing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Open every media file to name the damaged ones.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report for scripts.")] = False,
    listing: Annotated[
        bool,
        typer.Option("--list", is_eager=True, callback=_list_sources, help="Show the layout each source expects."),
    ] = False,
) -> None:
    """Write manifests of a data set as its authors release it.

      smit                  videos/, transcriptions/, recordings if you have them, train_set.txt …
      moments               trainingSet.csv …, videos in folders named by their class
      msrvtt                MSRVTT_data.json, MSRVTT_train.9k.csv …, MSRVTT_JSFUSION_test.csv, videos/all/
      vatex                 vatex_training_v1.0.json …, videos/
      activitynet-captions  train.json, val_1.json, val_2.json, videos/
      places-audio          metadata/train.json …, wavs/, images/
      kinetics              train.csv …, videos in folders named by their class; or lists of folders of frames
      something             something-something-v2-train.json … with webm, or …-v1-train.csv … with frames
      jester                jester-v1-train.csv …, 20bn-jester-v1/
      ucf101                ucfTrainTestlist/, UCF-101/
      activitynet           activity_net.v1-3.min.json, videos/
      fcvid                 materials/FCVID_Label.txt …, videos/
      frames                train.txt, val.txt with PATH FIRST LAST LABEL per line, folders of frames
      folder                videos or pictures with NAME.txt and NAME.wav beside them
      csv                   a table whose first line names its columns: id, video, speech, text …

    'mmretrieval import --list' shows each layout in full. Rows that cannot be used are set aside: counted by reason
    on the screen, and each named in set_aside.jsonl beside the manifests. Existence and size of the media are looked
    at; --check opens them.

    Examples:
      mmretrieval import smit /data/S-MiT --out smit
      mmretrieval import msrvtt /data/MSRVTT --variant 7k --out msrvtt-7k
      mmretrieval import folder ~/Videos --val-share 0.1 --test-share 0.1 --out my
    """
    from mmretrieval.data.sources import import_source

    given = {"variant": variant, "val_share": val_share, "test_share": test_share, "seed": seed}
    given |= {"classes": classes, "separator": separator, "min_frames": min_frames}
    options = {name: value for name, value in given.items() if value is not None}
    if media:
        options["media"] = media
    report = import_source(
        source, root, out, split=split, need=need or (), keep_missing=keep_missing, check=check, **options
    )
    typer.echo(json.dumps(report.as_dict(), indent=2) if as_json else "\n".join(report.lines()))
    for warning in report.warnings():
        typer.echo(f"warning: {warning}", err=True)

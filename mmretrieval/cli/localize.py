"""``mmretrieval localize``: where and when a video shows what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def localize(
    model: Annotated[Path, typer.Argument(help="The folder of a saved model.")],
    video: Annotated[Path, typer.Argument(help="The video.")],
    text: Annotated[str | None, typer.Option(help="A typed caption, in quotes.")] = None,
    word: Annotated[str | None, typer.Option(help="A word of the caption: only this is looked for.")] = None,
    speech: Annotated[Path | None, typer.Option(help="A spoken caption: wav, mp3, m4a, ogg, webm, flac …")] = None,
    start: Annotated[float | None, typer.Option("--from", min=0.0, help="Second of the recording to begin at.")] = None,
    end: Annotated[float | None, typer.Option("--to", min=0.0, help="Second of the recording to end at.")] = None,
    method: Annotated[
        str, typer.Option(help="codes, raw_codes, best_code, code_features, features, left_out.")
    ] = "codes",
    size: Annotated[
        int | None, typer.Option(min=8, help="Look at frames of this many pixels; larger ones give a finer map.")
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="Clips that a longer video is cut into.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Draw it: .png (the frames looked at) or .gif (all).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print name, times, peaks and values for scripts.")] = False,
) -> None:
    """Show where a video shows what is said: a caption, one word of it, or a stretch of a recording.

    Examples:
      mmretrieval localize runs/demo/model clip.mp4 --text "a red dog jumps over a ball" --word ball --out ball.png
      mmretrieval localize runs/demo/model clip.mp4 --speech question.wav --from 0.4 --to 0.9 --out dog.gif
    """
    from mmretrieval.errors import QueryError

    if (text is None) == (speech is None):
        raise QueryError("give exactly one of --text and --speech")
    if speech is not None and word is not None:
        raise QueryError("--word belongs to --text; say with --from and --to which part of the recording is meant")
    if text is not None and (start is not None or end is not None):
        raise QueryError("--from and --to belong to --speech; say with --word which part of the caption is meant")
    if out is not None and out.suffix.lower() not in (".png", ".gif"):
        raise QueryError(f"a picture is a .png or a .gif file, got '{out.name}'")
    from mmretrieval.model import RetrievalModel
    from mmretrieval.search.localize import Localizer
    from mmretrieval.search.query import speech_query, text_query

    localizer = Localizer(RetrievalModel.from_pretrained(model), size)
    if text is not None:
        query = text_query(localizer.model, text, word)
    else:
        query = speech_query(localizer.model, speech, start, end)
    clip = localizer.clip(video, windows=windows)
    heat = localizer.heat(clip, query, method)
    if out is not None:
        from mmretrieval.search.overlay import draw

        draw(heat, clip, video, out)
    if as_json:
        typer.echo(json.dumps(heat.to_json()))
        return
    typer.echo(f"{'time':>8}   hottest place of '{heat.name}' (x, y in a frame of {heat.frame[1]} × {heat.frame[0]})")
    for time, (x, y) in zip(heat.times, heat.peaks(), strict=True):
        typer.echo(f"{time:6.2f} s   {x:.0f}, {y:.0f}")
    if out is not None:
        typer.echo(f"picture: {out}")

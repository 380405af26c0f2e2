"""``mmretrieval search``: ask a collection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def search(
    collection: Annotated[Path, typer.Argument(help="The folder of a collection.")],
    caption: Annotated[str | None, typer.Argument(help="A typed caption, in quotes.")] = None,
    speech: Annotated[Path | None, typer.Option(help="A spoken caption: wav, mp3, m4a, ogg, webm, flac …")] = None,
    video: Annotated[Path | None, typer.Option(help="An example clip: find more like it.")] = None,
    transcribe: Annotated[
        str | None, typer.Option(metavar="WHISPER", help="Write --speech down by this Whisper and search for the text.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="The model, if it has moved since indexing.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many answers.")] = 10,
    sheet: Annotated[Path | None, typer.Option(help="Also draw the answers into this PNG.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print {rank, score, id, path, start, end} for scripts.")
    ] = False,
) -> None:
    """Find moments by a typed caption, a recording or an example clip.

    Examples:
      mmretrieval search indexes/demo "a red bird flies over the sea"

      mmretrieval search indexes/demo --speech question.wav --json

      mmretrieval search indexes/clip --speech question.wav --transcribe openai/whisper-base
    """
    from mmretrieval.search.searcher import Searcher, hits_to_json

    searcher = Searcher.open(collection, model)
    if transcribe is not None:
        caption, speech = _write_down(transcribe, caption, speech, video), None
        typer.echo(f"heard: {caption}", err=True)
    hits = searcher.search(text=caption, speech=speech, video=video, k=k)
    if sheet is not None:
        from mmretrieval.search.contact_sheet import contact_sheet

        contact_sheet([(caption or str(speech or video), hits, None)], sheet)
    if as_json:
        typer.echo(json.dumps(hits_to_json(hits), indent=2))
        return
    for hit in hits:
        typer.echo(f"{hit.rank:3d}  {hit.score:6.3f}  {hit.start:6.1f}–{hit.end:.1f} s  {hit.path}")


def _write_down(whisper: str, caption: str | None, speech: Path | None, video: Path | None) -> str:
    """Return what is said in the recording of a query."""
    from mmretrieval.errors import QueryError

    if speech is None or caption is not None or video is not None:
        raise QueryError("--transcribe writes down a spoken caption: give it with --speech, and no other query")
    from mmretrieval.search.transcribe import Transcriber

    (heard,) = Transcriber(whisper).transcribe([speech])
    if not heard:
        raise QueryError(f"{speech}: not a word was heard in it: speak up, or type the caption")
    return heard

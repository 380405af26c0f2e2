"""``mmretrieval search``: ask a collection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmretrieval.cli.milvus import Backend, Token, Uri, backend_of
from mmretrieval.errors import QueryError
from mmretrieval.shown import one_line

if TYPE_CHECKING:
    from mmretrieval.search.answer import Answer
    from mmretrieval.search.searcher import Searcher


def search(
    collection: Annotated[Path, typer.Argument(help="The folder of a collection.")],
    caption: Annotated[str | None, typer.Argument(help="A typed caption, in quotes.")] = None,
    speech: Annotated[Path | None, typer.Option(help="A spoken caption: wav, mp3, m4a, ogg, webm, flac …")] = None,
    microphone: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Record a spoken caption now, for so many seconds.")
    ] = None,
    video: Annotated[Path | None, typer.Option(help="An example clip: find more like it.")] = None,
    like: Annotated[str | None, typer.Option(metavar="ID", help="A moment's id: find more like it.")] = None,
    without: Annotated[str | None, typer.Option(metavar="CAPTION", help="What is not wanted, in words.")] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="QUERY=NUMBER",
            help="How much a query counts when there are several: text=1 like=0.5. Queries count 1, --without -0.5; "
            "below 0 turns away from it.",
        ),
    ] = None,
    transcribe: Annotated[
        str | None, typer.Option(metavar="WHISPER", help="Write --speech down by this Whisper and search for the text.")
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(help='A file of queries, a caption or {"text"|"speech"|"video"|"like": …, "k": …} a line.'),
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Only files in this folder or below it.")] = None,
    path_glob: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Only files whose name, or path, is like this: '*.mov', 'a/*'."),
    ] = None,
    after: Annotated[str | None, typer.Option(metavar="DATE", help="Only files changed on this day or later.")] = None,
    before: Annotated[str | None, typer.Option(metavar="DATE", help="Only files changed before this day.")] = None,
    min_seconds: Annotated[float | None, typer.Option(help="Only videos that last at least so long.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Only videos that last at most so long.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only videos with this label; several: all of them.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many answers.")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="Pass over so many answers: the next page.")] = 0,
    merge: Annotated[
        bool, typer.Option("--merge/--no-merge", help="Show neighbouring moments, and near-duplicates, as one answer.")
    ] = True,
    min_score: Annotated[float | None, typer.Option(help="Leave out answers with a lower score.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw the answers into this PNG.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print {rank, score, id, path, start, end, confidence, …} for scripts.")
    ] = False,
    model: Annotated[Path | None, typer.Option(help="The model, if it has moved since indexing.")] = None,
    backend: Backend = "faiss",
    milvus: Uri = None,
    milvus_token: Token = None,
) -> None:
    """Find moments by a typed caption, a recording, an example clip, or several of these at once.

    An answer is a span of a video with its score and how probable it is that it is right. Where even the first is
    improbable, the search says so: no good match.

    Examples:
      mmretrieval search indexes/demo "a red bird flies over the sea"
      mmretrieval search indexes/demo --speech question.wav --json
      mmretrieval search indexes/demo "a bird" --without "the sea" --folder holiday --after 2026-01-31
      mmretrieval search indexes/demo --like long0001@4.500-7.500 "at night" --weight text=0.5
      mmretrieval search indexes/demo --batch questions.txt > answers.jsonl
      mmretrieval search indexes/clip --speech question.wav --transcribe openai/whisper-base
      mmretrieval search indexes/demo "a bird" --backend milvus --milvus http://localhost:19530
    """
    from mmretrieval.search.filters import Filter
    from mmretrieval.search.searcher import Searcher

    filters = Filter(folder, path_glob, after, before, min_seconds, max_seconds, tuple(tag or ()))
    options = {"k": k, "offset": offset, "filters": filters, "merge": merge, "fold": merge, "min_score": min_score}
    queries = {"text": caption, "speech": speech, "video": video, "like": like, "without": without}
    if batch is not None:
        _refuse_beside_batch({**queries, "microphone": microphone, "transcribe": transcribe, "sheet": sheet}, weight)
        _search_batch(Searcher.open(collection, model, backend_of(backend, milvus, milvus_token)), batch, options)
        return
    options["weights"] = _weights(weight or [])
    queries["speech"] = _recorded(microphone, speech)
    searcher = Searcher.open(collection, model, backend_of(backend, milvus, milvus_token))
    if transcribe is not None:
        queries["text"], queries["speech"] = _write_down(transcribe, queries), None
        typer.echo(f"heard: {queries['text']}", err=True)
    answer = searcher.search(**queries, **options)
    if sheet is not None:
        from mmretrieval.search.contact_sheet import contact_sheet

        contact_sheet([(_title(queries), answer, None)], sheet)
    _show(answer, as_json)


def _show(answer: Answer, as_json: bool) -> None:
    from mmretrieval.search.answer import NO_MATCH, hits_to_json

    for note in answer.notes:
        typer.echo(note, err=True)
    if as_json:
        typer.echo(json.dumps(hits_to_json(answer), indent=2))
        return
    if answer.hits and not answer.matched:
        typer.echo(f"{NO_MATCH}; the nearest there is:")
    for hit in answer:
        copies = f"   and {len(hit.copies)} like it" if hit.copies else ""
        span = f"{hit.start:6.1f}–{hit.end:.1f} s"
        typer.echo(f"{hit.rank:3d}  {hit.score:6.3f}  {hit.confidence:4.0%}  {span}  {one_line(hit.path)}{copies}")
    if answer.more:
        typer.echo(f"more: --offset {answer.offset + len(answer)}", err=True)


def _search_batch(searcher: Searcher, file: Path, options: dict[str, Any]) -> None:
    """Print a line of JSON for every query of a file, and on standard error how many could not be answered."""
    from mmretrieval.search.batch import read_queries, search_batch

    lines = read_queries(file, **options)
    failed = 0
    for answer in search_batch(searcher, lines):
        failed += "error" in answer
        typer.echo(json.dumps(answer, ensure_ascii=False))
    typer.echo(f"{file}: {len(lines) - failed} queries answered, {failed} not", err=True)


def _refuse_beside_batch(others: dict[str, Any], weight: list[str] | None) -> None:
    given = [name for name, value in {**others, "weight": weight or None}.items() if value is not None]
    if given:
        names = ", ".join("a caption" if name == "text" else f"--{name}" for name in given)
        raise QueryError(f"--batch reads all queries from its file: leave out {names}, or write them into a JSON line")


def _weights(given: list[str]) -> dict[str, float]:
    """Read ``text=0.7`` and its like."""
    weights = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            raise QueryError(f"--weight says which query counts how much, like text=0.7; got '{text}'") from None
    return weights


def _recorded(seconds: float | None, speech: Path | None) -> Any:
    """Return the recording that is given, or one that is made now."""
    if seconds is None:
        return speech
    from mmretrieval.search.microphone import record

    if speech is not None:
        raise QueryError("give one spoken caption: --speech or --microphone, not both")
    typer.echo(f"speak now, for {seconds:g} s …", err=True)
    return record(seconds)


def _write_down(whisper: str, queries: dict[str, Any]) -> str:
    """Return what is said in the recording of a query."""
    if queries["speech"] is None or any(query is not None for name, query in queries.items() if name != "speech"):
        raise QueryError("--transcribe writes down a spoken caption: give it with --speech, and no other query")
    from mmretrieval.search.transcribe import Transcriber

    (heard,) = Transcriber(whisper).transcribe([queries["speech"]])
    if not heard:
        name = queries["speech"] if isinstance(queries["speech"], Path) else "the recording"
        raise QueryError(f"{name}: not a word was heard in it: speak up, or type the caption")
    return heard


def _title(queries: dict[str, Any]) -> str:
    """Return what was asked, for people."""
    words = {"text": "", "speech": "", "video": "like ", "like": "like ", "without": "without "}
    given = [(name, query) for name, query in queries.items() if query is not None]
    return ", ".join(
        words[name] + (str(query) if isinstance(query, (str, Path)) else "a recording") for name, query in given
    )

"""Many queries from a file: one line each, one line of answer each, and a bad one costs only its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmretrieval.errors import MMRetrievalError, QueryError, did_you_mean
from mmretrieval.search.request import Request
from mmretrieval.search.searcher import Searcher

BATCH = 64
"""Queries that are encoded and looked up together."""

ALLOWED = ("text", "speech", "video", "like", "without", "weights", "k", "offset")
"""What a JSON line may say; everything else is the same for all lines."""

KINDS = {
    **dict.fromkeys(("text", "speech", "video", "like", "without"), (str, "text")),
    **dict.fromkeys(("k", "offset"), (int, "a whole number")),
    "weights": (dict, 'an object like {"text": 1, "without": -0.5}'),
}


class Line(NamedTuple):
    """One query of a file: its number from 1, what it said, and the request, or why it is none."""

    number: int
    query: str | dict[str, Any]
    request: Request | MMRetrievalError


def read_queries(path: str | Path, **options: Any) -> list[Line]:
    """Read a file of queries: a caption a line, or a JSON object like ``{"speech": "a.wav", "k": 5}``.

    Empty lines are skipped. Paths are seen from the folder of the file.

    Args:
        path: The file, UTF-8.
        options: Of every request, as for ``Request``; what a line says itself goes before.

    Raises:
        QueryError: There is no such file, it is no text, or there is no query in it.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror.lower()
        raise QueryError(f"{path}: {reason}; give a file with a caption or a JSON object a line") from None
    read = [_read(number, line.strip(), path.parent, options) for number, line in enumerate(lines, 1) if line.strip()]
    if not read:
        raise QueryError(f"{path}: there is no query in it; write a caption or a JSON object a line")
    return read


def search_batch(searcher: Searcher, lines: list[Line]) -> Iterator[dict[str, Any]]:
    """Yield for every query, in order, ``{line, query, matched, notes, offset, more, hits}`` or its error.

    An error is ``{line, query, error}``, with the reason in one line.
    """
    for first in range(0, len(lines), BATCH):
        group = lines[first : first + BATCH]
        answers = iter(searcher.answers([line.request for line in group if isinstance(line.request, Request)]))
        for line in group:
            answer = next(answers) if isinstance(line.request, Request) else line.request
            said = {"line": line.number, "query": line.query}
            failed = isinstance(answer, MMRetrievalError)
            yield {**said, "error": str(answer)} if failed else {**said, **answer.to_json()}


def _read(number: int, line: str, folder: Path, options: dict[str, Any]) -> Line:
    if not line.startswith("{"):
        return Line(number, line, Request(**{**options, "text": line}))
    try:
        query = json.loads(line)
    except ValueError as error:
        return Line(number, line, QueryError(f"is no JSON object: {error}"))
    try:
        return Line(number, query, _request(query, folder, options))
    except QueryError as error:
        return Line(number, query, error)


def _request(query: dict[str, Any], folder: Path, options: dict[str, Any]) -> Request:
    for name, value in query.items():
        if name not in ALLOWED:
            raise QueryError(f"there is no key '{name}'.{did_you_mean(name, ALLOWED)} Known are {', '.join(ALLOWED)}")
        kind, words = KINDS[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise QueryError(f"'{name}' is {words}, got {json.dumps(value)}")
    paths = {name: folder / query[name] for name in ("speech", "video") if name in query}
    return Request(**{**options, **query, **paths})

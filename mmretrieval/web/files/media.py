"""Files of the collection over HTTP: found by an id, checked, and sent whole or in ranges."""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from mmretrieval.collection.segments import Moment
from mmretrieval.files import sha256_file
from mmretrieval.web.names import Roots
from mmretrieval.web.problems import ProblemError, problem

TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".ogv": "video/ogg",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".ts": "video/mp2t",
    ".gif": "image/gif",
}
"""By suffix; anything else is just bytes, and no browser may guess."""

CHUNK = 1 << 18

LARGE = 64 << 20
"""Bytes from which on a file with the recorded time stamp is trusted; smaller ones are compared, once."""

GONE = "this video is not where it was: 'mmretrieval index add' finds it again"
CHANGED = "this video has changed since it was indexed: 'mmretrieval index add' embeds it anew"

logger = logging.getLogger("mmretrieval.web")


class Opened(NamedTuple):
    """A file that is open for reading and is what was indexed."""

    handle: int
    facts: os.stat_result


class Shelf:
    """Opens files of the collection, and only those.

    A file is opened if what its path leads to now is a regular file inside the folder it is recorded in, with the
    content that was indexed. Content is compared once, and again when the file's size or time stamp changes; that of a
    ``LARGE`` file only where its time stamp is not the recorded one.
    """

    def __init__(self) -> None:
        self._known: dict[tuple, bool] = {}
        self._lock = threading.Lock()

    def open(self, moment: Moment, roots: Roots) -> Opened:
        """Open the file of a moment.

        Raises:
            ProblemError: It is not there, not a file, elsewhere (all 404), or has changed (410).
        """
        real = self.locate(moment, roots)
        try:
            # no link is followed any more, and a pipe does not wait for its writer
            handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            logger.warning("%s: cannot be opened: %s", moment.path, error.strerror)
            raise ProblemError(404, GONE) from None
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            os.close(handle)
            logger.warning("%s: is not a regular file any more", moment.path)
            raise ProblemError(404, GONE)
        return Opened(handle, facts)

    def locate(self, moment: Moment, roots: Roots) -> str:
        """Return where the file of a moment is, without links, after the same checks."""
        real = roots.resolve(moment.path)
        if real is None:
            logger.warning("%s: leads out of its folder now, to %s", moment.path, os.path.realpath(moment.path))
            raise ProblemError(404, GONE)
        try:
            facts = os.stat(real, follow_symlinks=False)
        except OSError:
            logger.warning("%s: is gone", moment.path)
            raise ProblemError(404, GONE) from None
        if not stat.S_ISREG(facts.st_mode):
            logger.warning("%s: is not a regular file any more", moment.path)
            raise ProblemError(404, GONE)
        if not self._same(real, moment, facts):
            logger.warning("%s: has changed", moment.path)
            raise ProblemError(410, CHANGED)
        return real

    def _same(self, real: str, moment: Moment, facts: os.stat_result) -> bool:
        modified = datetime.fromtimestamp(facts.st_mtime, UTC).isoformat(timespec="seconds")
        if facts.st_size > LARGE and modified == moment.metadata.get("modified"):
            return True
        key = (real, moment.hash, facts.st_mtime_ns, facts.st_size, facts.st_ino)
        with self._lock:
            if key in self._known:
                return self._known[key]
        try:
            same = sha256_file(real) == moment.hash
        except OSError:
            same = False
        with self._lock:
            self._known[key] = same
        return same


class Wanted(NamedTuple):
    """First and last byte of a range."""

    first: int
    last: int


def send(opened: Opened, headers: Any, head: bool, name: str, tag: str) -> Response:
    """Return a file as an answer to a request: 200 or 206, or 416 where the range lies outside of it.

    Args:
        opened: The file; it is closed when it has been sent.
        headers: Those of the request.
        head: Whether only headers are wanted.
        name: What to call it.
        tag: The ``ETag`` of its content.
    """
    size = opened.facts.st_size
    modified = formatdate(opened.facts.st_mtime, usegmt=True)
    answer = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{tag}"',
        "Last-Modified": modified,
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}",
    }
    kind = TYPES.get(os.path.splitext(name)[1].lower(), "application/octet-stream")
    if headers.get("if-none-match") in (f'"{tag}"', "*"):
        os.close(opened.handle)
        return Response(None, 304, answer)
    asked = headers.get("range")
    condition = headers.get("if-range")
    if asked is not None and condition is not None and condition not in (f'"{tag}"', modified):
        asked = None  # the rest of another file would not fit to what is there already
    try:
        wanted = None if asked is None else parse_range(asked, size)
    except ValueError:
        os.close(opened.handle)
        outside = f"the range '{asked}' lies outside of the {size} bytes of this file"
        return problem(416, outside, {"Content-Range": f"bytes */{size}"})
    first, last = wanted or Wanted(0, size - 1)
    answer["Content-Length"] = str(last - first + 1)
    if wanted is not None:
        answer["Content-Range"] = f"bytes {first}-{last}/{size}"
    status = 200 if wanted is None else 206
    if head:
        os.close(opened.handle)
        return Response(None, status, answer, kind)
    return FileResponse(opened.handle, first, last - first + 1, status, answer, kind)


class FileResponse(StreamingResponse):
    """Sends a part of an open file, and closes it whatever happens."""

    def __init__(self, handle: int, first: int, length: int, status: int, headers: dict[str, str], kind: str):
        self._handle = handle
        super().__init__(self._read(first, length), status, headers, kind)

    async def _read(self, first: int, left: int) -> AsyncIterator[bytes]:
        while left > 0:
            part = await run_in_threadpool(os.pread, self._handle, min(CHUNK, left), first)
            if not part:
                return  # it became shorter; the connection says so
            first, left = first + len(part), left - len(part)
            yield part

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            # players break off all the time: they ask for another range then
            with suppress(ClientDisconnect):
                await super().__call__(scope, receive, send)
        finally:
            os.close(self._handle)


def parse_range(text: str, size: int) -> Wanted | None:
    """Return the one range that is asked for; None where it is to be ignored: no bytes, several, or nonsense.

    Raises:
        ValueError: It lies outside of the file.
    """
    found = re.fullmatch(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", text)
    if found is None or not any(found.groups()):
        return None
    begin, end = found.groups()
    if not begin:
        if not int(end) or not size:
            raise ValueError(text)
        return Wanted(max(0, size - int(end)), size - 1)
    first, last = int(begin), min(int(end) if end else size - 1, size - 1)
    if end and int(end) < first:
        return None
    if first >= size:
        raise ValueError(text)
    return Wanted(first, last)

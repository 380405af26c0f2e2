"""Pictures and films of moments: made once, kept, and sent."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from mmretrieval.collection.segments import Moment
from mmretrieval.web.decoding.decoders import Decoders
from mmretrieval.web.decoding.films import Film
from mmretrieval.web.decoding.pictures import Thumbnail
from mmretrieval.web.files.cache import Cache
from mmretrieval.web.files.media import Shelf, Wanted, parse_range
from mmretrieval.web.names import Roots
from mmretrieval.web.problems import problem

LOOK = "1"
"""Changes where pictures or films are made in another way, so that older ones are made anew."""


class Studio:
    """Makes pictures and films of moments.

    Args:
        shelf: Opens videos.
        decoders: Where they are decoded.
        cache: Where they are kept.
    """

    def __init__(self, shelf: Shelf, decoders: Decoders, cache: Cache):
        self._shelf, self._decoders, self._cache = shelf, decoders, cache
        self._making: dict[str, asyncio.Task] = {}

    async def thumbnail(self, moment: Moment, roots: Roots) -> tuple[bytes, str]:
        """Return a JPEG of the middle of a moment, and its tag.

        Raises:
            ProblemError: Its file is not there any more, has changed, or cannot be decoded.
        """

        async def make() -> bytes:
            path = await run_in_threadpool(self._shelf.locate, moment, roots)
            (content,) = await self._decoders.run(Thumbnail(path, moment.start, moment.end))
            return content

        return await self._kept(moment, "jpg", make)

    async def film(self, moment: Moment, roots: Roots) -> tuple[bytes, str]:
        """Return a moment as an MP4 that browsers play, and its tag; raises as ``thumbnail``."""

        async def make() -> bytes:
            path = await run_in_threadpool(self._shelf.locate, moment, roots)
            with tempfile.TemporaryDirectory(prefix="mmretrieval-film-") as folder:
                out = Path(folder) / "film.mp4"
                await self._decoders.run(Film(path, moment.start, moment.end, str(out)))
                return await run_in_threadpool(out.read_bytes)

        return await self._kept(moment, "mp4", make)

    async def _kept(self, moment: Moment, kind: str, make: Callable[[], Awaitable[bytes]]) -> tuple[bytes, str]:
        """Return what is kept, or make it: once, however many ask for it at the same time."""
        tag = hashlib.sha256(f"{LOOK} {moment.hash} {moment.start} {moment.end}".encode()).hexdigest()[:32]
        name = f"{tag}.{kind}"
        content = await run_in_threadpool(self._cache.get, name)
        if content is None:
            if name not in self._making:
                self._making[name] = asyncio.create_task(self._make(name, make))
            content = await asyncio.shield(self._making[name])
        return content, tag

    async def _make(self, name: str, make: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            content = await make()
            await run_in_threadpool(self._cache.put, name, content)
            return content
        finally:
            del self._making[name]


def send_bytes(content: bytes, kind: str, tag: str, headers: Any) -> Response:
    """Return what is kept as an answer to a request, whole or the range that is asked for."""
    # it is made of content that never changes under its address
    answer = {"ETag": f'"{tag}"', "Cache-Control": "private, max-age=604800, immutable", "Accept-Ranges": "bytes"}
    if headers.get("if-none-match") == answer["ETag"]:
        return Response(None, 304, answer)
    asked = headers.get("range")
    if asked is None or headers.get("if-range", answer["ETag"]) != answer["ETag"]:
        return Response(content, 200, answer, kind)
    try:
        wanted: Wanted | None = parse_range(asked, len(content))
    except ValueError:
        outside = f"the range '{asked}' lies outside of {len(content)} bytes"
        return problem(416, outside, {"Content-Range": f"bytes */{len(content)}"})
    if wanted is None:
        return Response(content, 200, answer, kind)
    answer["Content-Range"] = f"bytes {wanted.first}-{wanted.last}/{len(content)}"
    return Response(content[wanted.first : wanted.last + 1], 206, answer, kind)

"""Recordings and clips that people send: taken in up to a size, decoded in a process of its own, never kept."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from mmretrieval.web.decoding.decoders import Decoders
from mmretrieval.web.decoding.unpacking import FORMS, Upload, spool
from mmretrieval.web.problems import ProblemError

BYTES = 32 << 20
SECONDS = 120.0
PATIENCE = 60.0
"""Seconds in which an upload has to arrive."""

AT_ONCE = 16
"""Uploads that may lie here, arriving or being decoded."""

HEARD_OUT = 4
"""How many times the size of an upload is read of one that is too large, and dropped."""

logger = logging.getLogger("mmretrieval.web")

WORDS = {"speech": "a recording", "video": "a clip"}


class Uploads:
    """Takes in what is sent.

    Args:
        decoders: Where it is decoded.
        folder: Where it lies meanwhile; it is the server's own.
        processor: The preprocessing of the model, as far as example clips need it.
        most_bytes: Size of an upload.
        most_seconds: Length of an upload.
        patience: Seconds in which it has to arrive.
    """

    def __init__(
        self,
        decoders: Decoders,
        folder: Path,
        processor: Any,
        most_bytes: int = BYTES,
        most_seconds: float = SECONDS,
        patience: float = PATIENCE,
    ):
        self.most_bytes, self.most_seconds = most_bytes, most_seconds
        self._decoders, self._folder, self._processor, self._patience = decoders, folder, processor, patience
        self._present = 0

    async def take(self, request: Request, kind: str) -> np.ndarray:
        """Return what is in the body of a request: mono samples (n,) of speech, or frames (T, C, H, W) of a video.

        Raises:
            ProblemError: It is too large (413), of no type that is taken (415), too slow (408), not to be decoded or
                too long (422), or there are too many or no room (503).
        """
        if self._present >= AT_ONCE:
            raise ProblemError(503, "too many uploads come in: try again in a moment", {"Retry-After": "2"})
        path = spool(self._folder)
        self._present += 1
        try:
            try:
                async with asyncio.timeout(self._patience):
                    await self._receive(request, kind, path)
            except TimeoutError:
                raise ProblemError(408, f"the upload did not arrive within {self._patience:g} s: try again") from None
            except ClientDisconnect:
                raise ProblemError(400, "the upload broke off: try again") from None
            except OSError as error:
                logger.error("an upload cannot be written down: %s", error.strerror)
                raise ProblemError(503, "the server has no room for the upload: try again later") from None
            processor = self._processor if kind == "video" else None
            (content,) = await self._decoders.run(Upload(str(path), kind, self.most_seconds, processor))
            return content
        finally:
            self._present -= 1
            with suppress(FileNotFoundError):
                path.unlink()

    async def _receive(self, request: Request, kind: str, path: Path) -> None:
        """Write the body into a file; what is refused is heard to its end, or nearly: only then a browser listens."""
        wrong, size = self._wrong_head(request, kind), 0
        if wrong is not None and _promised(request) > HEARD_OUT * self.most_bytes:
            raise wrong
        with open(path, "xb") as file:
            async for part in request.stream():
                size += len(part)
                if size > self.most_bytes:
                    wrong = wrong or self._too_large()
                if wrong is None:
                    await run_in_threadpool(file.write, part)
                elif size > HEARD_OUT * self.most_bytes:
                    break
        if not size:
            wrong = wrong or ProblemError(422, f"nothing was sent: send {WORDS[kind]}")
        if wrong is not None:
            raise wrong

    def _wrong_head(self, request: Request, kind: str) -> ProblemError | None:
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not re.fullmatch(r"(audio|video)/[\w.+-]+", given):
            got = f"got '{given}'" if given else "no type was said"
            return ProblemError(415, f"send {WORDS[kind]} as audio/… or video/…, {got}: {FORMS[kind]}")
        return self._too_large() if _promised(request) > self.most_bytes else None

    def _too_large(self) -> ProblemError:
        size = f"{self.most_bytes / 2**20:g} MB"
        return ProblemError(413, f"uploads may have at most {size}: send a shorter recording", {"Connection": "close"})


def _promised(request: Request) -> int:
    """Return how many bytes a request says it has."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0

"""Everything that answers, put together: what starts before the port opens and ends after it has closed."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from mmretrieval.environment import cores
from mmretrieval.search.filters import Filter
from mmretrieval.search.request import Request
from mmretrieval.web import schema
from mmretrieval.web.asking import Asker
from mmretrieval.web.decoding.decoders import Decoders
from mmretrieval.web.decoding.unpacking import processor_of
from mmretrieval.web.decoding.uploads import BYTES, SECONDS, Uploads
from mmretrieval.web.files.cache import Cache
from mmretrieval.web.files.media import Shelf
from mmretrieval.web.files.playing import Playing
from mmretrieval.web.files.thumbnails import Studio
from mmretrieval.web.problems import ProblemError
from mmretrieval.web.serving import EVERY, Generation, Serving
from mmretrieval.web.showing import show_answer

GIGABYTE = 1 << 30

logger = logging.getLogger("mmretrieval.web")


class Service:
    """Answers questions about one collection.

    Args:
        serving: The collection.
        upload_bytes: Size of an upload at most.
        seconds: Length of an upload at most.
        time_limit: Seconds that decoding one file may take.
        memory_limit: Bytes that decoding one file may take.
        waiting: Uploads that may wait to be decoded; twenty times as many pictures may.
    """

    def __init__(
        self,
        serving: Serving,
        upload_bytes: int = BYTES,
        seconds: float = SECONDS,
        time_limit: float = 20.0,
        memory_limit: int = GIGABYTE,
        waiting: int = 8,
    ):
        self.serving = serving
        self.limits = schema.Limits(upload_bytes=upload_bytes, seconds=seconds)
        processes = max(1, cores() // 2)
        # what somebody sends must not keep others from seeing pictures
        self._for_uploads = Decoders(processes, time_limit, memory_limit, waiting)
        self._for_pictures = Decoders(processes, time_limit, memory_limit, 20 * waiting)
        self._folder = tempfile.TemporaryDirectory(prefix="mmretrieval-uploads-")
        self._asker = Asker()
        self._cache = Cache(serving.folder)
        self.shelf = Shelf()
        self.playing = Playing(self.shelf, self._for_pictures)
        self.studio = Studio(self.shelf, self._for_pictures, self._cache)
        folder, processor = Path(self._folder.name), processor_of(serving.model)
        self.uploads = Uploads(self._for_uploads, folder, processor, upload_bytes, seconds)

    @property
    def generation(self) -> Generation:
        """What is served now; a request takes it once and stays with it."""
        return self.serving.present

    async def search(self, asked: schema.SearchParameters, **uploaded: Any) -> schema.Page:
        """Return a page of hits.

        Args:
            asked: The question.
            uploaded: What came with it: ``speech`` or ``video``, decoded. A path can not get here.

        Raises:
            MMRetrievalError: It cannot be answered.
        """
        generation = self.generation
        answer = await self._asker.ask(generation.searcher, to_request(asked, generation, uploaded))
        return show_answer(answer, generation, self.playing)

    def start(self) -> None:
        """Start the processes that decode, so that nobody waits for them."""
        self._for_uploads.start()
        self._for_pictures.start()

    @asynccontextmanager
    async def running(self) -> Any:
        """Keep up with new generations while the block runs."""
        self.serving.start()
        learning = asyncio.create_task(self._learn())
        try:
            yield
        finally:
            learning.cancel()
            with suppress(asyncio.CancelledError):
                await learning

    def close(self) -> None:
        """End everything and leave nothing behind."""
        self.serving.close()
        self._for_uploads.close()
        self._for_pictures.close()
        self._asker.close()
        self._cache.close()
        self._folder.cleanup()

    async def _learn(self) -> None:
        seen = None
        while True:
            generation = self.generation
            if generation.number != seen:
                seen = generation.number
                try:
                    await self.playing.learn(generation)
                except Exception:
                    logger.exception("whether browsers play the videos is not known")
            del generation
            await asyncio.sleep(EVERY)


def to_request(asked: schema.SearchParameters, generation: Generation, uploaded: dict[str, Any]) -> Request:
    """Return a question as the searcher takes it.

    Raises:
        ProblemError: There is no such folder.
        QueryError: As ``Request`` and ``Filter``.
    """
    folder = asked.folder or None
    if folder is not None and folder not in generation.gallery.folders:
        raise ProblemError(400, f"there is no folder '{folder}' in this collection: /api/collection lists them")
    filters = Filter(
        folder=None if folder is None else f"/{folder}",
        path_glob=asked.path or None,
        after=asked.after or None,
        before=asked.before or None,
        min_seconds=asked.min_seconds,
        max_seconds=asked.max_seconds,
        tags=tuple(tag for tag in asked.tag if tag),
    )
    return Request(
        text=asked.text or None,
        like=asked.like or None,
        without=asked.without or None,
        weights=asked.weights(),
        k=asked.k,
        offset=asked.offset,
        filters=filters,
        merge=asked.merge,
        fold=asked.fold,
        min_score=asked.min_score,
        **uploaded,
    )

"""Which videos browsers play as they are: told by their names at first, looked at one after the other meanwhile."""

from __future__ import annotations

import logging
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

from mmretrieval.web.decoding.decoders import Decoders
from mmretrieval.web.decoding.pictures import FORMS, Played
from mmretrieval.web.files.media import Shelf
from mmretrieval.web.problems import ProblemError
from mmretrieval.web.serving import Generation

TOGETHER = 32

logger = logging.getLogger("mmretrieval.web")


class Playing:
    """Knows of every video whether browsers play it.

    Args:
        shelf: Finds videos.
        decoders: Where they are looked at.
    """

    def __init__(self, shelf: Shelf, decoders: Decoders):
        self._shelf, self._decoders = shelf, decoders
        self._known: dict[str, bool] = {}

    def plays(self, video: str, name: str) -> bool:
        """Return whether browsers play a video; where nobody has looked at it yet, what its name promises."""
        return self._known.get(video, _suffix(name) in FORMS)

    async def learn(self, generation: Generation) -> None:
        """Look at all videos of a generation that nobody has looked at."""
        gallery = generation.gallery
        new = [video for video in gallery.video_ids if video not in self._known]
        # what its name rules out need not be looked at
        new = [video for video in new if _suffix(gallery.name_of(gallery.first_row(video))) in FORMS]
        for first in range(0, len(new), TOGETHER):
            part = new[first : first + TOGETHER]
            paths = await run_in_threadpool(self._paths, generation, part)
            with suppress(ProblemError):
                answers = await self._decoders.run(Played(tuple(paths.values())))
                self._known |= dict(zip(paths, answers))

    def _paths(self, generation: Generation, videos: list[str]) -> dict[str, str]:
        gallery, found = generation.gallery, {}
        for video in videos:
            path = gallery.roots.resolve(generation.moment(gallery.first_row(video)).path)
            if path is not None:
                found[video] = path
        return found


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2].lower()}"

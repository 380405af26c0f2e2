"""One generation of a collection, ready to answer, and the change to the next one without a request lost."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmretrieval.collection.collection import Collection
from mmretrieval.collection.manifest import NAME, read_manifest
from mmretrieval.collection.segments import Moment
from mmretrieval.errors import MMRetrievalError
from mmretrieval.search.milvus import Copy, NotCopied
from mmretrieval.search.request import Request
from mmretrieval.search.searcher import Searcher
from mmretrieval.web.names import SharedGallery

if TYPE_CHECKING:
    from mmretrieval.search.milvus import Milvus

EVERY = 2.0
"""Seconds between two looks at whether there is a new generation."""

SELDOM = 60.0
"""Seconds, at most, until one that could not be served is tried again: each time twice as long as before."""

logger = logging.getLogger("mmretrieval.web")


class Generation:
    """What is served: a searcher that holds on to its generation, and what clients may know of its files."""

    def __init__(self, model: Any, collection: Collection, milvus: Milvus | None = None):
        self.collection = collection
        self.gallery = SharedGallery(collection, milvus)
        self.searcher = Searcher(model, collection, self.gallery)

    @property
    def number(self) -> int:
        """Its number."""
        return self.collection.manifest.generation

    def warm(self) -> None:
        """Do once what every search needs done, so that the first one does not wait for it."""
        gallery, model = self.gallery, self.searcher.model
        if not len(gallery):
            return
        for column in ("embeddings", "starts", "ends", "videos", "durations", "modified", "tags", "_by_video"):
            getattr(gallery, column)
        for modality in model.modalities:
            self.searcher.calibration.confidence(modality, np.zeros(1))
        self.searcher.answers([Request(**query) for query in self._questions()])

    def _questions(self) -> list[dict[str, Any]]:
        """Return a question of every kind that can be asked."""
        model, questions = self.searcher.model, [{"like": self.gallery.ids([0])[0]}]
        if "text" in model.modalities:
            # of some vocabularies a few sub-words are no word; several draws have one
            random, tokenizer = np.random.default_rng(0), model.processor.tokenizer
            draws = random.integers(tokenizer.size, size=(4, 8)).tolist()
            questions += [{"text": tokenizer.decode(draw)} for draw in draws]
        if "speech" in model.modalities:
            noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
            questions.append({"speech": noise.astype(np.float32)})
        return questions

    def moment(self, row: int) -> Moment:
        """Return the moment at a row."""
        return self.collection.moment(row)


class Serving:
    """Keeps the newest generation of a collection ready.

    Args:
        folder: The collection.
        model: The model that made it.
        every: Seconds between two looks for a new generation.
        collection: The collection, if it is open already.
        milvus: Where to look for the nearest moments; a generation is changed to when it has been pushed there.

    Raises:
        CollectionError: As ``Searcher.open``.
        ModelError: The saved model cannot be loaded.
    """

    def __init__(
        self,
        folder: str | Path,
        model: Any,
        every: float = EVERY,
        collection: Collection | None = None,
        milvus: Milvus | None = None,
    ):
        self.folder, self.model, self._milvus = Path(folder), model, milvus
        self.present = self._ready(Collection.open(folder) if collection is None else collection)
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="generations", daemon=True)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        model: str | Path | None = None,
        every: float = EVERY,
        milvus: Milvus | None = None,
    ) -> Serving:
        """Open a collection together with the model it remembers, or with the one saved at ``model``."""
        opened = Searcher.open(folder, model, milvus)
        return cls(folder, opened.model, every, opened.collection, milvus)

    def start(self) -> None:
        """Begin to look for new generations."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> bool:
        """Change to a newer generation if there is one, and say whether there was.

        Requests that have begun end with the generation they began with; it is let go of after the last of them.

        Raises:
            NotCopied: It is not in Milvus yet.
            MMRetrievalError: It cannot be served.
        """
        manifest = read_manifest(self.folder)
        if manifest.generation == self.present.number:
            return False
        if self._milvus is not None:
            self._milvus.check(Copy.of(self.folder, manifest))
        self.present = self._ready(Collection.open(self.folder))
        logger.info("generation %d: %d moments", self.present.number, len(self.present.gallery))
        return True

    def _ready(self, collection: Collection) -> Generation:
        generation = Generation(self.model, collection, self._milvus)
        generation.warm()
        return generation

    def _watch(self) -> None:
        served = told = None
        pause = self._every
        while not self._stop.wait(pause):
            stamp: tuple[int, ...] = ()
            try:
                stamp = self._stamp()
                if stamp != served:
                    self.look()
                    served = stamp
                pause = self._every
            except Exception as error:
                # whether it has been pushed meanwhile is asked quickly
                pause = self._every if isinstance(error, NotCopied) else min(2 * pause, SELDOM)
                if stamp != told:
                    told = stamp
                    known = isinstance(error, MMRetrievalError | OSError)
                    logger.warning("generation %d stays: %s", self.present.number, error, exc_info=not known)

    def _stamp(self) -> tuple[int, ...]:
        """Return what tells apart two manifests without reading them."""
        stat = (self.folder / NAME).stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

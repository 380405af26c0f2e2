"""``Searcher``: a model and a collection that it made answer queries."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmretrieval.collection.collection import Collection
from mmretrieval.environment import cores
from mmretrieval.errors import CollectionError, MMRetrievalError
from mmretrieval.search.answer import Answer, hits_to_json
from mmretrieval.search.calibration import Calibration
from mmretrieval.search.filters import Filter
from mmretrieval.search.gallery import Gallery
from mmretrieval.search.merging import Group
from mmretrieval.search.mixture import Mixture, embed_mixtures, prepare
from mmretrieval.search.ranking import rank
from mmretrieval.search.request import Request
from mmretrieval.types import Hit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmretrieval.search.milvus import Milvus

__all__ = ["Searcher", "hits_to_json"]


class Searcher:
    """Answers typed captions, spoken captions, example clips and mixtures of them with moments of a collection.

    May be used by several threads at once.

    Args:
        model: The ``RetrievalModel`` that made the collection.
        collection: What is searched.
        gallery: What of it questions and filters see; by default all there is to know.

    Raises:
        CollectionError: The collection was made by another model.
    """

    def __init__(self, model: Any, collection: Collection, gallery: Gallery | None = None):
        collection.check_model(model)
        self.model = model
        self.collection = collection
        self.gallery = Gallery(collection) if gallery is None else gallery
        self.calibration = Calibration(model, self.gallery)

    @classmethod
    def open(
        cls, collection_path: str | Path, model: str | Path | None = None, milvus: Milvus | None = None
    ) -> Searcher:
        """Open a collection together with the model it remembers, or with the one saved at ``model``.

        Raises:
            CollectionError: No collection, damaged, made by another model, its model is not where it was, or its copy
                in Milvus is not up to date.
            ModelError: The saved model cannot be loaded.
        """
        collection = Collection.open(collection_path)
        folder = Path(model) if model is not None else collection.model_path()
        if model is None and not folder.is_dir():
            raise CollectionError(
                f"{collection.folder} was made with the model in '{folder}', which is no longer there: "
                f"say where it is with --model"
            )
        from mmretrieval.model import RetrievalModel

        return cls(RetrievalModel.from_pretrained(folder), collection, Gallery(collection, milvus))

    def search(
        self,
        text: str | None = None,
        speech: str | Path | np.ndarray | None = None,
        video: str | Path | np.ndarray | None = None,
        k: int = 10,
        *,
        like: str | None = None,
        without: str | None = None,
        weights: Mapping[str, float] | None = None,
        filters: Filter | None = None,
        offset: int = 0,
        merge: bool = True,
        fold: bool = True,
        min_score: float | None = None,
    ) -> Answer:
        """Return the ``k`` hits that match best, best first. Arguments are those of ``Request``.

        Raises:
            QueryError: No query, an empty caption or one of unknown words, a modality that the model does not have, an
                unknown moment, or a number out of its range.
            MediaError: The recording or the clip is missing, damaged, empty or silent.
        """
        queries = {"text": text, "speech": speech, "video": video, "like": like, "without": without}
        options = {"k": k, "offset": offset, "merge": merge, "fold": fold, "min_score": min_score}
        return self.answer(Request(**queries, **options, weights=weights or {}, filters=filters or Filter()))

    def answer(self, request: Request) -> Answer:
        """Return the answer to one request; raises as ``search``."""
        (answer,) = self.answers([request])
        if isinstance(answer, MMRetrievalError):
            raise answer
        return answer

    def answers(self, requests: Sequence[Request]) -> list[Answer | MMRetrievalError]:
        """Return the answer to each request, or why there is none.

        Queries are encoded in batches and looked up in threads, one query a thread.
        """
        mixtures = [
            _or_error(lambda request=request: prepare(self.model, self.gallery, request)) for request in requests
        ]
        vectors = iter(embed_mixtures(self.model, [mixture for mixture in mixtures if isinstance(mixture, Mixture)]))
        asked = [(mixture, next(vectors) if isinstance(mixture, Mixture) else None) for mixture in mixtures]

        def look_up(request: Request, mixture: Mixture | MMRetrievalError, vector: Any) -> Answer | MMRetrievalError:
            if isinstance(mixture, MMRetrievalError):
                return mixture
            return _or_error(lambda: self._look_up(request, mixture, vector))

        tasks = [(request, *pair) for request, pair in zip(requests, asked, strict=True)]
        if len(tasks) == 1:
            return [look_up(*tasks[0])]
        with ThreadPoolExecutor(cores()) as pool:
            return list(pool.map(lambda task: look_up(*task), tasks))

    def _look_up(self, request: Request, mixture: Mixture, vector: np.ndarray | MMRetrievalError) -> Answer:
        if isinstance(vector, MMRetrievalError):
            raise vector
        rows = request.filters.rows(self.gallery)
        if rows is not None and not len(rows):
            return Answer((), False, (*mixture.notes, request.filters.why_nothing(self.gallery)), request.offset)
        rows = _without(rows, mixture.left_out, len(self.gallery))
        wanted, how = request.offset + request.k, (request.merge, request.fold, request.min_score)
        groups = rank(self.gallery, vector, wanted + 1, rows, *how)
        notes = list(mixture.notes)
        if not groups:
            notes.append(self._why_empty(request, vector, rows))
        elif request.offset >= len(groups):
            notes.append(f"there are {len(groups)} hits: nothing comes after the first {request.offset}")
        confidence = self.calibration.confidence(mixture.modality, np.array([group.score for group in groups]))
        page = list(zip(groups, confidence.tolist()))[request.offset : wanted]
        hits = [self._hit(place, *found) for place, found in enumerate(page, start=request.offset + 1)]
        matched = bool(len(confidence)) and confidence[0] >= self.calibration.threshold
        return Answer(tuple(hits), bool(matched), tuple(notes), request.offset, len(groups) > wanted)

    def _why_empty(self, request: Request, vector: np.ndarray, rows: np.ndarray | None) -> str:
        best = rank(self.gallery, vector, 1, rows)
        if not best:
            return "there is no other moment to compare with"
        return f"no moment scores {request.min_score:g} or more: the best has {best[0].score:.3f}"

    def _hit(self, place: int, group: Group, confidence: float) -> Hit:
        moment = self.collection.moment(group.row)
        return Hit(
            place,
            float(group.score),
            moment.id,
            moment.path,
            round(group.start, 3),
            round(group.end, 3),
            round(confidence, 4),
            confidence >= self.calibration.threshold,
            (moment.start, moment.end),
            self.gallery.ids(group.members),
            self.gallery.ids(group.copies),
        )


def _without(rows: np.ndarray | None, left_out: np.ndarray, count: int) -> np.ndarray | None:
    """Return the rows that may be answers without those left out."""
    if not len(left_out):
        return rows
    return np.setdiff1d(np.arange(count) if rows is None else rows, left_out)


def _or_error(work: Any) -> Any:
    """Return what ``work`` returns, or the error that the person who asked can mend."""
    try:
        return work()
    except MMRetrievalError as error:
        return error

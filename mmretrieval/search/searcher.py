"""``Searcher``: a model and a collection that it made answer queries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmretrieval.collection.collection import Collection
from mmretrieval.errors import CollectionError, MediaError, QueryError
from mmretrieval.types import Hit

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

MODALITIES = {"text": "a typed caption", "speech": "a spoken caption", "video": "an example clip"}


class Searcher:
    """Answers typed captions, spoken captions and example clips with moments of a collection.

    Args:
        model: The ``RetrievalModel`` that made the collection.
        collection: What is searched.

    Raises:
        CollectionError: The collection was made by another model.
    """

    def __init__(self, model: Any, collection: Collection):
        collection.check_model(model)
        self.model = model
        self.collection = collection

    @classmethod
    def open(cls, collection_path: str | Path, model: str | Path | None = None) -> Searcher:
        """Open a collection together with the model it remembers, or with the one saved at ``model``.

        Raises:
            CollectionError: No collection, damaged, made by another model, or its model is not where it was.
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

        return cls(RetrievalModel.from_pretrained(folder), collection)

    def search(
        self,
        text: str | None = None,
        speech: str | Path | np.ndarray | None = None,
        video: str | Path | None = None,
        k: int = 10,
    ) -> list[Hit]:
        """Return the ``k`` moments that match best, best first. Exactly one query is given.

        Args:
            text: A caption.
            speech: A recording: any audio file, a video with sound, or mono samples at 16 kHz. Silence
                before and after the words is cut off.
            video: A clip; the whole of it is the query.
            k: How many answers; all moments if there are fewer.

        Raises:
            QueryError: No or several queries, an empty caption or one of unknown words, a modality that the model does
                not have, or ``k`` below 1.
            MediaError: The recording or the clip is missing, damaged, empty or silent.
        """
        given = {"text": text, "speech": speech, "video": video}
        given = {modality: query for modality, query in given.items() if query is not None}
        if len(given) != 1:
            raise QueryError(f"give exactly one of text, speech, video; got {len(given)}")
        if k < 1:
            raise QueryError(f"k is the number of answers and at least 1, got {k}")
        ((modality, query),) = given.items()
        if modality not in self.model.modalities:
            known = ", ".join(self.model.modalities)
            raise QueryError(f"{MODALITIES[modality]} cannot be searched for: this model knows {known}")
        item = getattr(self, f"_{modality}")(query)
        scores, rows = self.collection.nearest(self.model.embed(modality, [item]), k)
        return [self._hit(rank, score, row) for rank, (score, row) in enumerate(zip(scores[0], rows[0]), start=1)]

    def _hit(self, rank: int, score: float, row: int) -> Hit:
        moment = self.collection.moment(int(row))
        return Hit(rank, float(score), moment.id, moment.path, moment.start, moment.end)

    def _text(self, caption: str) -> Tensor:
        return self.model.processor.text(caption)

    def _speech(self, recording: str | Path | np.ndarray) -> Tensor:
        from mmretrieval.media.audio import read_audio, trim_silence

        if not isinstance(recording, (str, Path)):
            return self.model.processor.speech(trim_silence(recording))
        try:
            return self.model.processor.speech(trim_silence(read_audio(recording)))
        except MediaError as error:
            # what is wrong with samples does not know which file they came from
            raise MediaError(f"{recording}: {str(error).removeprefix(f'{recording}: ')}") from None

    def _video(self, clip: str | Path) -> Tensor:
        return self.model.processor.video(clip)


def hits_to_json(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Return hits as plain values: a list of ``{rank, score, id, path, start, end}``."""
    return [hit._asdict() for hit in hits]

"""What other processes do to a collection; without torch, so that they start quickly."""

from __future__ import annotations

import crash

from mmretrieval.collection import Collection


def names(start: int, count: int) -> list[str]:
    return [f"moment-{number}" for number in range(start, start + count)]


def made(folder, count: int) -> Collection:
    ids = names(0, count)
    return Collection.create(folder, crash.moments_of(ids), crash.embeddings_of(ids), crash.FakeModel(), "model")


def append(collection: Collection, start: int, count: int) -> None:
    ids = names(start, count)
    collection.append(crash.moments_of(ids), crash.embeddings_of(ids))


def read_again_and_again(folder, stop, answers) -> None:
    """Open, look at everything, and say what is not as one of the generations was; the last word is None."""
    try:
        while not stop.is_set():
            reader = Collection.open(folder)
            ids = [moment.id for moment in reader.moments]
            rows = reader.nearest(crash.embeddings_of(ids[-3:]), 1)[1][:, 0]
            whole = len(ids) % 10 == 0 and len(set(ids)) == len(ids) == len(reader)
            answers.put("fine" if whole and list(rows) == list(range(len(ids)))[-3:] else f"{ids} {rows}")
    except Exception as error:
        answers.put(repr(error))
    answers.put(None)


def write(folder, start: int) -> None:
    collection = Collection.open(folder)
    for number in range(5):
        append(collection, start + number, 1)

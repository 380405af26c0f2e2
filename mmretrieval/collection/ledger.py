"""What an unfinished build has done: sealed shards under ``COLLECTION/pending``, from which the next run goes on.

A shard is one immutable Parquet file of moments and, written after it, one JSON record that names it with its SHA-256
and says which videos are done. Only what a sound record of the same model and options says counts; the rest is
removed. When all is in a generation of the collection, ``clear`` removes the shards.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmretrieval.collection.segments import (
    Moment,
    moments_of,
    read_embeddings,
    read_segment,
    segment_table,
    write_segment,
)
from mmretrieval.errors import StorageError
from mmretrieval.files import atomic_write, sha256_file, storage_error

FOLDER = "pending"
FORMAT = "mmretrieval pending shard"

SHARD_MOMENTS = 512
SHARD_SECONDS = 20.0
"""A shard is sealed when it has so many moments or is so old: what a crash can cost."""


@dataclass
class Done:
    """What became of a video.

    Attributes:
        path: The file.
        hash: Its SHA-256.
        spans: What of it was asked for.
        moments: How many moments it has, in this shard and in earlier ones.
        bad: What could not be used: (reason, start, end).
        black: Near-black moments that were dropped.
        still: Still moments that were dropped.
        changed: It changed while it was read: what earlier shards hold of it is void.
    """

    path: str
    hash: str
    spans: list[tuple[float | None, float | None]]
    moments: int = 0
    bad: list[tuple[str, float | None, float | None]] = field(default_factory=list)
    black: int = 0
    still: int = 0
    changed: bool = False


class Ledger:
    """The pending shards of a collection, which whoever opens them holds with ``locks.only_writer``.

    When Ctrl-C ends the ``with`` block, what is done is sealed first.

    Args:
        folder: The collection, which need not exist yet.
        key: The model, the width ``dim`` of its embeddings and the options, in plain values: shards of others are
            removed.
        name: The folder of the shards inside the collection.

    Attributes:
        moments: All moments that are done, sealed or not.
        done: What became of each finished video, by hash.
        discarded: Shards that were removed because they are damaged, or of another model or other options.
    """

    def __init__(self, folder: Path, key: dict[str, Any], name: str = FOLDER):
        self._collection = folder
        self._folder = folder / name
        self._key = key
        self.moments: list[Moment] = []
        self._rows: list[np.ndarray] = []
        self.done: dict[str, Done] = {}
        self.discarded = 0
        self._counts: Counter[str] = Counter()
        self._next = 1
        self._sealed = 0  # moments that are in shards
        self._unsealed: list[Done] = []
        self._since = time.monotonic()

    def __enter__(self) -> Ledger:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(self._collection, error) from error
        self._read()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            with suppress(StorageError):  # what is in no shard yet is embedded again by the next run
                self.seal()
        self._leave()

    def add(self, moment: Moment, embedding: np.ndarray) -> None:
        """Note an embedded moment; ``embedding`` is (D,) float32."""
        # a row first: Ctrl-C may come between any two lines, and a moment without its embedding could not be kept
        self._rows.append(embedding)
        self.moments.append(moment)
        self._counts[moment.hash] += 1

    def finish(self, done: Done) -> None:
        """Note that a video is finished: its moments were added before."""
        if done.changed:
            self._forget(done.hash)
        else:
            self.done[done.hash] = done
        done.moments = self._counts[done.hash]
        self._unsealed.append(done)

    def embeddings(self) -> np.ndarray:
        """Return the embeddings of ``moments``, (n, D) float32."""
        return np.stack(self._rows) if self._rows else np.zeros((0, self._key["dim"]), np.float32)

    def seal_if_due(self) -> None:
        """Seal a shard if enough has gathered."""
        if len(self.moments) - self._sealed >= SHARD_MOMENTS or time.monotonic() - self._since >= SHARD_SECONDS:
            self.seal()

    def seal(self) -> None:
        """Write what is not in a shard yet into one: whole or not at all.

        Raises:
            StorageError: The disk is full or refuses to be written; earlier shards stay.
        """
        self._since = time.monotonic()
        moments = self.moments[self._sealed :]
        if not moments and not self._unsealed:
            return
        record: dict[str, Any] = {"format": FORMAT, "key": self._key, "moments": len(moments)}
        record["videos"] = [asdict(done) for done in self._unsealed]
        if moments:
            file = self._parquet(self._next)
            write_segment(file, segment_table(moments, np.stack(self._rows[self._sealed : len(self.moments)])))
            record["sha256"] = sha256_file(file)
        atomic_write(self._record(self._next), _signed(record))
        sealed = self._sealed + len(moments)
        self._next, self._sealed, self._unsealed = self._next + 1, sealed, []  # at once, whenever Ctrl-C comes

    def clear(self) -> None:
        """Remove the shards: what they hold is in the collection."""
        # records first: a shard without one is nothing, a record without its shard is damaged
        for file in [*self._folder.glob("*.json"), *self._folder.iterdir()]:
            file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove the shards of this model and these options, which are in the collection; leave those of others."""
        for file in self._folder.glob("shard-[0-9]*.json"):
            if self._sound(int(file.stem.split("-")[1])) is not None:
                file.unlink()
        self._sweep()
        self._leave()

    def _read(self) -> None:
        """Take over what sound shards hold, in their order, and remove the others."""
        for file in sorted(self._folder.glob("shard-[0-9]*.json")):
            number = int(file.stem.split("-")[1])
            self._next = number + 1
            record = self._sound(number)
            if record is None:
                self.discarded += 1
                file.unlink()
                continue
            if record["moments"]:
                moments = moments_of(read_segment(self._parquet(number)).drop_columns(["embedding"]))
                for moment, embedding in zip(moments, read_embeddings(self._parquet(number), self._key["dim"])):
                    self.add(moment, embedding)
            for values in record["videos"]:
                done = Done(**{**values, "spans": [tuple(span) for span in values["spans"]]})
                if done.changed:
                    self._forget(done.hash)
                else:
                    self.done[done.hash] = done
        self._sealed = len(self.moments)
        # a video whose moments were in a shard that is lost is not done
        self.done = {digest: done for digest, done in self.done.items() if self._counts[digest] == done.moments}
        self._sweep()

    def _leave(self) -> None:
        with suppress(OSError):  # what holds anything stays
            self._folder.rmdir()

    def _sweep(self) -> None:
        """Remove what has no record: written, or begun, by a process that was killed before its record."""
        for file in self._folder.glob("*"):
            if file.suffix != ".json" and not file.with_suffix(".json").exists():
                file.unlink()

    def _sound(self, number: int) -> dict[str, Any] | None:
        """Return a record whose own checksum and whose shard's are right, and that is of this model and options."""
        try:
            record = json.loads(self._record(number).read_text("utf-8"))
            signature = record.pop("signature")
            if signature != _checksum(record) or record["format"] != FORMAT or record["key"] != self._key:
                return None
            if record["moments"] and sha256_file(self._parquet(number)) != record["sha256"]:
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return record

    def _forget(self, digest: str) -> None:
        kept = [place for place, moment in enumerate(self.moments) if moment.hash != digest]
        sealed = sum(place < self._sealed for place in kept)
        moments, rows = [self.moments[place] for place in kept], [self._rows[place] for place in kept]
        self.moments, self._rows, self._sealed = moments, rows, sealed
        self.done.pop(digest, None)
        del self._counts[digest]

    def _record(self, number: int) -> Path:
        return self._folder / f"shard-{number:06d}.json"

    def _parquet(self, number: int) -> Path:
        return self._folder / f"shard-{number:06d}.parquet"


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _signed(record: dict[str, Any]) -> str:
    return json.dumps({**record, "signature": _checksum(record)}, indent=1) + "\n"

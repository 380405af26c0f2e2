"""``Milvus``: a server, or a file of Milvus Lite, that holds copies of collections.

A copy is a Milvus collection with one row per moment and a record of what was copied: searched is only a copy that is
what the collection is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from mmretrieval.errors import CollectionError, DependencyError

if TYPE_CHECKING:
    from pathlib import Path

    from mmretrieval.collection.manifest import Manifest

RECORDS = "mmretrieval_copies"
"""The Milvus collection that says of every copy what it is."""

TIMEOUT = 30.0
"""Seconds in which a server has to answer."""

EXACT_UP_TO = 131_072
"""Moments that are compared one by one; more of them get a graph."""

LITE = {"grpc_options": {"grpc.keepalive_time_ms": 2**31 - 1}}
"""Milvus Lite takes a question every ten seconds whether it is still there for an attack, and hangs up."""

LINKS = 32
EFFORT = 200
LEAST_EFFORT = 256

BATCH = 2_000
"""Rows of one message: well below the size that servers accept, also with wide embeddings."""


class NotCopied(CollectionError):
    """Milvus has no whole copy of just this generation; a push mends it."""


class Copy(NamedTuple):
    """What a collection is called in Milvus, and what it is.

    Attributes:
        name: Of the Milvus collection: the folder's name, and what tells collections of one name apart.
        folder: The collection's own folder, for messages.
        dim: Width D of the embeddings.
        fingerprint: Of the model.
        generation: Of the collection.
        state: What tells apart two contents, also those of one generation of two copies of a folder.
    """

    name: str
    folder: str
    dim: int
    fingerprint: str
    generation: int
    state: str

    @classmethod
    def of(cls, folder: Path, manifest: Manifest) -> Copy:
        """Describe what a collection should be in Milvus."""
        fingerprint = manifest.model["fingerprint"]
        slug = re.sub(r"[^A-Za-z0-9_]", "_", folder.resolve().name)[:100]
        name = f"mmretrieval_{slug}_{_digest([manifest.created, fingerprint])[:8]}"
        held = [(name, manifest.files[name]["sha256"], manifest.removed.get(name)) for name in manifest.segments]
        state = _digest([fingerprint, held])
        return cls(name, str(folder), manifest.dim, fingerprint, manifest.generation, state)

    def record(self, whole: bool) -> dict[str, Any]:
        """Return what is written about it; a copy in the making has no state."""
        about = {"fingerprint": self.fingerprint, "generation": self.generation}
        return {**about, "state": self.state if whole else None}


class Milvus:
    """A connection.

    Args:
        uri: ``http://host:19530`` of a server, or a file ``….db`` for Milvus Lite, which one process may use at a time.
        token: ``user:password`` or an API key; it is never shown.

    Attributes:
        place: The address without anything secret.

    Raises:
        DependencyError: pymilvus, or Milvus Lite for a file, is not installed.
        CollectionError: Nobody answers there, or it is no address.
    """

    def __init__(self, uri: str, token: str | None = None):
        self.place = _public(uri)
        self._secrets = [secret for secret in (token, urlsplit(uri).password) if secret]
        client, self._Error = _load(uri)
        try:
            self._client = client(uri, token=token or "", timeout=TIMEOUT, **({} if "://" in uri else LITE))
        except self._Error as error:
            if "://" in uri:
                mend = "check the address and the token, and that the server runs"
            else:
                mend = "give http://host:19530, or a .db file of Milvus Lite 3 that no other process has open"
            raise CollectionError(f"no Milvus at {self.place} ({self._reason(error)}): {mend}") from None

    def call(self, verb: str, *arguments: Any, timeout: float | None = TIMEOUT, **named: Any) -> Any:
        """Call a method of pymilvus' client.

        Raises:
            CollectionError: The server refuses, or does not answer.
        """
        try:
            return getattr(self._client, verb)(*arguments, timeout=timeout, **named)
        except self._Error as error:
            raise CollectionError(f"Milvus at {self.place} failed ({verb}: {self._reason(error)})") from None

    def close(self) -> None:
        """Close the connection. A file of Milvus Lite may be opened by another process when this one has ended."""
        self._client.close()

    def load(self, copy: Copy) -> None:
        """Have a copy ready for questions: a file of Milvus Lite that was closed, or a server that let go, has not."""
        for name in (RECORDS, copy.name):
            if self.call("has_collection", name):
                self.call("load_collection", name, timeout=None)

    def check(self, copy: Copy) -> None:
        """Make sure that there is a whole copy of just what a collection is.

        Raises:
            NotCopied: There is none, or one of another generation.
            CollectionError: Milvus fails.
        """
        record = self.read_record(copy)
        if record is not None and record["state"] == copy.state:
            return
        push = f"mmretrieval index push {copy.folder} --milvus {self.place}"
        if record is None:
            raise NotCopied(f"{copy.folder} is not in Milvus at {self.place}: {push}")
        if record["state"] is None:
            raise NotCopied(f"{copy.folder} is only partly in Milvus at {self.place}: {push}")
        raise NotCopied(
            f"Milvus at {self.place} has generation {record['generation']} of {copy.folder}, "
            f"this is {copy.generation}: {push}"
        )

    def read_record(self, copy: Copy) -> dict[str, Any] | None:
        """Return what is written about a copy, or None."""
        if not self.call("has_collection", RECORDS):
            return None
        found = self.call("query", RECORDS, filter=f'name == "{copy.name}"', output_fields=["record"])
        return json.loads(found[0]["record"]) if found else None

    def write_record(self, copy: Copy, whole: bool) -> None:
        """Write what a copy is: whole, or in the making."""
        row = {"name": copy.name, "record": json.dumps(copy.record(whole)), "nothing": [0.0, 0.0]}
        self.call("upsert", RECORDS, [row])

    def prepare(self, copy: Copy) -> None:
        """Make what a copy is written into, where it is not there.

        Raises:
            CollectionError: Something else has its name.
        """
        # Milvus wants a vector in every collection
        self._make(RECORDS, lambda kinds: {"name": (kinds.VARCHAR, {"max_length": 255}),
                                           "record": (kinds.VARCHAR, {"max_length": 4096}),
                                           "nothing": (kinds.FLOAT_VECTOR, {"dim": 2})})  # fmt: skip
        self.index(RECORDS, "nothing", 0)
        self._make(copy.name, lambda kinds: {"key": (kinds.INT64, {}), "digest": (kinds.INT64, {}),
                                             "id": (kinds.VARCHAR, {"max_length": 65_535}),
                                             "embedding": (kinds.FLOAT_VECTOR, {"dim": copy.dim})})  # fmt: skip
        fields = self.call("describe_collection", copy.name)["fields"]
        dim = next((field["params"].get("dim") for field in fields if field["name"] == "embedding"), None)
        if dim != copy.dim:
            raise CollectionError(
                f"{copy.name} in Milvus at {self.place} has width {dim}, {copy.folder} has {copy.dim}: drop it there"
            )

    def _make(self, name: str, fields: Callable[[Any], dict[str, tuple]]) -> None:
        if self.call("has_collection", name):
            return
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        for number, (field, (kind, options)) in enumerate(fields(DataType).items()):
            schema.add_field(field, kind, is_primary=number == 0, **options)
        # whoever asks sees all that was written before
        self.call("create_collection", name, schema=schema, consistency_level="Strong")

    def index(self, name: str, field: str, rows: int) -> None:
        """Index a Milvus collection for so many rows, and make it ready for search."""
        kind, options = "FLAT", {}
        if rows > EXACT_UP_TO:
            kind, options = "HNSW", {"M": LINKS, "efConstruction": EFFORT}
        self.call("flush", name, timeout=None)
        present = self.call("describe_index", name, field) if self.call("list_indexes", name) else None
        if present is None or present["index_type"] != kind:
            if present is not None:
                self.call("release_collection", name)
                self.call("drop_index", name, field)
            wanted = self._client.prepare_index_params()
            wanted.add_index(field, index_type=kind, metric_type="IP", index_name=field, params=options)
            self.call("create_index", name, wanted, timeout=None)
        self.call("load_collection", name, timeout=None)

    def rows(self, copy: Copy) -> tuple[np.ndarray, np.ndarray]:
        """Return keys and digests, (n,) int64, of all rows of a copy."""
        found = list(self._pages(copy.name, ["key", "digest"]))
        return tuple(np.array([row[name] for row in found], np.int64) for name in ("key", "digest"))

    def _pages(self, name: str, fields: list[str]) -> Iterator[dict[str, Any]]:
        pages = self.call("query_iterator", name, filter="", output_fields=fields, batch_size=BATCH)
        try:
            while page := pages.next():
                yield from page
        except self._Error as error:
            raise CollectionError(f"Milvus at {self.place} failed (query: {self._reason(error)})") from None
        finally:
            pages.close()

    def search(self, copy: Copy, queries: np.ndarray, k: int) -> list[np.ndarray]:
        """Return for each query (n, D) the keys of its ``k`` best rows, (k',) int64."""
        effort = {"params": {"ef": max(2 * k, LEAST_EFFORT)}}
        found = self.call(
            "search", copy.name, data=list(queries), anns_field="embedding", limit=k, output_fields=["key"],
            search_params={"metric_type": "IP", **effort},
        )  # fmt: skip
        return [np.array([hit["key"] for hit in hits], np.int64) for hits in found]

    def _reason(self, error: Exception) -> str:
        """Return what pymilvus says, on one line and without anything secret."""
        reason = " ".join((getattr(error, "message", "") or str(error)).split()).rstrip(".")
        for secret in self._secrets:
            reason = reason.replace(secret, "…")
        return reason


def keys_of(ids: Iterable[str]) -> np.ndarray:
    """Return a number for each id, (n,) int64: what Milvus compares quickly, and what needs no quotes."""
    return np.array([_number(moment.encode()) for moment in ids], np.int64)


def digests_of(embeddings: np.ndarray) -> np.ndarray:
    """Return a number for each embedding (n, D) that tells whether another has come in its place, (n,) int64."""
    return np.array([_number(row.tobytes()) for row in embeddings], np.int64)


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _public(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


def _load(uri: str) -> tuple[Any, type[Exception]]:
    """Return pymilvus' client and its error."""
    from importlib.util import find_spec

    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError:
        raise DependencyError("Milvus takes pymilvus: pip install 'mmretrieval[scale]'") from None
    if "://" not in uri and find_spec("milvus_lite") is None:
        raise DependencyError(f"{uri}: a file takes Milvus Lite: pip install 'mmretrieval[scale]'")
    for name in ("pymilvus", "milvus_lite"):
        # they log the traceback of every error that they raise
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MilvusClient, MilvusException

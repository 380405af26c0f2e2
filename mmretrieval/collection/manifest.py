"""``manifest.json`` of a collection: which files belong to this generation, and what they must hash to.

It is written last and replaced atomically, so what it names is complete. Its own text is covered by a checksum.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmretrieval.errors import CollectionError
from mmretrieval.files import atomic_write, sha256_file

NAME = "manifest.json"
FORMAT = "mmretrieval collection"
VERSION = 2


class DamagedManifest(CollectionError):
    """The manifest itself is not what was written."""


@dataclass(frozen=True)
class Manifest:
    """One generation of a collection.

    Attributes:
        generation: 1 for a new collection, one more for every change.
        created: When the collection was first built, ISO 8601, UTC.
        changed: When this generation was written.
        metric: ``cosine`` (unit-length embeddings) or ``inner_product``.
        dim: Width D of the embeddings.
        counts: ``videos``, ``moments`` (both without what was removed) and ``quarantined``.
        model: ``fingerprint``, ``path`` (relative to the collection's folder) and ``absolute`` path.
        index: ``kind`` and ``file`` of the derived FAISS index, ``rows``: how many moments it holds, the first ones,
            removed or not; ``parameters``, ``measured`` and ``measured_rows``: how and for how many it was chosen.
        segments: Names of the segment files, in the order of their rows.
        files: For every file its ``sha256`` and ``bytes``, ``since``: the generation that brought it, and for segments
            ``rows``.
        removed: Row numbers that are deleted, by segment name.
        moved: Present path by content hash, for videos that were renamed after they were embedded.
        duplicates: Records of files whose content another file already brought in: ``path``, ``same_as``.
        quarantined: Records of what could not be used: ``path``, ``reason``, ``time``, and ``start``, ``end`` if it was
            only a part of the file.
        retired: Files of older generations that somebody may still read, as in ``files``, with ``until``: the last
            generation that needs them. They may be gone.
    """

    generation: int
    created: str
    changed: str
    metric: str
    dim: int
    counts: dict[str, int]
    model: dict[str, str]
    index: dict[str, Any]
    segments: list[str]
    files: dict[str, dict[str, Any]]
    removed: dict[str, list[int]] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    duplicates: list[dict[str, str]] = field(default_factory=list)
    quarantined: list[dict[str, Any]] = field(default_factory=list)
    retired: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text of the file; its last key is the SHA-256 of the text without that key."""
        return _sealed({"format": FORMAT, "version": VERSION, **asdict(self)})

    def write(self, folder: Path) -> None:
        """Replace the manifest of ``folder`` atomically: from here on this generation is the collection."""
        atomic_write(folder / NAME, self.to_json())


def read_manifest(folder: str | Path) -> Manifest:
    """Read and check the manifest of a collection.

    Raises:
        CollectionError: No collection, a newer format, or a damaged manifest (then it is a ``DamagedManifest``).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CollectionError(f"no collection at '{folder}': 'mmretrieval index build {folder} --model MODEL VIDEOS'")
    try:
        text = (folder / NAME).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise CollectionError(f"'{folder}' is not a collection: it has no {NAME}") from None
    except UnicodeDecodeError:
        raise _damaged(folder) from None
    content = _checked(text, folder)
    del content["format"]
    version = content.pop("version")
    if version > VERSION:
        raise CollectionError(
            f"'{folder}' has collection format {version}, this version reads up to {VERSION}: upgrade mmretrieval"
        )
    if version == 1:
        _modernise(content)
    return Manifest(**content)


def _modernise(content: dict[str, Any]) -> None:
    """Turn what version 1 said into what this version says.

    Its index holds the moments without the removed ones, so it cannot be told which are removed later. It is left
    unread; the next change makes a new one.
    """
    content["index"] = {**content["index"], "rows": 0, "parameters": {}, "measured": [], "measured_rows": 0}


def _checked(text: str, folder: Path) -> dict[str, Any]:
    """Return the content of a manifest of any version, without its checksum, if every byte is as it was written."""
    try:
        content = json.loads(text)
    except ValueError:
        raise _damaged(folder) from None
    if not isinstance(content, dict) or not ("sha256" in content or content.get("format") == FORMAT):
        raise CollectionError(f"'{folder}' is not a collection: its {NAME} was written by another program")
    content.pop("sha256", None)
    # the text itself is compared, so that spaces count too
    if text != _sealed(content):
        raise _damaged(folder)
    return content


def file_record(path: Path) -> dict[str, Any]:
    """Return what a manifest says of a file: its SHA-256 and its size."""
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def check_bytes(data: bytes, name: str, manifest: Manifest, folder: Path) -> bytes:
    """Return ``data`` if it is what the manifest promises under ``name``.

    Raises:
        CollectionError: It is not; the message names the file.
    """
    if hashlib.sha256(data).hexdigest() != manifest.files[name]["sha256"]:
        raise damaged_file(folder, name)
    return data


def damaged_file(folder: Path, name: str) -> CollectionError:
    """Return the error for a data file whose content has changed."""
    return CollectionError(
        f"{folder / name} is damaged (its checksum differs): restore it or build the collection again"
    )


def missing_file(folder: Path, name: str) -> CollectionError:
    """Return the error for a data file that is gone."""
    return CollectionError(f"{folder / name} is missing: restore it or build the collection again")


def now() -> str:
    """Return the time to the second, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sealed(content: dict[str, Any]) -> str:
    return _dump({**content, "sha256": hashlib.sha256(_dump(content).encode()).hexdigest()})


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _damaged(folder: Path) -> DamagedManifest:
    return DamagedManifest(f"{folder / NAME} is damaged: restore it or build the collection again")

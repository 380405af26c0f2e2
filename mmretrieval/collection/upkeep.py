"""How the index keeps up with its collection: mostly by being left alone.

What is added is searched beside the index, exactly; what is removed is masked. Both cost a little at every search, so
beyond a bound the new moments are appended to the index, or another is chosen, and the removed ones are compacted away.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmretrieval.collection.choice import choose_index
from mmretrieval.collection.index import EXACT, gather_index, index_from_bytes
from mmretrieval.collection.manifest import Manifest, check_bytes, missing_file
from mmretrieval.collection.segments import live_embeddings

TAIL = 16_384
"""Moments that may wait beside the index: searching them takes less than a millisecond at D = 256."""
TAIL_SHARE = 0.05
"""The same as a share of what the index holds, so that a large one is not written again every 16,384 moments."""
REMOVED = 16_384
"""Removed moments that may stay in the segments."""
REMOVED_SHARE = 0.3
"""The same as a share of all: up to it a search through a selector takes at most half as long again."""
GROWTH = 2
"""How much a collection may grow before its index is measured anew."""


class Kept(NamedTuple):
    """A new index of a collection, its kind, and the rest of what the manifest says about it."""

    index: Any
    kind: str
    record: dict[str, Any]


def keep_up(
    folder: Path, present: Manifest, sizes: Mapping[str, int], memory: int | None = None, anew: bool = False
) -> Kept | None:
    """Return the index for segments of these ``sizes``, or None if the present one will do.

    Args:
        folder: The collection's folder.
        present: Its manifest before the change.
        sizes: Moments by segment, after the change.
        memory: Bytes the index may take; see ``choose_index``.
        anew: Choose another even where the present one would do.
    """
    total, old = sum(sizes.values()), present.index
    held = old.get("rows", 0)
    if not anew and held and total - held <= max(TAIL, TAIL_SHARE * held):
        return None
    if not anew and held and old["kind"] != EXACT and total < GROWTH * old["measured_rows"]:
        index = read_index(folder, present)
        for embeddings in live_embeddings(folder, newer(sizes, held), {}, present.dim):
            index.add(embeddings)
        return Kept(index, old["kind"], {**_without(old), "rows": total})
    choice = choose_index(
        gather_index(live_embeddings(folder, list(sizes), {}, present.dim), total, present.dim), memory
    )
    record = {"parameters": choice.parameters, "measured": choice.measured, "measured_rows": total}
    return Kept(choice.index, choice.kind, {"rows": total, **record})


def needs_compaction(manifest: Manifest) -> bool:
    """Return whether so much is removed that searches suffer."""
    removed = sum(map(len, manifest.removed.values()))
    return removed > max(REMOVED, REMOVED_SHARE * (removed + manifest.counts["moments"]))


def newer(sizes: Mapping[str, int], held: int) -> list[str]:
    """Return the segments that an index of the first ``held`` moments does not hold."""
    names, start = [], 0
    for name, size in sizes.items():
        if start >= held:
            names.append(name)
        start += size
    return names


def read_index(folder: Path, manifest: Manifest) -> Any:
    """Read the index of a generation; its bytes are checked before FAISS sees them.

    Raises:
        CollectionError: The file is damaged or missing.
    """
    name = manifest.index["file"]
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        raise missing_file(folder, name) from None
    return index_from_bytes(check_bytes(data, name, manifest, folder))


def _without(index: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in index.items() if name not in ("kind", "file", "rows")}

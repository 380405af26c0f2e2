"""Compaction: segments without what was removed, small ones merged, an index chosen anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmretrieval.collection.generations import next_generation
from mmretrieval.collection.manifest import Manifest
from mmretrieval.collection.segments import SEGMENT_ROWS, alive, in_parts, read_segment, segment_sizes

if TYPE_CHECKING:
    import pyarrow


def write_compacted(folder: Path, present: Manifest, memory: int | None = None) -> Manifest:
    """Write a generation of the same moments in the same order, and return its manifest.

    Segments of which nothing was removed stay as they are unless they are small and have a neighbour to be merged with.
    Memory holds one segment at a time, and the index.

    Raises:
        StorageError: The disk is full or refuses to be written; the collection stays as it was.
    """
    with next_generation(folder, present) as draft:
        segments = []
        for run in _runs(folder, present):
            if len(run) == 1 and not present.removed.get(run[0]):
                segments += run
            else:
                merged = in_parts(_left(folder, present, run), SEGMENT_ROWS)
                segments += [draft.add_segment(table.combine_chunks()) for table in merged]
        draft.keep_index(segments, memory, anew=True)
        return draft.publish(segments, removed={})


def is_compact(folder: Path, present: Manifest) -> bool:
    """Return whether a compaction would change nothing: nothing removed, nothing to merge, all in the index."""
    sizes = segment_sizes(folder, present.segments, present.files)
    whole = present.index["rows"] == sum(sizes.values())
    return whole and not present.removed and all(len(run) == 1 for run in _runs(folder, present))


def _runs(folder: Path, present: Manifest) -> Iterator[list[str]]:
    """Yield segments that belong together: alone where they can stay as they are, neighbours where they cannot."""
    run: list[str] = []
    for name, size in segment_sizes(folder, present.segments, present.files).items():
        if size < SEGMENT_ROWS // 2 or present.removed.get(name):
            run.append(name)
            continue
        if run:
            yield run
        yield [name]
        run = []
    if run:
        yield run


def _left(folder: Path, present: Manifest, run: list[str]) -> Iterator[pyarrow.Table]:
    """Yield what is left of one segment after the other."""
    import pyarrow as pa

    for name in run:
        table = read_segment(folder / name)
        yield table.filter(pa.array(alive(len(table), present.removed.get(name, []))))

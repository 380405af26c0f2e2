"""What clients may know of where files lie: names below the collection's own folders, never paths of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from mmretrieval.errors import QueryError
from mmretrieval.search.gallery import Gallery

if TYPE_CHECKING:
    from mmretrieval.collection.collection import Collection
    from mmretrieval.search.milvus import Milvus


class Roots:
    """The folders that hold all files of a collection, and names relative to them.

    Usually it is one: the deepest folder that holds everything. Where files share nothing but the root of the file
    system, each tree has its own, and its last part is the beginning of the names.

    Args:
        paths: Absolute paths of files.
    """

    def __init__(self, paths: Iterable[str]):
        folders = sorted({os.path.dirname(path) for path in paths})
        self._labels: dict[str, str] = {}
        common = os.path.commonpath(folders) if folders else ""
        if common != os.sep:
            self._labels[common] = ""
        else:
            trees: dict[str, list[str]] = {}
            for folder in folders:
                trees.setdefault(folder.split(os.sep)[1], []).append(folder)
            for tree in trees.values():
                root = os.path.commonpath(tree)
                self._labels[root] = _new_label(os.path.basename(root), set(self._labels.values()))
        # as they are now: what is put in their place later is another folder
        self._resolved = {root: os.path.realpath(root) for root in self._labels}

    def name(self, path: str) -> str:
        """Return the name of a file for clients, ``holiday/beach.mp4``; its last part if it lies elsewhere."""
        root = self._root(path)
        if root is None:
            return os.path.basename(path)
        inside = os.path.relpath(path, root).replace(os.sep, "/")
        return f"{self._labels[root]}/{inside}" if self._labels[root] else inside

    def resolve(self, path: str) -> str | None:
        """Return where a file really is, or None if that is outside of the folder it is recorded in."""
        root = self._root(path)
        if root is None:
            return None
        real = os.path.realpath(path)
        return real if _holds(self._resolved[root], real) else None

    def without_folders(self, text: str) -> str:
        """Return a text without the folders in it."""
        for root in filter(None, self._labels):
            text = text.replace(root.rstrip(os.sep) + os.sep, "")
        return text

    def _root(self, path: str) -> str | None:
        return next((root for root in self._labels if _holds(root, path)), None)


class SharedGallery(Gallery):
    """A gallery whose paths are the names that clients know, ``/holiday/beach.mp4``: filters see nothing else."""

    def __init__(self, collection: Collection, milvus: Milvus | None = None):
        super().__init__(collection, milvus)
        self._codes, self._files = Gallery.paths.func(self)
        self.roots = Roots(self._files)
        self.names = [self.roots.name(path) for path in self._files]
        self._shown = [f"/{name}" for name in self.names]
        self._hash_codes, hashes = self._encoded("hash")
        self.video_ids = [video_id(digest) for digest in hashes]
        first_rows = np.unique(self._hash_codes, return_index=True)[1]
        self._first_row = dict(zip(self.video_ids, first_rows.tolist()))
        self.folders = sorted({folder for name in self.names for folder in _parents(name)})

    @property
    def paths(self) -> tuple[np.ndarray, list[str]]:
        """Place in the list for every moment, (n,) int, and the list of all names, with a slash before them."""
        return self._codes, self._shown

    def name_of(self, row: int) -> str:
        """Return the name of the file of a moment."""
        return self.names[self._codes[row]]

    def video_of(self, row: int) -> str:
        """Return the id of the video of a moment."""
        return self.video_ids[self._hash_codes[row]]

    def first_row(self, video: str) -> int | None:
        """Return a row of a video, or None if there is no such video."""
        return self._first_row.get(video)

    def row_of(self, moment_id: str) -> int:
        """Return the row of a moment.

        Raises:
            QueryError: There is no such moment.
        """
        row = self._rows_by_id.get(moment_id)
        if row is None:
            raise QueryError(f"there is no moment '{moment_id}' in this collection: give an id from a search")
        return row


def video_id(digest: str) -> str:
    """Return the id of a video by which clients ask for it: made of its content alone."""
    return digest[:32]


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _new_label(name: str, taken: set[str]) -> str:
    label, number = name, 2
    while label in taken:
        label, number = f"{name}-{number}", number + 1
    return label


def _holds(root: str, path: str) -> bool:
    """Return whether a path lies in a root or below it; of the root of the file system only what is right in it."""
    if root in ("", os.sep):
        return bool(root) and os.path.dirname(path) == root
    return path.startswith(root + os.sep)

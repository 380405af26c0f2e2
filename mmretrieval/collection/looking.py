"""What lies at the sources, told by content: which files are renamed, copied, replaced or unreadable."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mmretrieval.collection.progress import count_up
from mmretrieval.collection.segments import Moment
from mmretrieval.collection.sources import SetAside, Source
from mmretrieval.environment import cores
from mmretrieval.errors import MediaError
from mmretrieval.files import sha256_file


@dataclass
class Look:
    """The files that sources name.

    Attributes:
        sources: Those whose file can be read.
        hashes: SHA-256 by path of these files, in the order of the sources.
        unreadable: The others, and why.
        moved: Present path by hash, of moments in the collection whose file was renamed.
        duplicates: Path of the file with the same content, by path.
        stale: Rows of the collection whose file now holds something else.
    """

    sources: list[Source]
    hashes: dict[str, str]
    unreadable: list[SetAside]
    moved: dict[str, str] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    stale: set[int] = field(default_factory=set)

    def path_of(self, digest: str, path: str) -> str | None:
        """Return where a content lies that was at ``path``; None where it is no more."""
        if self.hashes.get(path) == digest:
            return path
        here = next((other for other, known in self.hashes.items() if known == digest), None)
        return here or (path if path not in self.hashes and os.path.exists(path) else None)


def look_at(sources: Sequence[Source], existing: Sequence[Moment], progress: bool) -> Look:
    """Hash the files of all sources and compare them with each other and with the ``existing`` moments."""
    paths = list(dict.fromkeys(source.path for source in sources))
    hashes, unreadable = hash_files(paths, progress)
    look = Look([source for source in sources if source.path in hashes], hashes, unreadable)
    home = {moment.hash: moment.path for moment in existing}
    for path, digest in hashes.items():
        original = look.moved.get(digest) or home.setdefault(digest, path)
        if original == path:
            continue
        # a name that now belongs to another content is no copy of this one
        if os.path.exists(original) and hashes.get(original, digest) == digest:
            look.duplicates[path] = original
        else:
            look.moved[digest] = path
    look.stale = {row for row, moment in enumerate(existing) if _is_stale(moment, look)}
    return look


def _is_stale(moment: Moment, look: Look) -> bool:
    """Return whether the file of a moment was replaced by one with other content."""
    return look.hashes.get(look.moved.get(moment.hash, moment.path), moment.hash) != moment.hash


def hash_files(paths: Sequence[str], progress: bool) -> tuple[dict[str, str], list[SetAside]]:
    """Hash files in threads: the SHA-256 by path, and what cannot be read."""
    hashes, unreadable = {}, []
    pool = ThreadPoolExecutor(cores())
    try:
        with count_up("reading files", "video", len(paths), progress) as step:
            for path, (digest, reason) in zip(paths, pool.map(_digest, paths)):
                if reason is None:
                    hashes[path] = digest
                else:
                    unreadable.append(SetAside(path, reason))
                step()
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, what has not begun never begins
    return hashes, unreadable


def _digest(path: str) -> tuple[str, str | None]:
    """Return the SHA-256 of a file, or why it cannot be read."""
    from mmretrieval.media.files import check_file

    try:
        if os.path.exists(path) and not os.path.isdir(path) and not stat.S_ISREG(os.stat(path).st_mode):
            return "", "is a pipe or a device, not a file."
        return sha256_file(check_file(path)), None
    except MediaError as error:
        return "", str(error).removeprefix(f"{path}: ")
    except OSError as error:
        return "", f"cannot be read ({(error.strerror or str(error)).lower()})."

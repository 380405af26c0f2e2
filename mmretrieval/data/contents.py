"""What is in a file, whatever its name: SHA-256 digests, remembered by size and time of change."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmretrieval.files import atomic_write, sha256_file

_PREFIX = "contents-"
_SAVE_EVERY = 4096


class ContentHashes:
    """SHA-256 by path. A file is read once; after that its size and time of change vouch for it.

    The folder holds ledgers (JSON lines), one for each time that something was hashed. Several processes may write
    theirs at once; a line that cannot be read is passed over, and its file is hashed again.

    Args:
        folder: Where the ledgers lie.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._known: dict[tuple[str, int, int], str] = {}
        for ledger in sorted(self.folder.glob(f"{_PREFIX}*.jsonl")):
            for line in ledger.read_text("utf-8", errors="replace").splitlines():
                self._remember(line)

    def find(self, path: str) -> str | None:
        """Return the digest of a file as 64 hexadecimal digits; None if it was not hashed, has changed or is gone."""
        stamp = _stamp(path)
        return None if stamp is None else self._known.get((path, *stamp))

    def add(self, paths: Iterable[str], bar: str | None = None) -> None:
        """Hash the files that are not known yet; one that cannot be read is passed over.

        Raises:
            StorageError: The ledger cannot be written.
        """
        from tqdm import tqdm

        unknown = [path for path in dict.fromkeys(paths) if self.find(path) is None]
        ledger = self.folder / f"{_PREFIX}{os.urandom(8).hex()}.jsonl"
        lines: list[str] = []
        try:
            with ThreadPoolExecutor() as pool:
                hashed = pool.map(_entry, unknown)
                for line in tqdm(hashed, bar, len(unknown), unit="file", disable=None if bar and unknown else True):
                    if line is None:
                        continue
                    self._remember(line)
                    lines.append(line)
                    if len(lines) % _SAVE_EVERY == 0:
                        atomic_write(ledger, "\n".join(lines) + "\n")
        finally:
            if lines:
                atomic_write(ledger, "\n".join(lines) + "\n")

    def _remember(self, line: str) -> None:
        try:
            path, size, changed, digest = json.loads(line)
            self._known[path, size, changed] = str(digest)
        except (ValueError, TypeError):
            return


def _entry(path: str) -> str | None:
    """Return a file's line of the ledger; None if it cannot be read, or changed meanwhile."""
    before = _stamp(path)
    try:
        digest = sha256_file(path)
    except OSError:
        return None
    return json.dumps([path, *before, digest], ensure_ascii=False) if before and before == _stamp(path) else None


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns

"""Pictures and films that were made once, on disk, up to a size; the oldest go first."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from mmretrieval.errors import StorageError
from mmretrieval.files import atomic_write

FOLDER = ".served"
"""Hidden in the collection's folder, where nothing but the server looks."""

SIZE = 1 << 30
"""Bytes."""

KEPT = 0.8
"""Share of the size that is left when the oldest are deleted."""

logger = logging.getLogger("mmretrieval.web")


class Cache:
    """Files by name.

    Args:
        collection: The collection they belong to; where its folder cannot be written they go into a temporary one.
        size: Bytes that they may take.
    """

    def __init__(self, collection: Path, size: int = SIZE):
        self._size = size
        self._lock = threading.Lock()
        self._temporary: str | None = None
        self.folder = collection / FOLDER
        try:
            self.folder.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError:
            self._temporary = tempfile.mkdtemp(prefix="mmretrieval-served-")
            self.folder = Path(self._temporary)
        self._bytes = sum(file.stat().st_size for file in self._files())

    def get(self, name: str) -> bytes | None:
        """Return the content under a name, or None."""
        with suppress(OSError):
            content = (self.folder / name).read_bytes()
            os.utime(self.folder / name)  # what is asked for is young
            return content
        return None

    def put(self, name: str, content: bytes) -> None:
        """Keep content under a name; a full disk is no reason not to show it."""
        try:
            atomic_write(self.folder / name, content)
        except StorageError as error:
            logger.warning("%s", error)
            return
        with self._lock:
            self._bytes += len(content)
            if self._bytes > self._size:
                self._forget()

    def close(self) -> None:
        """Delete what nobody will look for again."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _files(self) -> list[Path]:
        return [file for file in self.folder.iterdir() if file.is_file()]

    def _forget(self) -> None:
        """Delete the oldest files."""
        found = []
        for file in self._files():
            with suppress(OSError):
                found.append((file.stat().st_mtime, file.stat().st_size, file))
        self._bytes = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if self._bytes <= KEPT * self._size:
                return
            with suppress(OSError):
                file.unlink()
                self._bytes -= size

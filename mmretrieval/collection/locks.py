"""Who writes a collection, and who still reads an old generation of it: locks that end with their process.

A writer holds an ``flock`` on the folder for the whole of a change. A reader holds a shared ``flock`` on an empty file
named after its generation; before files of an old generation are deleted, the writer tries to lock that file alone.
The system drops both when a process ends, however it ends, so nothing is ever left locked.
"""

from __future__ import annotations

import errno
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmretrieval.collection.manifest import Manifest, read_manifest
from mmretrieval.collection.segments import FOLDER
from mmretrieval.errors import CollectionError
from mmretrieval.files import storage_error

READERS = "readers"
"""Folder of the empty files that readers lock."""
PATIENCE = 10.0
"""Seconds that a writer waits for another to finish: enough for a removal, not for an evening of embedding."""
_PAUSE = 0.05


@contextmanager
def only_writer(folder: Path, patience: float | None = None) -> Iterator[None]:
    """Hold a collection for a whole change; nobody else can write until the block ends. Its folders are made.

    When the block raises, folders that were made for it and hold nothing are taken away again.

    Args:
        folder: The collection's folder.
        patience: Seconds to wait for another writer; ``PATIENCE`` by default.

    Raises:
        CollectionError: Another process is still writing after ``patience`` seconds.
        StorageError: The folder cannot be written.
    """
    import fcntl

    parts = [folder / FOLDER, folder / READERS]
    made = [] if folder.exists() else [folder]
    handle = None
    try:
        handle = _hold(folder, PATIENCE if patience is None else patience)
        # only now: what another writer has made meanwhile, and not filled yet, is not ours to take away
        made = [*(part for part in parts if not part.exists()), *made]
        for part in parts:
            _make(part)
        yield
    except BaseException:
        for part in made:
            # what holds anything stays
            with suppress(OSError):
                part.rmdir()
        raise
    finally:
        if handle is not None:
            # a child that was forked meanwhile has the handle, too: closing ours alone would leave the folder held
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)


class Pin:
    """A reader's hold on a generation: its files stay until this is released, forgotten, or the process ends."""

    def __init__(self, handle: int | None = None):
        self.release = weakref.finalize(self, os.close, handle) if handle is not None else lambda: None


def read_pinned(folder: str | Path) -> tuple[Manifest, Pin]:
    """Read the present generation's manifest and hold on to that generation.

    In a folder that cannot be written, by a reader for whom no file to lock was left, nothing is held.

    Raises:
        CollectionError: As ``read_manifest``.
    """
    folder = Path(folder)
    while True:
        manifest = read_manifest(folder)
        pin = _pin(folder / READERS / pin_name(manifest.generation))
        # a writer may have come between the two; only a generation that is still the present one is safely held
        if read_manifest(folder).generation == manifest.generation:
            return manifest, pin
        pin.release()


def pin_name(generation: int) -> str:
    """Return the name of the file that readers of a generation lock: ``generation-000001``."""
    return f"generation-{generation:06d}"


def held_generations(folder: Path, present: int) -> set[int]:
    """Return the old generations that somebody still reads, and delete the files to lock of all others."""
    import fcntl

    held = set()
    for file in (folder / READERS).glob("generation-[0-9]*"):
        generation = int(file.name.removeprefix("generation-"))
        if generation == present:
            continue
        handle = os.open(file, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
        except BlockingIOError:
            held.add(generation)
        finally:
            os.close(handle)
    return held


def _hold(folder: Path, patience: float) -> int:
    """Return a handle on the folder, locked."""
    import fcntl

    end = time.monotonic() + patience
    while True:
        _make(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            # said before hours of embedding, not after them
            raise storage_error(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another build made the folder, failed, and took it away again
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(folder, handle):
                return handle
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(handle)
                raise CollectionError(
                    f"{folder} is being changed by another process: wait until it is done, then run the command again"
                ) from None
            time.sleep(_PAUSE)
        os.close(handle)


def _pin(file: Path) -> Pin:
    import fcntl

    try:
        file.parent.mkdir(exist_ok=True)
        handle = os.open(file, os.O_RDONLY | os.O_CREAT, 0o666)
    except OSError:
        try:
            handle = os.open(file, os.O_RDONLY)
        except OSError:
            return Pin()
    with suppress(OSError):  # a file system without locks: then readers are as safe as without a pin
        fcntl.flock(handle, fcntl.LOCK_SH)
    return Pin(handle)


def _is_still(path: Path, handle: int) -> bool:
    """Return whether an open handle is what lies at ``path`` now."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error

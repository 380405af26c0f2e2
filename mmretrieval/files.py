"""Writing that either happens or does not: a reader sees what was there before or all of what is new."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmretrieval.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_TEXT = "No space left on device"
"""safetensors, torch and FAISS report a full disk as errors of their own, with the reason in the text only."""
_IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR}
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux' renameat2
_HERE = -100  # AT_FDCWD
_MANY = 500
"""Files from which one sync of the whole system is quicker than one of each."""


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash at any instant, finds the old content or the new, never a part.

    Text is written as UTF-8. Missing parent folders are made.

    Raises:
        StorageError: The disk is full or the place cannot be written; the old file is untouched, nothing is left.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(data)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give the name of a file to write; when the block ends well, that file takes the place of ``path`` in one step.

    For what is too large to be held as bytes, or is written by a library. Missing parent folders are made.

    Raises:
        StorageError: The disk is full or the place cannot be written; the old file is untouched, nothing is left.
    """
    path = Path(path)
    unfinished = _sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        _sync_file(unfinished)
        os.replace(unfinished, path)
        _sync_folder(path.parent)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error
    except Exception as error:
        if _FULL_TEXT not in str(error):
            raise
        raise storage_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
    finally:
        # after a success the name is gone; after any failure, Ctrl-C included, nothing may stay
        with suppress(OSError):
            unfinished.unlink()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well, it takes the place of ``path`` in one step.

    ::

        with atomic_folder("runs/demo/model") as unfinished:
            (unfinished / "config.json").write_text(config)

    A folder that was at ``path`` is replaced whole. When the block raises, it stays as it was.

    Raises:
        StorageError: The disk is full or the place cannot be written; the old folder is untouched, nothing is left.
    """
    path = Path(path)
    unfinished = _sibling(path)
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        _sync_tree(unfinished)
        _swap_in(unfinished, path)
        _sync_folder(path.parent)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error
    except Exception as error:
        if _FULL_TEXT not in str(error):
            raise
        raise storage_error(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def storage_error(path: str | Path, error: OSError) -> StorageError:
    """Say in one line why ``path`` could not be written and what to do."""
    if error.errno in _FULL:
        reason = "the disk is full. Free some space and try again"
    elif error.errno in _IN_THE_WAY:
        reason = "a file stands where a folder is needed. Choose another place"
    else:
        reason = f"{(error.strerror or str(error)).lower()}. Choose another place or mend this one"
    return StorageError(f"{path}: cannot be written: {reason}; what was there before is untouched.")


def _sibling(path: Path) -> Path:
    # in the same folder, hence on the same disk: only there is a rename one step
    return path.parent / f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.unfinished"


def _swap_in(new: Path, path: Path) -> None:
    """Put folder ``new`` at ``path``; afterwards ``new`` holds the old folder, if there was one."""
    if not os.path.lexists(path):
        os.rename(new, path)
    elif not _exchange(new, path):
        # no exchange on this system: between these two renames, and only there, nothing lies at path
        old = _sibling(path)
        os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            os.rename(old, path)
            raise
        os.rename(old, new)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return renameat2(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0


def _sync_tree(folder: Path) -> None:
    """Wait until everything below ``folder`` is on disk."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if len(files) > _MANY and hasattr(os, "sync"):
        os.sync()  # one wait for the whole system is shorter than thousands, one per file
        return
    for path in files:
        _sync_file(path)
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        _sync_folder(path)


def _sync_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return  # some systems do not open folders; the rename itself has happened
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)


@contextmanager
def only_holder(folder: str | Path) -> Iterator[None]:
    """Hold a folder; wait while another process holds it. The system lets go when a process ends, however it ends."""
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        # a child that was forked meanwhile has the handle, too: closing ours alone would leave the folder held
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)

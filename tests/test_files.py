import errno
import hashlib
import os
from pathlib import Path

import pytest

from mmretrieval import files
from mmretrieval.errors import StorageError
from mmretrieval.files import atomic_folder, atomic_write, sha256_file

FULL = "cannot be written: the disk is full. Free some space and try again; what was there before is untouched."


@pytest.fixture
def full_disk(monkeypatch):
    def fail(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_write_replaces_whole_files_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "a.txt"
    atomic_write(path, "grün")
    assert path.read_bytes() == "grün".encode()
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == ["a.txt"]


def test_written_files_have_the_usual_rights(tmp_path):
    atomic_write(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_full_disk_keeps_the_old_file(tmp_path, full_disk):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(StorageError) as caught:
        atomic_write(path, "new")
    assert str(caught.value) == f"{path}: {FULL}"
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        atomic_write(tmp_path / "file" / "a.txt", "new")
    assert str(caught.value) == (
        f"{tmp_path / 'file' / 'a.txt'}: cannot be written: a file stands where a folder is needed. "
        "Choose another place; what was there before is untouched."
    )


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a.txt", "new")
    assert names(tmp_path) == []


def fill(folder: Path, text: str) -> None:
    with atomic_folder(folder) as unfinished:
        (unfinished / "sub").mkdir()
        (unfinished / "sub" / "a.txt").write_text(text)


@pytest.mark.parametrize("exchange", [True, False])
def test_folder_is_replaced_whole(tmp_path, monkeypatch, exchange):
    if not exchange:  # as on systems that cannot exchange two names in one step
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    folder = tmp_path / "runs" / "model"
    fill(folder, "one")
    (folder / "left-over.txt").write_text("")
    fill(folder, "two")
    assert (folder / "sub" / "a.txt").read_text() == "two"
    assert names(folder) == ["sub"]
    assert names(folder.parent) == ["model"]


def test_failed_second_rename_brings_the_old_folder_back(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    fill(folder, "one")
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    rename = os.rename

    def fail_once(source, target):
        if Path(target) == folder and "unfinished" in str(source) and (Path(source) / "fresh").exists():
            raise OSError(errno.EACCES, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(StorageError), atomic_folder(folder) as unfinished:
        (unfinished / "fresh").write_text("")
    assert (folder / "sub" / "a.txt").read_text() == "one"
    assert names(tmp_path) == ["model"]


def test_folder_stays_when_the_block_raises(tmp_path):
    folder = tmp_path / "model"
    fill(folder, "one")
    with pytest.raises(ZeroDivisionError), atomic_folder(folder) as unfinished:
        (unfinished / "a.txt").write_text("two")
        raise ZeroDivisionError
    assert (folder / "sub" / "a.txt").read_text() == "one"
    assert names(tmp_path) == ["model"]


class ForeignError(Exception):
    """As safetensors reports a full disk: no OSError, the reason in the text."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ForeignError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disk_while_filling_a_folder(tmp_path, error):
    folder = tmp_path / "model"
    fill(folder, "one")
    with pytest.raises(StorageError) as caught, atomic_folder(folder):
        raise error
    assert str(caught.value) == f"{folder}: {FULL}"
    assert (folder / "sub" / "a.txt").read_text() == "one"
    assert names(tmp_path) == ["model"]


def test_really_full_device_is_reported(tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(StorageError) as caught, atomic_folder(folder), open("/dev/full", "w") as file:
        file.write("x")
    assert str(caught.value) == f"{folder}: {FULL}"
    assert names(tmp_path) == []


def test_sha256_of_a_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 100_000)
    assert sha256_file(path) == hashlib.sha256(b"abc" * 100_000).hexdigest()

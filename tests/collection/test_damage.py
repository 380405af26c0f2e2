"""Damage is noticed and named; an interrupted write leaves what was there."""

from __future__ import annotations

import errno
import os
import random
from dataclasses import replace

import numpy as np
import pytest
from fakes import ColourModel, video

from mmretrieval import files
from mmretrieval.collection import Collection, generations, verify_collection
from mmretrieval.collection import collection as collections
from mmretrieval.collection.index import build_index, write_index
from mmretrieval.collection.manifest import file_record
from mmretrieval.errors import CollectionError, StorageError

DATA = ["index-000001.faiss", "segments/segment-000001.parquet"]


def flip(file, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << place % 8
    file.write_bytes(content)


def listing(folder) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("name", [*DATA, "manifest.json"])
def test_a_flipped_byte_anywhere_is_found_and_its_file_named(collection, name):
    file = collection.folder / name
    whole = file.read_bytes()
    for place in random.Random(name).sample(range(len(whole)), 60):
        flip(file, place)
        assert [problem.file for problem in verify_collection(collection.folder)] == [name]
        with pytest.raises(CollectionError):
            Collection.open(collection.folder)
        file.write_bytes(whole)
    assert verify_collection(collection.folder) == []


@pytest.mark.parametrize("name", DATA)
def test_opening_says_which_file_is_damaged_or_missing(collection, name):
    file = collection.folder / name
    flip(file, 20)
    with pytest.raises(CollectionError) as caught:
        Collection.open(collection.folder)
    assert str(caught.value) == f"{file} is damaged (its checksum differs): restore it or build the collection again"
    assert verify_collection(collection.folder) == [(name, "damaged: its checksum differs")]
    file.unlink()
    with pytest.raises(CollectionError) as caught:
        Collection.open(collection.folder)
    assert str(caught.value) == f"{file} is missing: restore it or build the collection again"
    assert verify_collection(collection.folder) == [(name, "missing")]


def test_a_shortened_file_is_named_with_its_size(collection):
    file = collection.folder / DATA[0]
    file.write_bytes(file.read_bytes()[:-4])
    size = file.stat().st_size
    assert verify_collection(collection.folder) == [(DATA[0], f"damaged: {size} bytes instead of {size + 4}")]


def test_an_index_that_changes_after_opening_never_reaches_faiss(collection, monkeypatch):
    opened = Collection.open(collection.folder)
    flip(collection.folder / DATA[0], 60)
    monkeypatch.setattr("mmretrieval.collection.upkeep.index_from_bytes", lambda data: pytest.fail("was read"))
    with pytest.raises(CollectionError, match="is damaged"):
        opened.nearest(collection.embeddings(), 1)


def test_pages_carry_checksums_of_their_own(collection):
    """Even where nobody compares the SHA-256, Parquet notices: place of a float in the embeddings."""
    file = collection.folder / DATA[1]
    flip(file, file.read_bytes().index(collection.embeddings().tobytes()) + 5)
    with pytest.raises(OSError, match="(?i)crc"):
        collection.embeddings()


@pytest.fixture
def failing(monkeypatch):
    """Let a write fail: the n-th call of what is named."""

    def fail(target, name: str, error: BaseException, call: int = 1) -> None:
        original, calls = getattr(target, name), []

        def sometimes(*arguments, **options):
            calls.append(arguments)
            if len(calls) == call:
                raise error
            return original(*arguments, **options)

        monkeypatch.setattr(target, name, sometimes)

    return fail


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", [1, 2], ids=["segment", "manifest"])
def test_a_full_disk_while_adding_leaves_the_old_generation(collection, clips, failing, step):
    video(clips / "two.mp4", "red", "blue")
    before = listing(collection.folder)
    failing(files.os, "fsync", FULL, 2 * step - 1)  # each file is synced, then its folder
    with pytest.raises(StorageError, match="the disk is full"):
        collection.add([clips], ColourModel())
    assert listing(collection.folder) == before
    assert collection.info()["generation"] == 1 and len(Collection.open(collection.folder)) == 3


@pytest.mark.parametrize("step", [1, 2, 3], ids=["segment", "index", "manifest"])
def test_a_full_disk_while_compacting_leaves_the_old_generation(collection, failing, step):
    collection.remove([collection.moments[1].id])
    before = listing(collection.folder)
    failing(files.os, "fsync", FULL, 2 * step - 1)
    with pytest.raises(StorageError, match="the disk is full"):
        collection.compact()
    assert listing(collection.folder) == before
    assert len(Collection.open(collection.folder)) == 2 and collection.verify() == []
    collection.compact()
    assert collection.manifest.removed == {} and collection.verify() == []


def test_a_full_disk_that_faiss_reports_in_its_own_words(collection, monkeypatch):
    def full(index, path):
        raise RuntimeError(f"Error in write: could not write {path}: No space left on device")

    monkeypatch.setattr("faiss.write_index", full)
    with pytest.raises(StorageError) as caught:
        collection.compact(memory=10**9)
    assert str(caught.value) == (
        f"{collection.folder}/index-000002.faiss: cannot be written: the disk is full. Free some space and try again; "
        f"what was there before is untouched."
    )


@pytest.mark.parametrize("step", [1, 2, 3], ids=["segment", "index", "manifest"])
def test_a_full_disk_while_building_leaves_nothing(tmp_path, clips, failing, model, step):
    failing(files.os, "fsync", FULL, 2 * step - 1)
    made = tmp_path / "made"
    with pytest.raises(StorageError) as caught:
        Collection.build(made, [clips], model, "model")
    file = made / [DATA[1], DATA[0], "manifest.json"][step - 1]
    assert str(caught.value) == (
        f"{file}: cannot be written: the disk is full. Free some space and try again; "
        f"what was there before is untouched."
    )
    assert not made.exists()


@pytest.mark.parametrize("step", ["write_segment", "keep_up", "live_table", "now"])
def test_an_interruption_while_adding_leaves_the_old_generation(collection, clips, failing, step):
    video(clips / "two.mp4", "red", "blue")
    before = listing(collection.folder)
    failing(generations, step, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt, match="1 of 1 videos are done and kept: run the same command again"):
        collection.add([clips], ColourModel())
    pending = str(collection.folder / "pending")
    assert {path: data for path, data in listing(collection.folder).items() if not path.startswith(pending)} == before
    added = collection.add([clips], rest := ColourModel()).added
    assert (rest.embedded, added, collection.summary.resumed, len(collection)) == (0, 1, 1, 4)


def test_an_interruption_after_the_manifest_keeps_the_new_generation(collection, clips, failing):
    video(clips / "two.mp4", "red", "blue")
    failing(collections, "delete_unneeded", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        collection.add([clips], ColourModel())
    reopened = Collection.open(collection.folder)
    assert len(reopened) == 4
    added = reopened.add([clips], rest := ColourModel()).added
    assert (rest.embedded, added, len(reopened)) == (0, 0, 4) and not (reopened.folder / "pending").exists()


def test_an_interruption_within_the_last_write_never_takes_files_of_the_new_generation(collection, clips, failing):
    video(clips / "two.mp4", "red", "blue")
    failing(files, "_sync_folder", KeyboardInterrupt(), 2)  # the manifest has been renamed into place by then
    with pytest.raises(KeyboardInterrupt):
        collection.add([clips], ColourModel())
    reopened = Collection.open(collection.folder)
    assert len(reopened) == 4 and reopened.verify() == []


def test_an_interruption_while_decoding_writes_nothing(tmp_path, clips):
    class Stopped(ColourModel):
        def embed(self, modality, items):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Collection.build(tmp_path / "made", [clips], Stopped(), "model")
    assert not (tmp_path / "made").exists()


def test_what_a_killed_addition_left_does_no_harm(collection, clips):
    (collection.folder / "segments" / "segment-000002.parquet").write_bytes(b"half a seg")
    (collection.folder / "index-000002.faiss").write_bytes(b"half")
    (collection.folder / ".manifest.json.1-2.unfinished").write_bytes(b"{")
    reopened = Collection.open(collection.folder)
    assert len(reopened) == 3 and reopened.verify() == []
    video(clips / "two.mp4", "red", "blue")
    reopened.add([clips], ColourModel())
    assert len(Collection.open(collection.folder)) == 4 and reopened.verify() == []
    assert not list(collection.folder.glob(".*"))


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_embedded(collection, clips, monkeypatch):
    video(clips / "two.mp4", "red", "blue")
    before, counting = listing(collection.folder), ColourModel()
    # the superuser may write anywhere, so the question is answered for them
    monkeypatch.setattr("mmretrieval.collection.locks.os.access", lambda path, mode: False)
    with pytest.raises(StorageError) as caught:
        collection.add([clips], counting)
    assert str(caught.value) == (
        f"{collection.folder}: cannot be written: permission denied. Choose another place or mend this one; "
        f"what was there before is untouched."
    )
    assert counting.embedded == 0 and listing(collection.folder) == before
    assert len(Collection.open(collection.folder).nearest(np.ones((1, 4), np.float32), 5)[1][0]) == 3


def test_an_index_that_disagrees_with_its_segments_is_named(collection):
    manifest = collection.manifest
    name = manifest.index["file"]
    wrong = collection.embeddings()[::-1].copy()
    write_index(collection.folder / name, build_index(wrong))
    files_ = {**manifest.files, name: {**manifest.files[name], **file_record(collection.folder / name)}}
    replace(manifest, files=files_).write(collection.folder)
    assert verify_collection(collection.folder) == [(name, "holds other embeddings than the segments")]
    write_index(collection.folder / name, build_index(wrong[:2]))
    files_[name] = file_record(collection.folder / name)
    replace(manifest, files=files_).write(collection.folder)
    assert verify_collection(collection.folder) == [(name, "holds 2 moments, the manifest says 3")]


def test_a_place_that_cannot_be_written(tmp_path, clips, model):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError) as caught:
        Collection.build(tmp_path / "file" / "made", [clips], model, "model")
    assert str(caught.value) == (
        f"{tmp_path}/file/made: cannot be written: a file stands where a folder is needed. Choose another place; "
        f"what was there before is untouched."
    )

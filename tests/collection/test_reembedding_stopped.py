"""A re-embedding that is killed, interrupted, refused or out of room: the old collection or the new one remains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import ColourModel
from moving import Inverse, Stopping, collect, whole_message, write_clips
from storing import full_disk, small_shards

from mmretrieval.collection import Collection, locks
from mmretrieval.collection.reembedding import FOLDER
from mmretrieval.errors import CollectionError, StorageError


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path / "clips")


@pytest.fixture
def collection(tmp_path, clips, model):
    return collect(tmp_path, clips, model)


def sealed(folder: Path) -> int:
    """How many moments wait for the switch."""
    return sum(json.loads(file.read_text())["moments"] for file in folder.glob("*.json"))


PROGRAM = """
import os, signal, sys
sys.path[:0] = [{tests!r}, {above!r}]
from moving import Inverse
from mmretrieval.collection import Collection, collection, embed, ledger

embed.MOST_CLIPS, ledger.SHARD_MOMENTS = 2, 2

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

class Mortal(Inverse):
    def embed(self, modality, items):
        if {instant!r} == "embedding" and self.embedded >= 4:
            die()
        return super().embed(modality, items)

if __name__ == "__main__":
    if {instant!r} == "switch":
        replace = os.replace
        os.replace = lambda old, new: die() if str(new).endswith("manifest.json") else replace(old, new)
    if {instant!r} == "tidying":
        ledger.Ledger.clear = die
    Collection.open({folder!r}).reembed(Mortal(), "other")
"""


@pytest.mark.parametrize("instant", ["embedding", "switch", "tidying"])
def test_killed_at_any_instant_it_is_the_old_or_the_new_collection(tmp_path, collection, instant):
    old, vectors = collection.moments, collection.embeddings()
    here = Path(__file__).parent
    (tmp_path / "program.py").write_text(
        PROGRAM.format(tests=str(here), above=str(here.parent), instant=instant, folder=str(collection.folder))
    )
    killed = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    found = Collection.open(collection.folder)
    assert found.moments == old and found.verify() == []
    kept = sealed(collection.folder / FOLDER)
    assert kept >= 4 - 2 * (instant != "embedding")
    new = Inverse()
    if instant == "tidying":
        assert found.manifest.dim == 6 and found.reembed(new, "other").already
        assert not (collection.folder / FOLDER).exists()
        return
    assert found.manifest.dim == 4 and np.array_equal(found.embeddings(), vectors)
    done = found.reembed(new, "other")
    assert new.embedded == len(old) - kept and done.resumed == kept
    assert found.moments == old and found.manifest.dim == 6 and found.verify() == []
    assert not (collection.folder / FOLDER).exists()
    assert len(list(collection.folder.glob("index-*.faiss"))) <= 2  # ``collection`` still reads the old one


@pytest.mark.parametrize("elsewhere", [False, True])
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path, collection, monkeypatch, elsewhere):
    small_shards(monkeypatch, 2)
    out = tmp_path / "new" if elsewhere else None
    with pytest.raises(KeyboardInterrupt) as error:
        collection.reembed(Stopping(), "other", out=out, workers=1)
    assert whole_message(error) == ("interrupted; 1 of 4 videos are done and kept: run the same command again to go on")
    new = Inverse()
    done = collection.reembed(new, "other", out=out)
    assert done.resumed == 4 and new.embedded == done.moments - 4 == len(collection) - 4
    assert done.lines() == [f"4 videos, {done.moments} moments embedded anew, 4 of them by an interrupted run"]


def test_what_was_embedded_with_yet_another_model_is_discarded(tmp_path, collection, monkeypatch):
    small_shards(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        collection.reembed(Stopping(), "other", workers=1)
    new = ColourModel("three")
    done = collection.reembed(new, "third")
    assert new.embedded == len(collection) and done.discarded == 2
    assert done.lines()[1] == ("2 shards of an interrupted run discarded: damaged, or of another model or precision")


def test_a_full_disk_leaves_the_old_collection_and_what_is_done(tmp_path, collection, monkeypatch):
    small_shards(monkeypatch, 2)
    old = collection.moments
    # the second shard's Parquet file
    with full_disk(5), pytest.raises(StorageError) as error:
        collection.reembed(Inverse(), "other")
    assert whole_message(error) == (
        f"{collection.folder}/{FOLDER}/shard-000002.parquet: cannot be written: the disk is full. "
        f"Free some space and try again; what was there before is untouched."
    )
    found, new = Collection.open(collection.folder), Inverse()
    assert found.moments == old and found.manifest.dim == 4 and sealed(collection.folder / FOLDER) == 2
    assert found.reembed(new, "other").resumed == 2 and new.embedded == len(old) - 2


def test_a_disk_that_is_full_at_the_switch_leaves_the_old_generation(collection, monkeypatch):
    before = collection.manifest

    def full(self, folder):
        raise StorageError(f"{folder}: cannot be written: the disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr("mmretrieval.collection.manifest.Manifest.write", full)
        with pytest.raises(StorageError):
            collection.reembed(Inverse(), "other")
    found = Collection.open(collection.folder)
    assert found.manifest == before and found.verify() == []
    assert {f"segments/{file.name}" for file in (found.folder / "segments").iterdir()} == set(before.segments)


def test_a_folder_that_cannot_be_written_is_noticed_before_anything_is_embedded(tmp_path, collection, monkeypatch):
    new, access = Inverse(), os.access
    monkeypatch.setattr(locks.os, "access", lambda path, mode: path != collection.folder and access(path, mode))
    with pytest.raises(StorageError) as error:
        collection.reembed(new, "other")
    assert whole_message(error) == (
        f"{collection.folder}: cannot be written: permission denied. Choose another place or mend this one; "
        f"what was there before is untouched."
    )
    assert new.embedded == 0
    # read alone it is enough for one elsewhere
    assert collection.reembed(new, "other", out=tmp_path / "new").moments == len(collection)


def test_it_is_refused_while_another_process_writes(collection, monkeypatch):
    new = Inverse()
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    with locks.only_writer(collection.folder), pytest.raises(CollectionError) as error:
        collection.reembed(new, "other")
    assert whole_message(error) == (
        f"{collection.folder} is being changed by another process: wait until it is done, then run the command again"
    )
    assert new.embedded == 0

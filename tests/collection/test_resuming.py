"""Interrupted at any instant, a build goes on from what its ledger holds, and ends as if nothing had happened."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import COLOURS, ColourModel, video
from storing import full_disk, small_shards

from mmretrieval.collection import Collection, Moment, ingest, locks
from mmretrieval.collection.ledger import Done, Ledger
from mmretrieval.errors import CollectionError, StorageError

PROGRAM = """
import sys, time
sys.path[:0] = [{tests!r}]
from fakes import ColourModel
from mmretrieval.collection import Collection, embed, ledger

embed.MOST_CLIPS, ledger.SHARD_MOMENTS = 2, 4

class Slow(ColourModel):
    def embed(self, modality, items):
        time.sleep(0.03)
        with open({log!r}, "a") as log:
            log.write("x" * len(items))
        return super().embed(modality, items)

if __name__ == "__main__":
    Collection.build({folder!r}, [{clips!r}], Slow(), "model", stride=1.0, window=2.0)
    print("done")
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Twelve videos of several moments each, one of them a copy."""
    folder, names = tmp_path_factory.mktemp("many"), list(COLOURS)
    for number in range(11):
        video(folder / f"{number:02}.mp4", *(names[(number + n) % 3] for n in range(3 + number % 4)))
    shutil.copy(folder / "03.mp4", folder / "11.mp4")
    return folder


def everything(collection: Collection) -> tuple:
    """All that two runs have to agree in."""
    manifest = collection.manifest
    return collection.moments, collection.embeddings().tolist(), manifest.duplicates, manifest.counts


def sealed(folder: Path) -> int:
    """How many moments the pending shards hold."""
    records = [json.loads(file.read_text()) for file in (folder / "pending").glob("*.json")]
    return sum(record["moments"] for record in records)


def test_killed_at_random_instants_and_run_again_is_as_if_never_killed(tmp_path, many):
    undisturbed = Collection.build(tmp_path / "whole", [many], ColourModel(), "model", stride=1.0, window=2.0)
    folder, log, program = tmp_path / "made", tmp_path / "log", tmp_path / "program.py"
    tests = str(Path(__file__).parent)
    program.write_text(PROGRAM.format(tests=tests, log=str(log), folder=str(folder), clips=str(many)))
    draws, kept, done = random.Random(7), 0, False
    for attempt in range(9):
        log.write_text("")
        # the instant may lie between the manifest and the last word: then nothing is left to embed
        wanted = 0 if (folder / "manifest.json").exists() else len(undisturbed) - kept
        process = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, start_new_session=True)
        if attempt < 3:
            while process.poll() is None and (attempt % 2 or not log.stat().st_size):
                time.sleep(draws.uniform(0.0, 0.3))
                if attempt % 2 and draws.random() < 0.2:
                    break
            time.sleep(draws.uniform(0.0, 0.2))
            process.kill()
        done = process.communicate(timeout=120)[0] == b"done\n"
        embedded = len(log.read_text())
        assert embedded <= wanted, "something in the ledger was embedded again"
        if done:
            assert embedded == wanted
            break
        assert sealed(folder) >= kept or (folder / "manifest.json").exists()
        kept = sealed(folder)
    assert done
    collection = Collection.open(folder)
    assert everything(collection) == everything(undisturbed)
    assert not (folder / "pending").exists() and collection.verify() == []


class Stopping(ColourModel):
    """Somebody presses Ctrl-C after so many clips."""

    def __init__(self, after: int):
        super().__init__()
        self.after = after

    def embed(self, modality, items):
        if self.embedded >= self.after:
            raise KeyboardInterrupt
        return super().embed(modality, items)


def interrupt(folder: Path, clips: Path, after: int) -> str:
    """Stop a build; one process decodes, so that what is done by then is the same on every machine."""
    with pytest.raises(KeyboardInterrupt) as caught:
        Collection.build(folder, [clips], Stopping(after), "model", workers=1)
    return str(caught.value)


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path, many, monkeypatch):
    small_shards(monkeypatch, 4)
    folder = tmp_path / "made"
    said = interrupt(folder, many, 6)
    assert said == "interrupted; 4 of 11 videos are done and kept: run the same command again to go on"
    assert sealed(folder) == 6
    rest = ColourModel()
    collection = Collection.build(folder, [many], rest, "model")
    assert rest.embedded == len(collection) - 6 and collection.summary.resumed == 6
    assert everything(collection) == everything(Collection.build(tmp_path / "whole", [many], ColourModel(), "model"))
    assert collection.summary.lines()[0] == (
        f"11 new videos, {len(collection)} moments added, 6 of them embedded by an interrupted run"
    )


def test_an_interrupted_addition_goes_on_too(tmp_path, many, collection, monkeypatch):
    small_shards(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        collection.add([many], Stopping(5))
    assert len(Collection.open(collection.folder)) == 3 and sealed(collection.folder) == 6
    rest = ColourModel()
    added = Collection.open(collection.folder).add([many], rest)
    assert rest.embedded == added.added - 6
    reopened = Collection.open(collection.folder)
    assert len({moment.id for moment in reopened.moments}) == len(reopened) == 3 + added.added


@pytest.mark.parametrize("change", [{"window": 4.0}, {"stride": 1.0}, {"shots": True}, {"keep_still": True}])
def test_shards_of_other_options_are_discarded(tmp_path, many, monkeypatch, change):
    small_shards(monkeypatch, 4)
    interrupt(tmp_path / "made", many, 4)
    model = ColourModel()
    collection = Collection.build(tmp_path / "made", [many], model, "model", **change)
    assert model.embedded == len(collection) and collection.summary.resumed == 0
    assert collection.summary.discarded == 2
    assert "2 shards of an interrupted run discarded: damaged, or of another model or other options" in (
        collection.summary.lines()
    )


def test_shards_of_another_model_are_discarded(tmp_path, many, monkeypatch):
    small_shards(monkeypatch, 4)
    interrupt(tmp_path / "made", many, 4)
    other = ColourModel("two")
    collection = Collection.build(tmp_path / "made", [many], other, "model")
    assert other.embedded == len(collection) and collection.summary.discarded == 2


def test_a_flipped_byte_anywhere_costs_one_shard_and_no_moment(tmp_path, many, monkeypatch):
    small_shards(monkeypatch, 4)
    interrupt(tmp_path / "made", many, 8)
    whole = Collection.build(tmp_path / "whole", [many], ColourModel(), "model")
    draws = random.Random(0)
    shards = sorted((tmp_path / "made/pending").iterdir())
    assert len(shards) >= 4
    for number, file in enumerate(shards):
        copy = tmp_path / f"copy {number}"
        shutil.copytree(tmp_path / "made", copy)
        damaged = copy / "pending" / file.name
        data = bytearray(damaged.read_bytes())
        data[draws.randrange(len(data) - 1)] ^= 1 << draws.randrange(7)  # the last byte of a record is its newline
        damaged.write_bytes(data)
        again = Collection.build(copy, [many], ColourModel(), "model")
        assert again.summary.discarded == 1 and everything(again) == everything(whole)


def test_a_shard_without_a_record_is_removed(tmp_path, many, monkeypatch):
    small_shards(monkeypatch, 4)
    interrupt(tmp_path / "made", many, 4)
    (tmp_path / "made/pending/shard-000001.json").unlink()
    (tmp_path / "made/pending/.shard-000002.json.1-2.unfinished").write_text("{")
    model = ColourModel()
    collection = Collection.build(tmp_path / "made", [many], model, "model")
    assert model.embedded == len(collection) and not (tmp_path / "made/pending").exists()


def test_a_crash_between_the_manifest_and_the_tidying_doubles_nothing(tmp_path, many, monkeypatch):
    small_shards(monkeypatch, 4)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "clear", lambda self: (_ for _ in ()).throw(OSError("killed here")))
        with pytest.raises(OSError, match="killed here"):
            Collection.build(tmp_path / "made", [many], ColourModel(), "model")
    collection = Collection.open(tmp_path / "made")
    before = everything(collection)
    assert sealed(collection.folder) > 0
    model = ColourModel()
    assert collection.add([many], model).added == 0
    assert model.embedded == 0 and everything(collection) == before and collection.info()["generation"] == 1
    assert not (collection.folder / "pending").exists()


def test_a_full_disk_in_the_middle_loses_nothing(tmp_path, many, monkeypatch):
    small_shards(monkeypatch, 4)
    # the third shard's Parquet file
    with full_disk(9), pytest.raises(StorageError) as caught:
        Collection.build(tmp_path / "made", [many], ColourModel(), "model")
    assert str(caught.value) == (
        f"{tmp_path}/made/pending/shard-000003.parquet: cannot be written: the disk is full. "
        f"Free some space and try again; what was there before is untouched."
    )
    kept = sealed(tmp_path / "made")
    assert kept == 8
    rest = ColourModel()
    collection = Collection.build(tmp_path / "made", [many], rest, "model")
    assert rest.embedded == len(collection) - kept


def test_a_folder_that_cannot_be_written_is_noticed_before_anything_is_embedded(tmp_path, many, monkeypatch):
    def refuse(self, *arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    model = ColourModel()
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError) as caught:
        Collection.build(tmp_path / "made", [many], model, "model")
    assert str(caught.value) == (
        f"{tmp_path}/made: cannot be written: permission denied. Choose another place or mend this one; "
        f"what was there before is untouched."
    )
    assert model.embedded == 0


def test_a_build_is_refused_while_another_is_at_work(tmp_path, clips, monkeypatch):
    model = ColourModel()
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    with locks.only_writer(tmp_path / "made"), pytest.raises(CollectionError) as caught:
        Collection.build(tmp_path / "made", [clips], model, "model")
    assert str(caught.value) == (
        f"{tmp_path}/made is being changed by another process: wait until it is done, then run the command again"
    )
    assert model.embedded == 0
    assert len(Collection.build(tmp_path / "made", [clips], model, "model")) == 3


def test_what_was_renamed_replaced_or_deleted_meanwhile(tmp_path, many, monkeypatch):
    small_shards(monkeypatch, 4)
    clips = tmp_path / "clips"
    shutil.copytree(many, clips)
    interrupt(tmp_path / "made", clips, 6)
    (clips / "00.mp4").rename(clips / "renamed.mp4")
    video(clips / "01.mp4", "blue", "red")
    (clips / "02.mp4").unlink()
    collection = Collection.build(tmp_path / "made", [clips], ColourModel(), "model")
    paths = {os.path.basename(moment.path) for moment in collection.moments}
    assert paths == {"01.mp4", "renamed.mp4", *(f"{number:02}.mp4" for number in range(3, 11))}
    assert len({(moment.hash, moment.start) for moment in collection.moments}) == len(collection)
    assert all(os.path.exists(moment.path) for moment in collection.moments)


def test_a_video_that_changed_takes_back_what_earlier_shards_hold(tmp_path):
    key = {"dim": 2}
    moments = [Moment(name, f"/{name}.mp4", 0.0, 1.0, name * 64, {}) for name in "ab"]
    with Ledger(tmp_path / "made", key) as written:
        for moment in moments:
            written.add(moment, np.ones(2, np.float32))
        written.finish(Done("/b.mp4", "b" * 64, [(None, None)], bad=[("torn", 0.5, 1.0)], still=2))
        written.seal()
        written.finish(Done("/a.mp4", "a" * 64, [(None, None)], changed=True))
        assert written.moments == moments[1:]
        written.seal()
    with Ledger(tmp_path / "made", key) as found:
        assert found.moments == moments[1:] and found.embeddings().tolist() == [[1, 1]]
        assert list(found.done) == ["b" * 64] and found.done["b" * 64].still == 2
        assert [tuple(bad) for bad in found.done["b" * 64].bad] == [("torn", 0.5, 1.0)]
        found.clear()
    assert not (tmp_path / "made").exists() or not list((tmp_path / "made").iterdir())


@pytest.mark.parametrize("moment", ["find_sources", "look_at", "Embedder", "Ledger", "_tasks", "Work", "_outcome"])
def test_ctrl_c_at_any_time_says_how_to_go_on(tmp_path, many, monkeypatch, moment):
    def pressed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(ingest, moment, pressed)
    with pytest.raises(KeyboardInterrupt) as caught:
        Collection.build(tmp_path / "made", [many], ColourModel(), "model")
    kept = "11 of 11 videos are done and kept" if moment == "_outcome" else "no video was begun"
    assert str(caught.value) == f"interrupted; {kept}: run the same command again to go on"
    assert (tmp_path / "made/pending").exists() == (moment == "_outcome")
    monkeypatch.undo()
    rest = ColourModel()
    collection = Collection.build(tmp_path / "made", [many], rest, "model")
    assert rest.embedded == (0 if moment == "_outcome" else len(collection))


def test_ctrl_c_on_the_command_line_is_one_line(tmp_path, many):
    """The interrupt goes to the whole group, decoders included, as a terminal sends it."""
    import tiny

    tiny.model().save_pretrained(tmp_path / "model")
    build = ["index", "build", tmp_path / "made", many, "--model", tmp_path / "model", "--window", 1, "--stride", 0.1]
    line = [sys.executable, "-m", "mmretrieval", *map(str, build)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True)
    while process.poll() is None and not (tmp_path / "made/pending").exists():
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.startswith("mmretrieval: interrupted; ") and said.count("\n") == 1
    assert said.endswith(": run the same command again to go on\n")

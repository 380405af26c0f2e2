"""Writers one after the other, readers beside them."""

from __future__ import annotations

import multiprocessing
from contextlib import ExitStack

import crash
import numpy as np
import pytest
from fakes import ColourModel, video
from other_processes import append, made, names, read_again_and_again, write

from mmretrieval.collection import Collection, locks
from mmretrieval.errors import CollectionError


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Twenty made-up moments; whatever happens to large collections happens to this one."""
    monkeypatch.setattr("mmretrieval.collection.choice.EXACT_BELOW", 80)
    monkeypatch.setattr("mmretrieval.collection.choice.QUERIES", 5)
    monkeypatch.setattr("mmretrieval.collection.upkeep.TAIL", 5)
    monkeypatch.setattr("mmretrieval.collection.upkeep.REMOVED", 5)
    return made(tmp_path / "small", 20)


def files(collection: Collection) -> list[str]:
    return sorted(str(file.relative_to(collection.folder)) for file in crash.data_files(collection.folder))


def test_a_reader_keeps_its_generation_through_additions_removals_and_compactions(small):
    reader = Collection.open(small.folder)
    expected = crash.embeddings_of(names(0, 20))
    for start in (20, 40, 60, 80):
        append(small, start, 20)
        small.remove(names(start - 10, 8))
        small.compact()
    # nothing of the reader was looked at so far
    assert [moment.id for moment in reader.moments] == names(0, 20)
    assert (reader.embeddings() == expected).all()
    assert (reader.nearest(expected, 1)[1][:, 0] == np.arange(20)).all()
    assert small.verify() == [] and set(files(small)) > set(small.manifest.files)


def test_what_nobody_reads_any_more_is_deleted_with_the_next_change(small):
    reader = Collection.open(small.folder)
    append(small, 20, 20)
    small.compact()
    kept = set(reader.manifest.files)
    assert kept < set(files(small)) and kept < set(small.manifest.retired)
    reader.close()
    append(small, 40, 2)
    assert files(small) == sorted(small.manifest.files)
    assert [file.name for file in (small.folder / "readers").iterdir()] == ["generation-000004"]


def test_a_reader_of_an_old_generation_holds_only_what_it_needs(small):
    reader = Collection.open(small.folder)
    append(small, 20, 20)
    small.compact()
    between = set(small.manifest.files)
    append(small, 40, 30)
    small.compact()
    assert not between & set(files(small)) and set(reader.manifest.files) < set(files(small))


def test_a_damaged_file_that_only_an_old_reader_needs_is_named_too(small):
    reader = Collection.open(small.folder)
    append(small, 20, 20)
    small.compact()
    file = small.folder / reader.manifest.segments[0]
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert [problem.file for problem in small.verify()] == [reader.manifest.segments[0]]


def test_readers_in_another_process_never_see_an_error_or_half_a_batch(small):
    context = multiprocessing.get_context("spawn")
    stop, answers = context.Event(), context.Queue()
    reader = context.Process(target=read_again_and_again, args=(small.folder, stop, answers))
    reader.start()
    heard = [answers.get(timeout=60)]
    for start in range(20, 120, 10):
        append(small, start, 10)
        if start % 30 == 0:
            small.remove(names(start - 20, 10))
        if start % 40 == 0:
            small.compact()
    heard.append(answers.get(timeout=60))
    stop.set()
    heard += iter(lambda: answers.get(timeout=60), None)  # a process ends only after all that it said was taken
    reader.join(60)
    assert set(heard) == {"fine"} and small.verify() == []


def test_a_second_writer_goes_on_from_what_the_first_has_made(collection, clips):
    other = Collection.open(collection.folder)
    video(clips / "two.mp4", "red", "blue")
    collection.add([clips], ColourModel())
    video(clips / "three.mp4", "blue", "green")
    counting = ColourModel()
    assert other.add([clips], counting) == (1, 4, 0)
    assert counting.embedded == 1 and len(other) == 5 and len(collection) == 4
    assert Collection.open(collection.folder).verify() == []


def test_a_second_writer_waits_and_then_says_who_is_in_the_way(small, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    other = Collection.open(small.folder)
    with locks.only_writer(small.folder), pytest.raises(CollectionError) as caught:
        append(other, 20, 1)
    assert str(caught.value) == (
        f"{small.folder} is being changed by another process: wait until it is done, then run the command again"
    )
    append(other, 20, 1)
    assert len(other) == 21


def test_a_writer_that_gives_up_takes_nothing_from_the_one_it_waited_for(tmp_path, monkeypatch):
    """Both began where there was nothing yet."""
    folder, hold, first = tmp_path / "made", locks._hold, ExitStack()

    def hold_after_another(*arguments):
        monkeypatch.setattr(locks, "_hold", hold)
        first.enter_context(locks.only_writer(folder))
        return hold(*arguments)

    monkeypatch.setattr(locks, "_hold", hold_after_another)
    with first:
        with pytest.raises(CollectionError), locks.only_writer(folder, 0.1):
            pass
        assert sorted(item.name for item in folder.iterdir()) == ["readers", "segments"]


def test_two_processes_that_write_lose_nothing(small):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write, args=(small.folder, start)) for start in (100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(100)
        assert writer.exitcode == 0
    ids = {moment.id for moment in Collection.open(small.folder).moments}
    assert ids == {*names(0, 20), *names(100, 5), *names(200, 5)}


def test_a_reader_that_may_not_write_the_folder_still_reads(small, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError("no")

    (small.folder / "readers" / "generation-000001").unlink()
    monkeypatch.setattr(locks.os, "open", refuse)
    assert len(Collection.open(small.folder)) == 20

"""The same collection, embedded by the workers of a real Ray cluster of this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import damaged
import numpy as np
import pytest
import tiny
from fakes import COLOURS, ColourModel, video
from test_broken_media import REASONS

from mmretrieval.collection import Collection, cluster, ledger, ray_runner
from mmretrieval.collection.cutting import Cutting
from mmretrieval.collection.decoding import WHOLE, Job
from mmretrieval.collection.ledger import Ledger
from mmretrieval.collection.ray_runner import RayRunner
from mmretrieval.collection.runner import Limits
from mmretrieval.collection.work import decoder_of
from mmretrieval.collection.workers import End
from mmretrieval.environment import installed
from mmretrieval.errors import CollectionError

RAY = {"runner": "ray", "progress": False}


@pytest.fixture(scope="module", autouse=True)
def ray():
    """A cluster with room for two workers, started as a build does it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "cores", lambda: 4)
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # models of tests are known to tests alone
        with cluster.connected(None, 0) as module:
            yield module


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Seven videos of several moments each, one of them a copy."""
    folder, names = tmp_path_factory.mktemp("many"), list(COLOURS)
    for number in range(6):
        video(folder / f"{number}.mp4", *(names[(number + n) % 3] for n in range(3 + number)))
    shutil.copy(folder / "3.mp4", folder / "6.mp4")
    return folder


@pytest.fixture(scope="module")
def local(tmp_path_factory, many):
    """What this machine makes of them."""
    return Collection.build(tmp_path_factory.mktemp("local") / "made", [many], ColourModel(), "model", window=2.0)


def assert_same(one: Collection, other: Collection) -> None:
    assert one.moments == other.moments and one.manifest.counts == other.manifest.counts
    assert one.manifest.duplicates == other.manifest.duplicates
    assert one.embeddings().tolist() == other.embeddings().tolist()
    assert len({moment.id for moment in one.moments}) == len(one)
    assert one.verify() == [] and not (one.folder / "pending").exists()


def quarantined(collection: Collection) -> dict[str, str]:
    return {Path(record["path"]).name: record["reason"] for record in collection.manifest.quarantined}


def test_a_cluster_of_this_machine_is_reachable_from_it_alone(ray):
    assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1" and ray.cluster_resources()["CPU"] == 4


def test_the_command_line_makes_the_same_collection_with_a_real_model(tmp_path, many, run):
    model = tiny.model().eval()
    model.save_pretrained(tmp_path / "model")
    options = {"window": 2.0, "precision": "fp32", "progress": False}
    here = Collection.build(tmp_path / "here", [many], model, tmp_path / "model", **options)
    command = ["index", "build", tmp_path / "there", many, "--model", tmp_path / "model"]
    code, said, _ = run(*command, "--window", 2.0, "--precision", "fp32", "--runner", "ray", "--workers", 2)
    assert code == 0 and said.startswith(f"6 new videos, {len(here)} moments added")
    there = Collection.open(tmp_path / "there")
    assert there.moments == here.moments and there.manifest.model["precision"] == "fp32"
    assert np.abs(there.embeddings() - here.embeddings()).max() < 1e-5
    for query in here.embeddings()[::3]:
        (scores, _), (theirs, found) = (made.nearest(query[None], 5) for made in (here, there))
        # moments that look the same may change places: rounding depends on what else is in a batch
        assert np.abs(scores - theirs).max() < 1e-5 and len(set(found[0])) == 5
        assert np.abs(scores - here.embeddings()[found[0]] @ query).max() < 1e-5


def test_damaged_files_cost_themselves_alone_and_have_the_same_reasons_as_here(tmp_path):
    kinds = ("truncated", "empty", "breaks off", "sleeps", "killed", "memory")
    folder = tmp_path / "clips"
    folder.mkdir()
    for number, kind in enumerate(kinds):
        damaged.KINDS[kind](folder / f"{kind}.mp4", number)
    for number in range(3):
        damaged.write_video(folder / f"good {number}.mp4", 100 + number)
    limits = {"time_limit": 10.0, "memory_limit": 1 << 29, "workers": 2}
    collection = Collection.build(tmp_path / "made", [folder], damaged.MeanColour(), "model", **limits, **RAY)
    assert quarantined(collection) == {f"{kind}.mp4": REASONS[kind] for kind in kinds}
    assert {Path(moment.path).name for moment in collection.moments} >= {f"good {number}.mp4" for number in range(3)}
    assert collection.verify() == []


class Falling(ColourModel):
    """Its process is killed in the middle of embedding, once for each of the named files that it can take away."""

    def __init__(self, traps: Path, log: Path):
        super().__init__()
        self.traps, self.log = str(traps), str(log)

    def embed(self, modality, items):
        with open(self.log, "a") as log:
            log.write("x" * len(items))
        for trap in Path(self.traps).glob("*"):
            with suppress(FileNotFoundError):  # the other worker was here first
                trap.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(modality, items)


def test_a_worker_that_is_killed_costs_only_what_it_had_not_finished(tmp_path, many, local, monkeypatch):
    monkeypatch.setattr(ray_runner, "MOST_JOBS", 2)
    traps, log = tmp_path / "traps", tmp_path / "log"
    traps.mkdir()
    (traps / "one").touch()
    collection = Collection.build(tmp_path / "made", [many], Falling(traps, log), "model", window=2.0, **RAY)
    assert_same(collection, local)
    assert not list(traps.iterdir()) and quarantined(collection) == {}
    longest = max(np.unique([moment.path for moment in local.moments], return_counts=True)[1])
    assert len(local) < len(log.read_text()) <= len(local) + 2 * longest


class Deadly(ColourModel):
    """Green kills its process, whatever it is computed in."""

    def embed(self, modality, items):
        if any(item.float().mean(dim=(0, 2, 3)).argmax() == 1 for item in items):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(modality, items)


def test_what_kills_every_worker_is_set_aside_and_the_others_are_done(tmp_path, clips):
    collection = Collection.build(tmp_path / "made", [clips], Deadly(), "model", **RAY)
    assert quarantined(collection) == {"green.mp4": "3 workers of the cluster died on it: replace it or leave it out"}
    assert [Path(moment.path).name for moment in collection.moments] == ["blue.mp4", "red.mp4"]


class Stop:
    """Somebody presses Ctrl-C when so many moments are in the ledger."""

    def __init__(self, monkeypatch, after: int):
        add, self.count = Ledger.add, 0

        def counting(ledger_, moment, embedding):
            if self.count == after:
                raise KeyboardInterrupt
            self.count += 1
            add(ledger_, moment, embedding)

        monkeypatch.setattr(Ledger, "add", counting)
        monkeypatch.setattr(ledger, "SHARD_MOMENTS", 4)


@pytest.mark.parametrize(("first", "then"), [("local", "ray"), ("ray", "local"), ("ray", "ray")])
def test_interrupted_under_one_runner_and_resumed_under_another(tmp_path, many, local, monkeypatch, first, then):
    folder, options = tmp_path / "made", {"window": 2.0, "progress": False}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as caught:
        Stop(patch, 7)
        Collection.build(folder, [many], ColourModel(), "model", runner=first, **options)
    assert str(caught.value).endswith(" of 6 videos are done and kept: run the same command again to go on")
    log = tmp_path / "log"
    (tmp_path / "traps").mkdir()
    collection = Collection.build(folder, [many], Falling(tmp_path / "traps", log), "model", runner=then, **options)
    assert_same(collection, local)
    assert collection.summary.resumed == 7 and len(log.read_text()) == len(local) - 7


def test_an_addition_on_the_cluster_embeds_only_what_is_new(tmp_path, many, local):
    folder = tmp_path / "made"
    Collection.build(folder, [many / "0.mp4", many / "1.mp4"], ColourModel(), "model", window=2.0)
    collection = Collection.open(folder)
    added = collection.add([many], ColourModel(), window=2.0, **RAY)
    assert added.added == len(local) - added.known > 0
    assert {moment.id for moment in collection.moments} == {moment.id for moment in local.moments}
    assert len(collection) == len(local)


def runner(model, precision: str = "fp32") -> RayRunner:
    return RayRunner(decoder_of(model, "pyav", Cutting()), model, precision, Limits(10.0, 1 << 30), 1)


def test_a_file_that_a_worker_does_not_see_names_the_machine(tmp_path, model):
    job = Job(str(tmp_path / "a.mp4"), "0" * 64, (WHOLE,), frozenset())
    reason = f"is not there on {socket.gethostname()}: all machines of the cluster need the files under the same path"
    assert list(runner(model).run([job])) == [(job, End(reason))]
    assert list(runner(model).run([])) == []


def test_another_version_on_the_cluster_is_refused(tmp_path, model, monkeypatch):
    monkeypatch.setattr(ray_runner, "installed", lambda name: "0.0.9")
    job = Job(str(tmp_path / "a.mp4"), "0" * 64, (WHOLE,), frozenset())
    with pytest.raises(CollectionError) as caught:
        list(runner(model).run([job]))
    assert str(caught.value) == (
        f"no worker can work on the Ray cluster ({socket.gethostname()} has mmretrieval {installed('mmretrieval')}, "
        f"not 0.0.9): install the same mmretrieval[scale] on all machines"
    )


def test_a_cluster_without_room_is_told(tmp_path, model, monkeypatch):
    monkeypatch.setattr(ray_runner, "PATIENCE", 0.5)
    monkeypatch.setattr(ray_runner, "CORES", 100)
    job = Job(str(tmp_path / "a.mp4"), "0" * 64, (WHOLE,), frozenset())
    with pytest.raises(CollectionError) as caught:
        list(runner(model).run([job]))
    assert str(caught.value) == (
        "no worker has started on the Ray cluster within 0.5 s: a worker needs 100 free cores of one machine, "
        "the cluster has 4 in all"
    )


def test_int8_is_refused_on_a_cluster(model):
    with pytest.raises(CollectionError) as caught:
        runner(model, "int8")
    assert str(caught.value) == (
        "int8 takes its ranges from a sample of the videos that a worker is given, so that workers would differ: "
        "use fp32 or bf16 on a cluster, or --runner local"
    )

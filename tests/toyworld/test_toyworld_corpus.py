"""What lies on disk: real files, the same bytes every time, all or nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import av
import pytest
import soundfile

from mmretrieval.data.manifest import read_manifest
from mmretrieval.errors import ManifestError, StorageError
from mmretrieval.toyworld import build, corpus
from mmretrieval.toyworld.plan import plan
from mmretrieval.toyworld.vocabulary import ACTIONS, COLOURS, KINDS, SETTINGS

CLIPS, SEED, LONG = 12, 5, 1  # of the world in conftest.py


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_processes_write_the_same_bytes_as_one(world, tmp_path):
    build(tmp_path / "again", CLIPS, SEED, long=LONG, workers=2, progress=False)
    assert everything(tmp_path / "again") == everything(world)


def test_a_clip_can_be_made_alone(world, tmp_path):
    for folder in ("videos", "speech"):
        (tmp_path / folder).mkdir()
    corpus.make_clip(plan(CLIPS, SEED)[7], tmp_path)
    alone = everything(tmp_path)
    assert len(alone) == 2
    assert all((world / name).read_bytes() == content for name, content in alone.items())


def test_manifests_read_like_those_of_any_data_set(world):
    sizes = {split: len(read_manifest(world / f"{split}.jsonl")) for split in ("train", "val", "test")}
    assert sizes == {"train": 10, "val": 1, "test": 1}
    for split in sizes:
        for sample in read_manifest(world / f"{split}.jsonl"):
            assert os.path.isfile(sample.video) and os.path.isfile(sample.speech)
            assert sample.labels[0] in ACTIONS
            assert [word for word, _, _ in sample.words] == sample.text.split()
    row = json.loads((world / "train.jsonl").read_text().splitlines()[0])
    assert list(row) == ["id", "video", "speech", "text", "video_id", "labels", "words"]
    assert not os.path.isabs(row["video"]) and not os.path.isabs(row["speech"])


def test_videos_and_recordings_are_what_they_should_be(world, truth):
    assert len(list((world / "videos").iterdir())) == CLIPS
    for row in truth[:3]:
        with av.open(str(world / row["video"])) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 128, 128)
            assert stream.average_rate == 16 and stream.codec_context.pix_fmt == "yuv420p"
            assert sum(1 for _ in container.decode(video=0)) == 48
        info = soundfile.info(world / row["speech"])
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert row["words"][-1][2] <= info.duration


def test_the_truth_tells_everything(world, truth):
    assert [row["id"] for row in truth] == [clip.id for clip in plan(CLIPS, SEED)]
    for row in truth:
        assert row["setting"] in SETTINGS and row["action"] in ACTIONS
        assert {"voice", "rate", "pitch", "snr"} <= set(row["narration"])
        for thing in row["things"]:
            assert thing["kind"] in KINDS and thing["colour"] in COLOURS
            assert thing["role"] in ("main", "other", "distractor") and len(thing["boxes"]) == 48
            assert any(thing["boxes"])
    assert json.loads((world / "world.json").read_text()) == {
        "version": corpus.VERSION,
        "seed": SEED,
        "clips": CLIPS,
        "long": LONG,
        "splits": {"train": 10, "val": 1, "test": 1},
    }


def test_long_videos_have_scenes_and_gaps(world):
    rows = list(read_manifest(world / "long.jsonl"))
    assert len(rows) >= 3 and len({row.text for row in rows}) == len(rows)
    captions = {row.text for split in ("train", "val", "test") for row in read_manifest(world / f"{split}.jsonl")}
    assert not captions & {row.text for row in rows}
    with av.open(rows[0].video) as container:
        length = container.duration / 1e6
    assert 20 <= length <= 60
    assert rows[0].start > 0.9
    for row, following in zip(rows, rows[1:], strict=False):
        assert 3 <= row.end - row.start <= 5 and row.end + 0.9 < following.start
        assert row.video_id == following.video_id
    assert rows[-1].end < length - 0.9
    truth = [json.loads(line) for line in (world / "long_truth.jsonl").read_text().splitlines()]
    for row in truth:
        assert len(row["things"][0]["boxes"]) == round((row["end"] - row["start"]) * 16)
    assert all(os.path.isfile(row.speech) for row in rows)


def test_the_world_that_is_there_is_used_again(world):
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    assert build(world, CLIPS, SEED, progress=False)["reused"]
    assert build(world, CLIPS, SEED, long=LONG, progress=False)["reused"]
    assert {path: path.stat().st_mtime_ns for path in world.rglob("*")} == before


def test_another_world_is_not_overwritten(world):
    with pytest.raises(ManifestError) as error:
        build(world, 20, 6, progress=False)
    assert str(error.value) == (
        f"{world}: holds another toy world (version 1, seed 5, clips 12, long 1) than the one asked for "
        "(version 1, seed 6, clips 20, long 0). Give another folder, or remove this one first."
    )
    with pytest.raises(ManifestError):
        build(world, CLIPS, SEED, long=LONG + 1, progress=False)


@pytest.mark.parametrize("content", ["", "[]", '{"seed": "many"}', "nonsense"])
def test_a_folder_with_other_things_is_not_touched(tmp_path, content):
    (tmp_path / "world.json").write_text(content)
    with pytest.raises(ManifestError) as error:
        build(tmp_path, 10, 0, progress=False)
    assert str(error.value) == (
        f"{tmp_path}: is not empty and is no toy world. Give a new or an empty folder, or remove this one first."
    )
    assert everything(tmp_path) == {"world.json": content.encode()}


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "world").write_text("mine")
    with pytest.raises(ManifestError) as error:
        build(tmp_path / "world", 10, 0, progress=False)
    assert str(error.value) == f"{tmp_path}/world: is a file. Give the name of a new or an empty folder."


def no_space(task):
    """Stand for ``_make_clips`` in processes of its own, which know nothing of what a test has patched."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(task[1]))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(corpus, "_make_clips", no_space)
    with pytest.raises(StorageError, match="the disk is full"):
        build(tmp_path / "world", 10, 0, workers=workers, progress=False)
    assert not list(tmp_path.iterdir())


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(path, rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "write_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "world", 10, 0, workers=2, progress=False)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_on_the_command_line_is_one_line(tmp_path):
    """Also while the first processes start; a terminal sends it to all of them."""
    line = [sys.executable, "-m", "mmretrieval", "toyworld", str(tmp_path / "world"), "--clips", "2000"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True)
    while process.poll() is None and not any(tmp_path.iterdir()):
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (130, "mmretrieval: interrupted\n")
    assert not any(tmp_path.iterdir())


def test_importing_the_toy_world_is_cheap():
    heavy = "torch", "av", "PIL", "scipy", "soundfile", "espeakng_loader", "tqdm"
    code = f"import sys, mmretrieval.toyworld; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

import dataclasses
import errno
import os
import pickle
from unittest import mock

import numpy as np
import pytest
import torch

from mmretrieval.data import cache as cache_module
from mmretrieval.data.cache import ClipCache
from mmretrieval.data.dataset import ClipDataset, Failure
from mmretrieval.data.processor import Processor
from mmretrieval.errors import MediaError, StorageError
from mmretrieval.media.transforms import fit
from mmretrieval.media.video import open_video

MODALITIES = ("video", "speech", "text")


def build(folder, world, processor, workers=0, **options):
    return ClipCache.build(folder, world, processor, workers=workers, progress=False, **options)


def direct(sample, processor, frames, size):
    """What a row of the cache should be, the obvious way."""
    with open_video(sample.video, "pyav") as video:
        total = len(video.times)
        return fit(video.read([int((i + 0.5) * total / frames) for i in range(frames)]), size)


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_equal_direct_decoding(tmp_path, world, processor, workers):
    cache = build(tmp_path, world, processor, workers)
    assert cache.failures.keys() == {world[4].video}
    for sample in world[:4]:
        parts = cache.read(sample, processor, MODALITIES)
        assert list(parts) == ["video", "speech"]
        stored = direct(sample, processor, 24, 36).permute(0, 2, 3, 1).numpy()
        assert torch.equal(parts["video"], fit(stored[1::3], 32))
        torch.testing.assert_close(parts["speech"], processor.speech(sample.speech), atol=0.05, rtol=0)


def test_stored_size_needs_no_second_resize(tmp_path, world, processor):
    cache = build(tmp_path, world, processor, frames=8, size=32)
    for sample in world[:4]:
        assert torch.equal(cache.read(sample, processor, ["video"])["video"], processor.video(sample.video))


def test_training_draws_frames_and_crops_from_a_row(tmp_path, world, processor):
    dataset = ClipDataset(world, processor, MODALITIES, train=True, cache=build(tmp_path, world, processor))
    first = dataset[0].inputs
    assert list(first) == list(MODALITIES) and first["video"].shape == (8, 3, 32, 32)
    assert torch.equal(first["video"], dataset[0].inputs["video"])
    dataset.set_epoch(1)
    assert not torch.equal(first["video"], dataset[0].inputs["video"])


def test_training_hears_a_part_of_a_row(tmp_path, world, processor):
    spec = dataclasses.replace(processor.speech_spec, crop_seconds=0.5)
    own = Processor(processor.clip_spec, spec, processor.text_spec, processor.tokenizer)
    cache = build(tmp_path, world, own)
    assert cache.read(world[1], own, ["speech"])["speech"].shape == (151, 40)
    whole = cache.read(world[1], own, ["speech"])["speech"]
    part = cache.read(world[1], own, ["speech"], np.random.default_rng(0))["speech"]
    assert part.shape == (51, 40)
    assert any(torch.equal(part, whole[first : first + 51]) for first in range(101))


def test_failures_are_remembered(tmp_path, world, processor):
    for _ in range(2):
        cache = build(tmp_path, world, processor)
        dataset = ClipDataset(world, processor, MODALITIES, cache=cache)
        reason = f"{world[4].video}: is not a video, or is damaged (invalid data found when processing input)."
        assert dataset[4] == Failure("broken", reason)
        with pytest.raises(MediaError) as caught:
            cache.read(world[4], processor, ["video"])
        assert str(caught.value) == reason


def test_second_build_decodes_nothing(tmp_path, world, processor, monkeypatch):
    build(tmp_path, world, processor)
    monkeypatch.setattr(cache_module, "open_video", None)
    cache = build(tmp_path, world, processor)
    assert cache.read(world[0], processor, ["video"])["video"].shape == (8, 3, 32, 32)


def test_interrupted_build_goes_on(tmp_path, world, processor, monkeypatch):
    whole = build(tmp_path / "whole", world, processor)
    decoded = []
    real = cache_module.open_video

    def stop_at_the_third(path, *rest):
        if len(decoded) == 2 and not resumed:
            raise KeyboardInterrupt
        decoded.append(path)
        return real(path, *rest)

    monkeypatch.setattr(cache_module, "open_video", stop_at_the_third)
    resumed = False
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "part", world, processor)
    resumed = True
    cache = build(tmp_path / "part", world, processor)
    assert decoded == [sample.video for sample in world]  # none twice
    for sample in world[:4]:
        assert torch.equal(*(c.read(sample, processor, ["video"])["video"] for c in (whole, cache)))


def test_rows_written_but_not_noted_are_done_again(tmp_path, world, processor):
    cache = build(tmp_path, world, processor)
    folder = next(tmp_path.glob("video-*"))
    records = bytearray((folder / "done.bin").read_bytes())
    records[: len(records) // 5] = bytes(len(records) // 5)  # as after a crash between the row and its record
    (folder / "done.bin").write_bytes(records)
    again = build(tmp_path, world, processor)
    assert torch.equal(*(c.read(world[0], processor, ["video"])["video"] for c in (cache, again)))


def test_changed_file_or_settings_are_decoded_anew(tmp_path, world, processor):
    build(tmp_path, world, processor)
    folders = set(tmp_path.iterdir())
    assert len(folders) == 2
    build(tmp_path, world, processor, size=40)
    assert len(set(tmp_path.iterdir()) - folders) == 1
    stamp = os.stat(world[0].speech)
    os.utime(world[0].speech, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 10**9))
    build(tmp_path, world, processor)
    assert len(set(tmp_path.iterdir()) - folders) == 2


def test_captions_of_one_video_share_its_row(tmp_path, world, processor):
    twin = dataclasses.replace(world[0], id="twin", text="the cat falls")
    build(tmp_path, [world[0], twin], processor)
    assert os.path.getsize(next(tmp_path.glob("video-*")) / "rows.bin") == 24 * 36 * 36 * 3


def test_samples_it_does_not_hold_are_read_from_their_files(tmp_path, world, processor):
    dataset = ClipDataset(world, processor, MODALITIES, cache=build(tmp_path, world[:2], processor))
    assert torch.equal(dataset[3].inputs["video"], processor.video(world[3].video))
    assert torch.equal(dataset[3].inputs["speech"], processor.speech(world[3].speech))


def test_spans_have_their_own_rows(tmp_path, world, processor):
    part = dataclasses.replace(world[0], id="part", start=1.0, end=2.0)
    cache = build(tmp_path, [world[0], part], processor, frames=8, size=32)
    assert torch.equal(cache.read(part, processor, ["video"])["video"], processor.video(part.video, 1.0, 2.0))


def test_a_cache_travels_to_loader_workers(tmp_path, world, processor):
    cache = build(tmp_path, world, processor)
    expected = cache.read(world[0], processor, ["video"])["video"]  # opens the memory map
    data = pickle.dumps(cache)
    assert len(data) < 20_000  # the map itself stays behind
    assert torch.equal(pickle.loads(data).read(world[0], processor, ["video"])["video"], expected)


class WriterOnFullDisk(cache_module._Writer):
    """Loader workers know nothing of what a test has patched, so the disk is filled there."""

    def __getitem__(self, index):
        with mock.patch("os.pwrite", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_full_disk_is_one_clear_line(tmp_path, world, processor, monkeypatch, workers):
    monkeypatch.setattr(cache_module, "_Writer", WriterOnFullDisk)
    with pytest.raises(StorageError) as caught:
        build(tmp_path, world, processor, workers)
    folder = next(tmp_path.glob("video-*"))
    assert str(caught.value) == (
        f"{folder}: cannot be written: the disk is full. Free some space and try again; "
        "what was there before is untouched."
    )
    monkeypatch.undo()
    mended = build(tmp_path, world, processor)
    assert np.array_equal(mended.read(world[0], processor, ["video"])["video"].shape, (8, 3, 32, 32))

"""Every source on a miniature of its release: what is good is read, what is bad is named."""

import json

import pytest
import torch
from releases import BUILDERS

from mmretrieval.data.dataset import ClipDataset, create_loader
from mmretrieval.data.manifest import check_files, read_manifest
from mmretrieval.data.sources import import_source, sources

SPLITS = {
    "smit": {"train": 16, "val": 2, "test": 2},
    "moments": {"train": 18, "val": 2},
    "msrvtt": {"train": 45, "test": 1},
    "vatex": {"train": 30, "val": 10, "test": 10},
    "activitynet-captions": {"train": 21, "val_1": 4, "val_2": 4},
    "places-audio": {"train": 18, "val": 2},
    "folder": {"all": 20},
    "csv": {"all": 20},
    "kinetics": {"train": 18, "val": 2},
    "something": {"train": 16, "val": 2, "test": 2},
    "jester": {"train": 16, "val": 2, "test": 2},
    "ucf101": {"train": 18, "test": 2},
    "activitynet": {"train": 17, "val": 2, "test": 1},
    "fcvid": {"train": 18, "test": 2},
    "frames": {"train": 16, "val": 2, "test": 2},
}


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def imported(request, media, tmp_path_factory):
    """A release, its faults, the folder of manifests and the report."""
    home = tmp_path_factory.mktemp(request.param)
    (home / "release").mkdir()
    faults = BUILDERS[request.param](home / "release", 20, media)
    report = import_source(request.param, home / "release", home / "out")
    return request.param, faults, home / "out", report


def test_there_is_a_miniature_of_every_source():
    assert sorted(BUILDERS) == sources.names() == sorted(SPLITS)


def test_every_good_row_is_kept_and_can_be_read_back(imported):
    name, _, out, report = imported
    assert {split: part.kept for split, part in report.splits.items()} == SPLITS[name]
    for split, count in SPLITS[name].items():
        manifest = read_manifest(out / f"{split}.jsonl", on_bad="raise")
        part = report.splits[split]
        assert len(manifest) == count and check_files(manifest) == []
        assert part.manifest == str(out / f"{split}.jsonl") and part.missing == 0
        assert part.videos == len({sample.video for sample in manifest})
        for modality in ("video", "speech", "text"):
            assert getattr(part, modality) == sum(getattr(sample, modality) is not None for sample in manifest)


def test_every_bad_row_is_named_and_no_good_one(imported):
    name, faults, out, report = imported
    named = {(entry.reason, entry.where) for entry in report.set_aside}
    assert named == set(faults) and len(faults) >= 3
    lines = [json.loads(line) for line in (out / "set_aside.jsonl").read_text("utf-8").splitlines()]
    assert {(line["reason"], line["where"]) for line in lines} == named
    assert all(set(line) == {"split", "where", "id", "reason", "detail"} and line["detail"] for line in lines)
    assert sum(report.reasons.values()) == len(lines) == len(report.set_aside)
    assert report.set_aside_file == str(out / "set_aside.jsonl")


def test_found_is_kept_and_set_aside(imported):
    # a row is either; what is no row (a line that cannot be read, a video without captions) is only set aside
    _, _, _, report = imported
    for part in report.splits.values():
        assert part.kept <= part.found <= part.kept + len(report.set_aside)


def test_a_batch_of_it_reaches_the_model(imported, processor):
    name, _, out, _ = imported
    split = next(iter(SPLITS[name]))
    manifest = read_manifest(out / f"{split}.jsonl")
    modalities = [m for m in ("video", "speech", "text") if getattr(manifest[0], m) is not None]
    dataset = ClipDataset(manifest, processor, modalities, train=True)
    (loaded,) = create_loader(dataset, [[0, 1, 2]])
    assert loaded.failures == [] and list(loaded.batch.inputs) == modalities
    assert loaded.batch.inputs["video"].values.shape == (3, 4, 3, 32, 32)
    if "speech" in modalities:  # one second of stereo at 48 kHz
        assert loaded.batch.inputs["speech"].values.shape == (3, 101, 40)
    if name == "places-audio":  # a still: all frames are the same
        frames = loaded.batch.inputs["video"].values[0]
        assert torch.equal(frames[0], frames[3]) and frames.float().std() > 10


def test_the_report_is_made_for_scripts_and_for_people(imported):
    name, faults, out, report = imported
    told = json.loads(json.dumps(report.as_dict()))
    assert told["source"] == name and set(told["splits"]) == set(SPLITS[name])
    assert told["set_aside"]["total"] == len(report.set_aside) and told["set_aside"]["file"] == report.set_aside_file
    text = "\n".join(report.lines())
    for split, count in SPLITS[name].items():
        assert any(line.split()[:1] == [split] and line.split()[2] == f"{count:,}" for line in text.splitlines())
    assert f"set aside {len(report.set_aside)}: " in text and str(out / "set_aside.jsonl") in text
    assert all(reason in text for reason, _ in faults)
    assert list(report.warnings()) == []


def test_its_description_teaches_the_layout(imported):
    description = sources.get(imported[0]).__doc__
    assert len(description.splitlines()) > 4 and "ROOT" in description

"""Each known defect of the published recognition framework (arXiv 2010.11757), by name: ours must not have it."""

import random
import socket

import numpy as np
import pytest
import torch
from clips import write_world

from mmretrieval.backbones import create_backbone
from mmretrieval.backbones.weights import load_weights
from mmretrieval.data.dataset import ClipDataset, create_loader
from mmretrieval.data.manifest import Sample, read_manifest
from mmretrieval.data.processor import Processor
from mmretrieval.errors import ModelError
from mmretrieval.evaluation.recognition import recognition_report
from mmretrieval.media.video import open_video
from mmretrieval.recognizer import changed_by_a_mirror
from mmretrieval.types import ClipSpec, Padded

FAMILIES = ("resnet_test", "tam_resnet_test", "inception_v1_test", "i3d_resnet_test", "s3d_test", "r2plus1d_test")


def clip(backbone, frames=None):
    spec = backbone.spec
    count = frames or spec.frames
    return Padded(torch.rand(1, count, 3, spec.size, spec.size), torch.ones(1, count, dtype=torch.bool))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_forgotten_threed_data_flag(name):
    """There, 3-D networks want another layout, which a flag chooses that the README leaves out: here all take one."""
    backbone = create_backbone(name).eval()
    features = backbone(clip(backbone))
    assert features.values.shape[0] == 1 and features.values.shape[2] == backbone.feature_dim


def test_module_prefixes_load_strictly(tmp_path):
    """There, checkpoints of several processes need a loose loading, which overlooks what does not fit."""
    torch.manual_seed(0)
    state = {name: torch.rand_like(t) if t.is_floating_point() else t
             for name, t in create_backbone("tam_resnet_test").state_dict().items()}  # fmt: skip
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "a.pth.tar")
    backbone = create_backbone("tam_resnet_test")
    load_weights(backbone, tmp_path / "a.pth.tar")
    assert all(torch.equal(tensor, state[name]) for name, tensor in backbone.state_dict().items())
    lacking = {f"module.{name}": tensor for name, tensor in state.items() if "layer2" not in name}
    torch.save({"state_dict": lacking}, tmp_path / "b.pth.tar")
    with pytest.raises(ModelError):
        load_weights(create_backbone("tam_resnet_test"), tmp_path / "b.pth.tar")


def test_accuracy_of_scores_that_are_not_contiguous():
    """There, the accuracy helper calls ``view`` on a transposed tensor and fails for k > 1."""
    scores = np.random.default_rng(0).normal(size=(5, 40)).T
    assert not scores.flags.c_contiguous
    truth = [[str(number % 5)] for number in range(40)]
    classes = [str(number) for number in range(5)]
    assert recognition_report(scores, truth, classes) == recognition_report(scores.copy(), truth, classes)


def test_tsn_with_inception_v1():
    """There, naming TSN calls a temporal module that Inception does not have."""
    backbone = create_backbone("inception_v1_test").eval()
    assert torch.isfinite(backbone(clip(backbone)).values).all()
    assert type(create_backbone("inception-v1")) is type(backbone)


@pytest.mark.parametrize("name", ["resnet_test", "tam_resnet_test", "inception_v1_test"])
@pytest.mark.parametrize("frames", [3, 6, 12])
def test_temporal_pooling_of_frames_that_eight_does_not_divide(name, frames):
    """There, the length is rounded down where the pooling rounds it up."""
    backbone = create_backbone(name, frames=frames, temporal_pool="max").eval()
    features = backbone(clip(backbone, frames))
    assert torch.isfinite(features.values).all() and features.mask.all()
    assert features.values.shape[1] == np.prod(features.grid)


def test_three_dimensional_networks_download_nothing(monkeypatch):
    """There, building one always fetches weights of ImageNet."""

    def refuse(*_, **__):
        raise AssertionError("a network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    for name in ("i3d_resnet_test", "s3d_resnet_test", "i3d_test", "s3d_test", "r2plus1d_test"):
        create_backbone(name)


def test_loading_leaves_the_global_generators_alone(tmp_path):
    """There, the loader seeds NumPy's global generator for every short video."""
    world = write_world(tmp_path / "world", 4)
    samples = read_manifest(world / "train.jsonl").samples
    processor = Processor(clip=ClipSpec(frames=16, size=16, sampling="dense", stride=4))  # longer than the clips
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    for train in (True, False):
        dataset = ClipDataset(samples, processor, ["video"], train=train)
        assert all(part.batch is not None for part in create_loader(dataset, [[0], [1, 2]]))
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])


def test_a_span_that_starts_late_reaches_its_own_last_frame(tmp_path):
    """There, indices of a range are capped by its length instead of its end, so that a late one repeats one frame."""
    video = write_world(tmp_path / "world", 1) / "videos/0.mp4"
    processor = Processor(clip=ClipSpec(frames=4, size=32))
    with open_video(video) as reader:
        rate = reader.fps
        expected = [processor.fit(reader.read([frame]))[0] for frame in (8, 9, 10, 11)]
    sample = Sample(id="late", video=str(video), start=8 / rate, end=12 / rate)
    read = processor.sample(sample, ["video"], None)["video"]
    assert all(torch.equal(frame, wanted) for frame, wanted in zip(read, expected, strict=True))


def test_classes_with_a_side_are_not_mirrored():
    """There, clips of Something-Something are flipped although left and right are classes of it."""
    sided = ["Pushing something from left to right", "Pushing something from right to left", "Dropping something"]
    assert changed_by_a_mirror(sided) == sided[:2]

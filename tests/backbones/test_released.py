import hashlib
from dataclasses import replace

import pytest
import torch

from mmretrieval.backbones import create_backbone, released
from mmretrieval.backbones.released import RELEASES, check_release
from mmretrieval.backbones.weights import load_weights
from mmretrieval.errors import ModelError

PAGE = "https://github.com/IBM/action-recognition-pytorch/releases/download/weights-v0.1"


def message_of(file):
    with pytest.raises(ModelError) as caught:
        check_release(file)
    return str(caught.value).replace(str(file), "FILE")


def test_a_released_file_that_is_not_at_hand(tmp_path):
    file = tmp_path / "K400-TAM-ResNet-50-f32.pth.tar"
    expected = (
        f"no weights at 'FILE': they are not part of this package. Download them from {PAGE}/{file.name} (Apache-2.0, "
        "checksum unknown) and put them there"
    )
    assert message_of(file) == expected
    with pytest.raises(ModelError) as caught:
        load_weights(create_backbone("tam_resnet_test"), file)
    assert str(caught.value).replace(str(file), "FILE") == expected


def test_one_whose_checksum_is_known(tmp_path):
    assert message_of(tmp_path / "resnet18-5c106cde.pth") == (
        "no weights at 'FILE': they are not part of this package. Download them from "
        "https://download.pytorch.org/models/resnet18-5c106cde.pth (BSD-3-Clause, SHA-256 begins with 5c106cde) and "
        "put them there"
    )


def test_a_download_that_broke_off(tmp_path):
    file = tmp_path / "resnet18-5c106cde.pth"
    file.write_bytes(b"half")
    found = hashlib.sha256(b"half").hexdigest()[:8]
    assert message_of(file) == (
        f"FILE is damaged or another file of that name: its SHA-256 begins with {found}, the released one's with "
        "5c106cde. Download it again from https://download.pytorch.org/models/resnet18-5c106cde.pth"
    )


def test_a_file_with_its_checksum_is_read(tmp_path, monkeypatch):
    state = create_backbone("resnet_test").state_dict()
    file = tmp_path / "resnet18-5c106cde.pth"
    torch.save(state, file)
    right = replace(RELEASES[file.name], sha256=hashlib.sha256(file.read_bytes()).hexdigest()[:8])
    monkeypatch.setitem(released.RELEASES, file.name, right)
    net = create_backbone("resnet_test")
    load_weights(net, file)
    assert torch.equal(net.conv1.weight, state["conv1.weight"])


def test_a_file_of_unknown_checksum_is_taken_as_it_is(tmp_path):
    file = tmp_path / "K400-I3D-ResNet-50-f32.pth.tar"
    torch.save({"state_dict": create_backbone("i3d_resnet_test").state_dict()}, file)
    load_weights(create_backbone("i3d_resnet_test"), file)


def test_the_table_is_the_published_one():
    top1 = {name: release.top1 for name, release in RELEASES.items() if release.license == "Apache-2.0"}
    assert top1 == {
        "K400-I3D-ResNet-50-f32.pth.tar": 76.61,
        "K400-TAM-ResNet-50-f32.pth.tar": 76.18,
        "K400-I3D-ResNet-101-f32.pth.tar": 77.80,
        "K400-TAM-ResNet-101-f32.pth.tar": 77.61,
        "SSV2-I3D-ResNet-50-f32.pth.tar": 62.84,
        "SSV2-TAM-ResNet-50-f32.pth.tar": 63.83,
        "SSV2-I3D-ResNet-101-f32.pth.tar": 64.29,
        "SSV2-TAM-ResNet-101-f32.pth.tar": 65.32,
    }
    for release in RELEASES.values():
        assert release.url.endswith("/" + release.file)
        assert release.sha256 is None if release.license == "Apache-2.0" else release.sha256 in release.file

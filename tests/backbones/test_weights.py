import argparse
import collections

import pytest
import torch
from safetensors.torch import save_file

from mmretrieval.backbones import create_backbone
from mmretrieval.backbones.weights import load_weights
from mmretrieval.encoders import create_encoder
from mmretrieval.errors import ModelError


def torchvision_state(seed=0, classifier=True):
    torch.manual_seed(seed)
    state = {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in net().state_dict().items()}
    return state | ({"fc.weight": torch.zeros(10, 32), "fc.bias": torch.zeros(10)} if classifier else {})


def net(name="tsm_resnet_test"):
    return create_backbone(name)


def check(module, state):
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_torchvision_weights_without_their_classifier(tmp_path):
    state, module = torchvision_state(), net()
    torch.save(collections.OrderedDict(state), tmp_path / "resnet.pth")
    load_weights(module, tmp_path / "resnet.pth")
    check(module, state)


def test_safetensors(tmp_path):
    state, module = torchvision_state(classifier=False), net()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "resnet.safetensors")
    load_weights(module, str(tmp_path / "resnet.safetensors"))
    check(module, state)


def test_what_the_authors_of_tsm_save(tmp_path):
    """Wrapped for several processes, inside a model, the shifted convolution inside a module of its own."""
    state, module = torchvision_state(classifier=False), net()
    wrapped = {
        "module.base_model." + name.replace(".conv1.weight", ".conv1.net.weight"): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    wrapped["module.new_fc.weight"] = torch.zeros(4, 32)
    torch.save({"epoch": 49, "arch": "resnet50", "state_dict": wrapped}, tmp_path / "ckpt.pth.tar")
    assert "module.base_model.layer1.0.conv1.net.weight" in wrapped
    load_weights(module, tmp_path / "ckpt.pth.tar")
    check(module, {name: state[name] for name in module.state_dict()})


def test_a_stem_of_colours_is_summed_into_one_of_a_single_channel(tmp_path):
    torch.manual_seed(0)
    audio = create_encoder("audio_resnet50", width=4)
    state = {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in audio.state_dict().items()}
    colours = torch.rand(4, 3, 7, 7)
    torch.save(state | {"conv1.weight": colours}, tmp_path / "colour.pth")
    load_weights(audio, tmp_path / "colour.pth")
    torch.testing.assert_close(audio.conv1.weight.data, colours.sum(1, keepdim=True))


def message_of(module, file):
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_weights(module, file)
    check(module, before)
    return str(caught.value).replace(str(file), "FILE")


def test_no_such_file(tmp_path):
    expected = "no weights at 'FILE': give a .safetensors file or one that torch.save wrote"
    assert message_of(net(), tmp_path / "nothing.pth") == expected


def test_weights_of_another_network(tmp_path):
    state = torchvision_state()
    del state["layer2.0.bn1.bias"]
    state["layer1.0.conv1.weight"] = torch.zeros(8, 8, 1, 1)
    state["stranger"] = torch.zeros(1)
    torch.save(state, tmp_path / "resnet.pth")
    assert message_of(net(), tmp_path / "resnet.pth") == (
        "FILE does not fit: 3 tensors differ, first 'layer1.0.conv1.weight' (wanted (8, 8, 3, 3), got (8, 8, 1, 1))"
    )


def test_a_missing_tensor(tmp_path):
    state = torchvision_state()
    del state["layer2.0.bn1.bias"]
    torch.save(state, tmp_path / "resnet.pth")
    expected = "FILE does not fit: 1 tensors differ, first 'layer2.0.bn1.bias' (wanted (8,), got none)"
    assert message_of(net(), tmp_path / "resnet.pth") == expected


def test_files_that_would_run_code_are_not_read(tmp_path):
    torch.save({"args": argparse.Namespace(lr=1), "state_dict": torchvision_state()}, tmp_path / "pickled.pth")
    message = message_of(net(), tmp_path / "pickled.pth")
    assert message.startswith("FILE cannot be read as a file of tensors (")
    assert message.endswith("): save its state_dict alone") and "\n" not in message


def test_files_of_something_else(tmp_path):
    (tmp_path / "text.safetensors").write_text("hello")
    assert message_of(net(), tmp_path / "text.safetensors").startswith("FILE cannot be read as a file of tensors (")
    torch.save([1, 2], tmp_path / "list.pth")
    expected = "FILE holds no table of tensors: save its state_dict alone"
    assert message_of(net(), tmp_path / "list.pth") == expected

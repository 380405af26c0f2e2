import argparse
import collections
import math
import re

import published_layout
import pytest
import torch
from safetensors.torch import save_file

from mmretrieval.backbones import create_backbone
from mmretrieval.backbones.weights import load_weights, read_weights
from mmretrieval.encoders import create_encoder
from mmretrieval.errors import ModelError
from mmretrieval.layers.blank import Blank


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


def message_of(module, file, **options):
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_weights(module, file, **options)
    check(module, before)
    return str(caught.value).replace(str(file), "FILE")


def test_no_such_file(tmp_path):
    expected = "no weights at 'FILE': give a .safetensors file, one that torch.save wrote, or a saved model"
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


# --- the files of others, by names and shapes alone


def on_meta(name, **options):
    with Blank(), torch.device("meta"):
        return create_backbone(name, **options)


def tensors(layout, device="meta"):
    return {name: torch.rand(shape, device=device) for name, shape in layout.items()}


@pytest.mark.parametrize(
    ("name", "layout", "keys"),
    [
        ("resnet18", published_layout.resnet(18), 122),
        ("resnet50", published_layout.resnet(50), 320),
        ("resnet101", published_layout.resnet(101), 626),
        ("tam_resnet18", published_layout.resnet(18, tam=True), 146),
        ("tam_resnet50", published_layout.resnet(50, tam=True), 368),
        ("tam_resnet101", published_layout.resnet(101, tam=True), 725),
        ("i3d_resnet18", published_layout.resnet(18, "i3d"), 122),
        ("i3d_resnet50", published_layout.resnet(50, "i3d"), 320),
        ("i3d_resnet101", published_layout.resnet(101, "i3d"), 626),
        ("s3d_resnet18", published_layout.resnet(18, "s3d"), 218),
        ("s3d_resnet50", published_layout.resnet(50, "s3d"), 416),
        ("inception_v1", published_layout.inception(), 344),
        ("tam_inception_v1", published_layout.inception(tam=True), 380),
        ("i3d", published_layout.inception("i3d"), 344),
        ("s3d", published_layout.inception("s3d"), 477),
    ],
)
def test_every_tensor_of_a_published_checkpoint_has_its_place(name, layout, keys):
    assert len(layout) == keys
    net = {key: tuple(tensor.shape) for key, tensor in on_meta(name).state_dict().items()}
    assert net == {key: shape for key, shape in layout.items() if not key.startswith("fc.")}


def test_every_tensor_of_torchvisions_r2plus1d_has_its_place():
    layout = published_layout.r2plus1d_18()
    assert sum(torch.Size(shape).numel() for key, shape in layout.items() if key.endswith(("weight", "bias"))) == (
        31_505_325  # as torchvision's documents say
    )
    net = {key: tuple(tensor.shape) for key, tensor in on_meta("r2plus1d_18").state_dict().items()}
    assert net == {key: shape for key, shape in layout.items() if not key.startswith("fc.")}


# --- round trips of every family, as the published framework writes


FAMILIES = [
    *["resnet_test", "tam_resnet_test", "i3d_resnet_test", "s3d_resnet_test", "r2plus1d_test"],
    *["inception_v1_test", "tam_inception_v1_test", "i3d_test", "s3d_test"],
]


def checkpoint(state, prefix="", classes=5):
    """What its training saves: the optimiser and its schedule beside the weights."""
    width = 16
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [15, 30, 45], gamma=0.1)
    state = state | {"fc.weight": torch.rand(classes, width), "fc.bias": torch.rand(classes)}
    return {
        "epoch": 50,
        "arch": "kinetics400-rgb-i3d-resnet-50-f32-cosine-bs72-e75",
        "state_dict": collections.OrderedDict((prefix + name, tensor) for name, tensor in state.items()),
        "best_top1": torch.tensor(76.61),
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
    }


def random_state(module):
    random = torch.Generator().manual_seed(1)
    return {
        name: torch.rand(tensor.shape, generator=random) if tensor.is_floating_point() else tensor + 7
        for name, tensor in module.state_dict().items()
    }


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", FAMILIES)
def test_round_trip_of_every_family(tmp_path, name, prefix):
    module = create_backbone(name)
    state = random_state(module)
    content = checkpoint(state, prefix)
    torch.save(content, tmp_path / "model_best.pth.tar")
    stayed, classifier = load_weights(module, tmp_path / "model_best.pth.tar")
    check(module, state)
    assert stayed == []
    assert {f"{prefix}fc.{part}" for part in classifier} == {f"{prefix}fc.weight", f"{prefix}fc.bias"}
    for part, tensor in classifier.items():
        assert torch.equal(tensor, content["state_dict"][f"{prefix}fc.{part}"])


def test_a_file_without_classifier_returns_none(tmp_path):
    module = net()
    torch.save(random_state(module), tmp_path / "backbone.pth")
    assert load_weights(module, tmp_path / "backbone.pth") == ([], {})


def test_timms_residual_networks_are_torchvisions(tmp_path):
    """From its hub: safetensors, the classifier under the same name."""
    module = net("resnet_test")
    state = random_state(module)
    head = {"fc.weight": torch.rand(1000, 32), "fc.bias": torch.rand(1000)}
    save_file(state | head, tmp_path / "model.safetensors")
    loaded = load_weights(module, tmp_path / "model.safetensors")
    check(module, state)
    assert torch.equal(loaded.classifier["weight"], head["fc.weight"])


def test_googlenet_loses_its_auxiliary_classifiers(tmp_path):
    layout = published_layout.inception(classes=1000, aux=True)
    parameters = sum(math.prod(shape) for name, shape in layout.items() if name.endswith(("weight", "bias")))
    assert parameters == 13_004_888  # torchvision's figure
    torch.save(tensors(layout, "cpu"), tmp_path / "googlenet.pth")
    state, classifier = read_weights(tmp_path / "googlenet.pth")
    assert {name: tuple(t.shape) for name, t in state.items()} == {
        name: tuple(t.shape) for name, t in on_meta("inception_v1").state_dict().items()
    }
    assert tuple(classifier["weight"].shape) == (1000, 1024)


def test_files_from_before_counters_of_batches(tmp_path):
    """torchvision's first files, e.g. resnet18-5c106cde.pth."""
    module = net("resnet_test")
    state = random_state(module)
    without = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(without, tmp_path / "old.pth")
    load_weights(module, tmp_path / "old.pth")
    check(module, without | {n: torch.tensor(0) for n in state if n.endswith("num_batches_tracked")})


# --- inflating


def test_image_weights_into_a_video_network(tmp_path):
    image, video = create_backbone("resnet_test"), create_backbone("s3d_resnet_test")
    state, before = random_state(image), {name: t.clone() for name, t in video.state_dict().items()}
    torch.save(state | {"fc.weight": torch.zeros(10, 32), "fc.bias": torch.zeros(10)}, tmp_path / "image.pth")
    stayed, classifier = load_weights(video, tmp_path / "image.pth", inflate="mean")
    after = video.state_dict()
    assert stayed == [name for name in after if "_t." in name]
    assert all(torch.equal(after[name], before[name]) for name in stayed)
    torch.testing.assert_close(after["conv1.weight"].sum(2), state["conv1.weight"])
    assert set(classifier) == {"weight", "bias"}


@pytest.mark.parametrize("name", ["i3d_resnet_test", "s3d_resnet_test", "tam_resnet_test"])
def test_image_weights_are_not_inflated_unasked(tmp_path, name):
    torch.save(random_state(create_backbone("resnet_test")), tmp_path / "image.pth")
    assert message_of(create_backbone(name), tmp_path / "image.pth") == (
        "FILE holds weights of an image network and this one is for video: say how to inflate them, 'repeat' (as "
        "published) or 'mean'"
    )


def test_another_way_to_inflate(tmp_path):
    torch.save(random_state(create_backbone("resnet_test")), tmp_path / "image.pth")
    message = message_of(create_backbone("i3d_resnet_test"), tmp_path / "image.pth", inflate="median")
    assert message == "inflate is 'median': use 'repeat' (as published) or 'mean'"


# --- files that do not fit


@pytest.mark.parametrize(
    ("file", "network", "kinds"),
    [
        ("s3d_resnet_test", "i3d_resnet_test", "it looks like S3D-ResNet-7, the network is I3D-ResNet-7"),
        ("i3d_resnet_test", "tsm_resnet_test", "it looks like I3D-ResNet-7, the network is ResNet-7"),
        ("tam_resnet_test", "resnet_test", "it looks like ResNet-7 with TAM, the network is ResNet-7"),
        ("resnet_tiny", "resnet_test", "it looks like ResNet-8, the network is ResNet-7"),
        ("r2plus1d_test", "i3d_resnet_test", "it looks like R(2+1)D-7, the network is I3D-ResNet-7"),
        ("i3d_test", "i3d_resnet_test", "it looks like I3D, the network is I3D-ResNet-7"),
        ("s3d_test", "inception_v1_test", "it looks like S3D, the network is Inception-v1"),
    ],
)
@pytest.mark.parametrize("inflate", [None, "repeat"])
def test_weights_of_another_family_are_named(tmp_path, file, network, kinds, inflate):
    torch.save(create_backbone(file).state_dict(), tmp_path / "other.pth")
    message = message_of(create_backbone(network), tmp_path / "other.pth", inflate=inflate)
    assert message.startswith(f"FILE does not fit ({kinds}): ")
    assert re.search(r": \d+ tensors differ, first '\S+' \(wanted .*, got .*\)$", message)


def test_weights_of_no_family_that_is_known(tmp_path):
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "other.pth")
    message = message_of(net("resnet_test"), tmp_path / "other.pth")
    assert message.startswith("FILE does not fit: ") and message.endswith("first 'a.weight' (wanted none, got (1,))")

import published_layout
import pytest
import torch

from mmretrieval.backbones import create_backbone
from mmretrieval.backbones.inflate import inflate
from mmretrieval.errors import ModelError
from mmretrieval.layers.blank import Blank
from mmretrieval.types import Padded


def settled(net):
    """Normalisations with statistics and weights of their own."""
    random = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2, generator=random)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5, generator=random)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5, generator=random)
            torch.nn.init.normal_(module.bias, std=0.2, generator=random)
    return net.eval()


def images_and_video(name="i3d_resnet_test", seed=0):
    torch.manual_seed(seed)
    return settled(create_backbone("resnet_test")), settled(create_backbone(name))


def frames_of(net, clip):
    """Features by frame (T, h·w, D)."""
    with torch.no_grad():
        features = net(Padded(clip, torch.ones(clip.shape[:2], dtype=torch.bool)))
    return features.values[0].unflatten(0, (features.grid[0], -1))


def test_repeated_kernels_are_those_of_the_image_network_at_every_instant():
    images, video = images_and_video()
    state = images.state_dict()
    inflated, stayed = inflate(state, video)
    assert stayed == []
    assert inflated.keys() == video.state_dict().keys()
    for name, tensor in video.state_dict().items():
        assert inflated[name].shape == tensor.shape
        if tensor.dim() == 5:
            for instant in range(tensor.shape[2]):
                assert torch.equal(inflated[name][:, :, instant], state[name]), name
        else:
            assert torch.equal(inflated[name], state[name]), name


def test_a_clip_that_stands_still_looks_like_its_image_away_from_the_ends():
    """Four convolutions look one frame aside each, so four frames at both ends see the zeros beyond."""
    images, video = images_and_video()
    inflated, _ = inflate(images.state_dict(), video, "mean")
    video.load_state_dict(inflated)
    clip = torch.randn(1, 1, 3, 16, 16).expand(-1, 11, -1, -1, -1)
    still, moving = frames_of(images, clip), frames_of(video, clip)
    torch.testing.assert_close(moving[4:7], still[4:7])
    assert (moving[0] - still[0]).abs().max() > 1e-3


def test_repetition_makes_what_a_convolution_gives_as_many_times_as_large():
    images, video = images_and_video()
    repeated, _ = inflate(images.state_dict(), video, "repeat")
    mean, _ = inflate(images.state_dict(), video, "mean")
    for name, kernel in repeated.items():
        if kernel.dim() == 5:
            torch.testing.assert_close(kernel, mean[name] * kernel.shape[2])
    assert repeated["conv1.weight"].shape[2] == 3


@pytest.mark.parametrize(
    ("name", "only_in_time"),
    [
        ("s3d_resnet_test", ["layer1.0.conv1_t.weight", "layer1.0.bn1_t.running_var", "layer2.0.conv2_t.weight"]),
        ("tam_resnet_test", ["layer1.0.tam.prev_se.fc1.weight", "layer2.0.tam.curr_se.fc1.weight"]),
    ],
)
def test_what_only_the_video_network_has_stays(name, only_in_time):
    images, video = images_and_video(name)
    inflated, stayed = inflate(images.state_dict(), video)
    assert set(only_in_time) <= set(stayed)
    assert set(stayed) == video.state_dict().keys() - images.state_dict().keys()
    assert all(torch.equal(inflated[key], tensor) for key, tensor in video.state_dict().items() if key in stayed)
    video.load_state_dict(inflated)


@pytest.mark.parametrize(
    ("video", "image", "stayed"),
    [
        ("i3d_resnet50", "resnet50", 0),
        ("s3d_resnet18", "resnet18", 16 * 6),
        ("tam_resnet50", "resnet50", 48),
        ("i3d", "inception_v1", 0),
        ("s3d", "inception_v1", 19 * 7),
        ("tam_inception_v1", "inception_v1", 36),
    ],
)
def test_published_networks_begin_from_imagenet(video, image, stayed):
    """As the framework begins: its 3-D networks, S3D's temporal halves and TAM new, from torchvision's tensors."""
    with Blank(), torch.device("meta"):
        net = create_backbone(video)
    layout = published_layout.inception() if image == "inception_v1" else published_layout.resnet(int(image[6:]))
    state = {name: torch.empty(shape, device="meta") for name, shape in layout.items() if not name.startswith("fc.")}
    inflated, new = inflate(state, net)
    assert len(new) == stayed
    assert {name: t.shape for name, t in inflated.items()} == {name: t.shape for name, t in net.state_dict().items()}


def message_of(state, net, *mode):
    with pytest.raises(ModelError) as caught:
        inflate(state, net, *mode)
    return str(caught.value)


def test_all_else_has_to_fit():
    images, video = images_and_video("s3d_resnet_test")
    state = images.state_dict()
    del state["layer2.0.bn1.bias"]
    state["stranger"] = torch.zeros(1)
    assert message_of(state, video) == (
        "these weights do not fit: 2 tensors differ, first 'layer2.0.bn1.bias' (wanted (8,), got none)"
    )


def test_a_kernel_of_another_size_in_space():
    images, video = images_and_video()
    state = images.state_dict() | {"conv1.weight": torch.zeros(8, 3, 5, 5)}
    assert message_of(state, video) == (
        "these weights do not fit: 1 tensors differ, first 'conv1.weight' (wanted (8, 3, 3, 3, 3), got (8, 3, 3, 5, 5))"
    )


def test_a_video_network_that_lost_some_of_its_temporal_halves_is_no_image_network():
    _, video = images_and_video("s3d_resnet_test")
    state = dict(video.state_dict())
    del state["layer1.0.conv1_t.weight"]
    assert message_of(state, video) == (
        "these weights do not fit: 1 tensors differ, first 'layer1.0.conv1_t.weight' (wanted (8, 8, 3, 1, 1), got none)"
    )


def test_unknown_mode():
    images, video = images_and_video()
    assert message_of(images.state_dict(), video, "sum") == "inflate is 'sum': use 'repeat' (as published) or 'mean'"

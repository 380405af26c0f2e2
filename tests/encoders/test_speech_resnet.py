import pytest
import torch
from torch.nn import functional as F

from mmretrieval.encoders import create_encoder
from mmretrieval.errors import ModelError
from mmretrieval.types import Padded


@pytest.mark.parametrize(("name", "torchvision"), [("audio_resnet50", 25_557_032), ("audio_resnet34", 21_797_672)])
def test_size_is_torchvisions_without_classifier_and_two_of_three_input_channels(name, torchvision):
    with torch.device("meta"):
        net = create_encoder(name)
    classifier = 1000 * (net.feature_dim + 1)
    assert sum(p.numel() for p in net.parameters()) == torchvision - classifier - 2 * 64 * 49
    assert net.conv1.weight.shape == (64, 1, 7, 7)
    assert net.modality == "speech"


def test_parameter_names_are_torchvisions():
    with torch.device("meta"):
        names = create_encoder("audio_resnet34").state_dict().keys()
    assert {"conv1.weight", "bn1.running_var", "layer2.0.downsample.1.bias", "layer4.2.conv2.weight"} <= set(names)


@pytest.mark.parametrize(("frames", "positions"), [(1, 1), (32, 1), (33, 2), (300, 10), (1001, 32)])
def test_time_is_halved_five_times_with_ceil(frames, positions):
    net = create_encoder("audio_resnet34", width=2).eval()
    features = net(Padded(torch.zeros(1, frames, 40), torch.ones(1, frames, dtype=torch.bool)))
    assert features.values.shape == (1, positions, 16)
    assert features.grid == (positions,)
    assert net.stride == 32


@pytest.mark.parametrize("name", ["audio_resnet34", "audio_resnet50"])
def test_it_equals_the_network_written_out(name):
    """A spectrogram is a picture of one channel, time downwards; the map's columns, the frequencies, are averaged."""
    torch.manual_seed(0)
    net = create_encoder(name, width=4).eval()
    log_mel = -80 * torch.rand(2, 70, 40)

    def norm(x, bn):
        return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias)

    x = F.max_pool2d(F.relu(norm(F.conv2d(log_mel[:, None], net.conv1.weight, None, 2, 3), net.bn1)), 3, 2, 1)
    for stage, stride in (("layer1", 1), ("layer2", 2), ("layer3", 2), ("layer4", 2)):
        for index, block in enumerate(getattr(net, stage)):
            step = stride if index == 0 else 1
            shortcut = x
            if block.downsample is not None:
                shortcut = norm(F.conv2d(x, block.downsample[0].weight, None, step), block.downsample[1])
            if name.endswith("34"):
                x = F.relu(norm(F.conv2d(x, block.conv1.weight, None, step, 1), block.bn1))
                x = norm(F.conv2d(x, block.conv2.weight, None, 1, 1), block.bn2)
            else:
                x = F.relu(norm(F.conv2d(x, block.conv1.weight), block.bn1))
                x = F.relu(norm(F.conv2d(x, block.conv2.weight, None, step, 1), block.bn2))
                x = norm(F.conv2d(x, block.conv3.weight), block.bn3)
            x = F.relu(x + shortcut)
    features = net(Padded(log_mel, torch.ones(2, 70, dtype=torch.bool)))
    # which kernel multiplies differs, and with it the rounding, over 33 layers
    torch.testing.assert_close(features.values, x.mean(3).transpose(1, 2), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["audio_resnet34", "audio_resnet50"])
@pytest.mark.parametrize("floor", [None, -80.0])
def test_any_length_in_a_batch_is_what_it_is_alone(name, floor):
    torch.manual_seed(0)
    net = create_encoder(name, width=4, input_floor_db=floor).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias, std=0.3)
            torch.nn.init.normal_(module.running_mean, std=0.3)
    lengths = torch.tensor([100, 99, 97, 65, 64, 33, 32, 31, 3, 1])
    log_mel = -80 * torch.rand(len(lengths), 100, 40)
    mask = torch.arange(100) < lengths[:, None]
    together = net(Padded(log_mel.masked_fill(~mask[..., None], float("nan")), mask))
    assert torch.equal(together.mask.sum(1), (lengths + 31) // 32)
    for row, length in enumerate(lengths.tolist()):
        alone = net(Padded(log_mel[row : row + 1, :length], mask[row : row + 1, :length]))
        difference = together.values[row][together.mask[row]] - alone.values[0]
        assert difference.abs().max() < 1e-5 * max(1, alone.values.abs().max()), length


def test_the_floor_scales_decibels_and_takes_the_mean_sound_away():
    torch.manual_seed(0)
    net = create_encoder("audio_resnet34", width=2, input_floor_db=-80.0).eval()
    seen = []
    net.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    log_mel = -80 * torch.rand(1, 50, 40)
    net(Padded(log_mel, torch.ones(1, 50, dtype=torch.bool)))
    scaled = 1 + log_mel / 80
    torch.testing.assert_close(seen[0][:, 0], scaled - scaled.mean(1, keepdim=True))


def test_other_mel_bands_are_refused():
    net = create_encoder("audio_resnet34", width=2)
    with pytest.raises(ModelError) as error:
        net(Padded(torch.zeros(1, 50, 64), torch.ones(1, 50, dtype=torch.bool)))
    expected = "a speech encoder for 40 mel bands got 64: build it with mels=64, or the spectrogram with 40"
    assert str(error.value) == expected

"""Volumes: flat 3-D convolutions as 2-D ones, and the way in and out."""

import pytest
import torch
from torch.nn import functional as F

from mmretrieval.layers.volume import PlaneConv3d, PlanePool, as_volume, initialize, volume_features, zero_frames


def clips(batch=2, length=5, channels=8, size=6):
    return torch.randn(batch, length, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "groups", "bias"),
    [
        ((1, 3, 3), (1, 2, 2), (0, 1, 1), 1, False),
        ((1, 1, 1), (2, 2, 2), (0, 0, 0), 1, False),
        ((1, 1, 1), 1, 0, 1, True),
        ((3, 1, 1), (2, 1, 1), (1, 0, 0), 1, True),
        ((3, 1, 1), 1, (1, 0, 0), 8, True),
        ((3, 1, 1), (1, 2, 2), (1, 0, 0), 1, False),
        ((3, 3, 3), (2, 2, 2), 1, 1, False),
    ],
)
def test_it_is_the_3d_convolution(kernel, stride, padding, groups, bias):
    torch.manual_seed(0)
    conv = PlaneConv3d(8, 16, kernel, stride, padding, groups=groups, bias=bias)
    volume = as_volume(clips(), None).requires_grad_()
    result = conv(volume)
    expected = F.conv3d(volume, conv.weight, conv.bias, conv.stride, conv.padding, 1, groups)
    assert result.shape == expected.shape
    assert torch.allclose(result, expected, atol=1e-5)
    weights, inputs = torch.randn_like(expected), [volume, *conv.parameters()]
    grads = (torch.autograd.grad((one * weights).sum(), inputs) for one in (result, expected))
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_flat_kernels_run_in_two_dimensions(monkeypatch):
    monkeypatch.setattr(torch.nn.Conv3d, "forward", None)
    for kernel, padding in (((1, 3, 3), (0, 1, 1)), ((3, 1, 1), (1, 0, 0))):
        assert PlaneConv3d(8, 4, kernel, padding=padding)(as_volume(clips(), None)).shape == (2, 4, 5, 6, 6)


def test_volumes_stay_in_channels_last_memory():
    volume = as_volume(clips(), None)
    for kernel, padding in (((1, 3, 3), (0, 1, 1)), ((3, 1, 1), (1, 0, 0))):
        volume = PlaneConv3d(8, 8, kernel, padding=padding)(volume)
        assert volume.is_contiguous(memory_format=torch.channels_last_3d)


def test_odd_frames_left_by_a_stride_are_laid_out_channels_last(monkeypatch):
    seen, conv2d = [], F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda images, *rest: seen.append(images) or conv2d(images, *rest))
    PlaneConv3d(8, 4, 1, 2)(as_volume(clips(), None))
    assert seen[0].shape == (6, 8, 3, 3) and seen[0].is_contiguous(memory_format=torch.channels_last)


POOLS = [
    ((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ((2, 2, 2), (1, 2, 2), (0, 0, 0)),
    ((2, 2, 2), (2, 2, 2), (0, 0, 0)),
]


@pytest.mark.parametrize(("kernel", "stride", "padding"), POOLS)
def test_pooling_of_planes_is_the_3d_pooling(kernel, stride, padding):
    volume = as_volume(clips(), None)
    assert torch.equal(PlanePool("max", kernel, stride, padding)(volume), F.max_pool3d(volume, kernel, stride, padding))
    average = PlanePool("avg", kernel, stride, padding)(volume)
    assert torch.allclose(average, F.avg_pool3d(volume, kernel, stride, padding), atol=1e-6)
    assert average.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("length", [1, 2])
def test_clips_shorter_than_the_window_are_averaged(length):
    volume = as_volume(clips(length=length), None)
    average = PlanePool("avg", (3, 3, 3), (2, 2, 2), (1, 1, 1))(volume)
    longer = F.pad(volume, (0, 0, 0, 0, 0, 3))  # zeros, as the padding is
    expected = F.avg_pool3d(longer, 3, 2, 1)[:, :, :1]
    assert torch.allclose(average, expected, atol=1e-6)


def test_weights_begin_kaiming_normal_over_outputs_and_lie_channels_last():
    torch.manual_seed(0)
    network = torch.nn.Sequential(PlaneConv3d(16, 64, (3, 5, 5)), torch.nn.BatchNorm3d(64))
    initialize(network)
    weight = network[0].weight
    assert weight.std().item() == pytest.approx((2 / (64 * 75)) ** 0.5, rel=0.02)
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_padding_is_zero_on_the_way_in_and_out():
    frames, mask = clips(), torch.arange(5) < torch.tensor([[5], [3]])
    frames[1, 3:] = float("nan")
    volume = as_volume(frames, mask)
    assert torch.equal(volume[1, :, 3:], torch.zeros(8, 2, 6, 6)) and torch.equal(volume[0], frames[0].transpose(0, 1))
    disturbed = volume.clone()
    disturbed[1, :, 3:] = float("nan")
    assert torch.equal(zero_frames(disturbed, mask), volume) and zero_frames(disturbed, None) is disturbed
    features = volume_features(disturbed, mask)
    assert features.grid == (5, 6, 6) and features.values.shape == (2, 180, 8)
    assert features.mask.view(2, 5, 36).all(2).equal(mask) and not features.values[~features.mask].any()
    place = features.values.view(2, 5, 6, 6, 8)[1, 2, 4, 5]
    assert torch.equal(place, frames[1, 2, :, 4, 5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (7, (1, 2, 2), 3), (1, 2, 0)])
@pytest.mark.parametrize("frames", [1, 2, 3, 8])
def test_clips_shorter_than_the_kernel_have_sound_gradients(frames, kernel, stride, padding, dtype):
    torch.manual_seed(0)
    conv = PlaneConv3d(16, 32, kernel, stride, padding, bias=False).to(memory_format=torch.channels_last_3d)
    clip = torch.randn(8, 16, frames, 12, 12).to(memory_format=torch.channels_last_3d)
    for _ in range(3):  # what is read beyond one's memory is not the same every time
        got, wanted = clip.clone().requires_grad_(), clip.double().requires_grad_()
        conv.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            made = conv(got)
        made.float().square().mean().backward()
        weight = conv.weight.detach().double().requires_grad_()
        expected = torch.conv3d(wanted, weight, None, conv.stride, conv.padding)
        expected.square().mean().backward()
        for one, other in ((made, expected), (got.grad, wanted.grad), (conv.weight.grad, weight.grad)):
            error = (one.double() - other).norm() / other.norm()
            assert error < (1e-4 if dtype == torch.float32 else 0.03)

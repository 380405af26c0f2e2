import torch

from mmretrieval.encoders import create_encoder
from mmretrieval.types import Padded


def test_frames_are_normalised_by_the_spec_of_the_backbone():
    encoder = create_encoder("video", backbone="resnet_test", frames=2, size=8)
    seen = []
    encoder.backbone.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pixels = torch.randint(0, 256, (2, 2, 3, 8, 8), dtype=torch.uint8)
    encoder(Padded(pixels, torch.ones(2, 2, dtype=torch.bool)))
    mean, std = torch.tensor(encoder.spec.mean), torch.tensor(encoder.spec.std)
    for frame, given in zip(seen[0], pixels.flatten(0, 1)):
        expected = (given.permute(1, 2, 0) / 255 - mean) / std
        assert torch.allclose(frame.permute(1, 2, 0), expected, atol=1e-5)


def test_bytes_and_floats_of_one_picture_are_the_same():
    encoder = create_encoder("video", backbone="tsm_resnet_test").eval()
    pixels = torch.randint(0, 256, (1, 4, 3, 16, 16), dtype=torch.uint8)
    mask = torch.ones(1, 4, dtype=torch.bool)
    one, other = encoder(Padded(pixels, mask)), encoder(Padded(pixels / 255, mask))
    assert torch.allclose(one.values, other.values, atol=1e-5)


def test_options_reach_the_backbone():
    encoder = create_encoder("video", backbone="tsm_resnet_tiny", frames=6, size=32, width=8)
    assert (encoder.spec.frames, encoder.spec.size, encoder.feature_dim, encoder.modality) == (6, 32, 64, "video")

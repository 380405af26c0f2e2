"""What every backbone and every encoder of the registries keeps, whoever adds it.

Networks above SMALL parameters are checked on the meta device, where shapes cost nothing; a family's behaviour is
checked on its small variants, so every family needs one.
"""

import io

import pytest
import torch

from mmretrieval.backbones import backbones, create_backbone
from mmretrieval.encoders import create_encoder, encoders
from mmretrieval.types import ClipSpec, Padded

SMALL = 4_000_000
ENCODER_OPTIONS = {
    "video": {"backbone": "tsm_resnet_test"},
    "pretrained": {
        "modality": "text",
        "frozen": False,
        "part": "encoder",
        "architecture": {"model_type": "bart", "vocab_size": 50, "d_model": 16, "pad_token_id": 1}
        | {"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "max_position_embeddings": 16}
        | {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24},
    },
    "audio_resnet34": {"width": 4},
    "audio_resnet50": {"width": 4},
    "resdavenet": {"widths": (8, 8, 8, 12, 16)},
    "resdavenet_small": {"widths": (8, 8, 16)},
    "text_transformer": {"vocab_size": 50, "dim": 16, "depth": 2, "heads": 2, "max_tokens": 16},
}

WRITTEN = ("pretrained", "text_transformer")
"""Encoders that are checked on token ids; tests/encoders has the other families of the pretrained ones."""


def size(name):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in create_backbone(name, frames=4, size=32).parameters())


SMALL_BACKBONES = [name for name in backbones.names() if size(name) < SMALL]
NETWORKS = [f"backbone:{name}" for name in SMALL_BACKBONES] + [f"encoder:{name}" for name in encoders.names()]


def build(network):
    torch.manual_seed(0)
    kind, name = network.split(":")
    if kind == "encoder":
        return settle(create_encoder(name, **ENCODER_OPTIONS[name]))
    return settle(create_backbone(name, frames=4, size=32))


def settle(net):
    """Give normalisations statistics and weights that a fresh network does not have, or padding could hide in them."""
    random = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=random) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=random) + 0.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    return net


def inputs(network, lengths, seed=2):
    """Random sequences of these lengths, padded with junk."""
    random = torch.Generator().manual_seed(seed)
    kind, name = network.split(":")
    unit = 4 if "video" in name or kind == "backbone" else 12 if name in WRITTEN else 90
    longest = unit
    lengths = [max(1, round(part * unit)) for part in lengths]
    batch = len(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    if kind == "backbone":
        values = torch.randn(batch, longest, 3, 32, 32, generator=random)
    elif name == "video":
        values = torch.randint(0, 256, (batch, longest, 3, 16, 16), generator=random, dtype=torch.uint8)
    elif name in WRITTEN:
        values = torch.randint(0, 50, (batch, longest), generator=random)
    else:
        values = torch.rand(batch, longest, 40, generator=random) * -80
    return Padded(values, mask)


def with_junk(given):
    values = given.values.clone()
    values[~given.mask] = 7 if not values.is_floating_point() else float("nan")
    return Padded(values, given.mask)


@pytest.mark.parametrize("name", backbones.names())
def test_every_backbone_takes_frames_and_size_into_its_spec(name):
    with torch.device("meta"):
        net = create_backbone(name, frames=4, size=64)
    assert isinstance(net.spec, ClipSpec)
    assert (net.spec.frames, net.spec.size) == (4, 64)
    assert net.feature_dim > 0


@pytest.mark.parametrize("network", NETWORKS)
def test_shapes_mask_and_grid_agree_and_nothing_is_nan(network):
    net, given = build(network), inputs(network, [1, 0.5])
    features = net(given)
    assert features.values.shape == (*features.mask.shape, net.feature_dim)
    assert features.mask.shape[1] == torch.Size(features.grid).numel()
    assert features.mask.dtype == torch.bool
    assert features.mask[0].all()
    assert features.grid[0] == 1 or not features.mask[1].all()  # some networks leave one step of four frames
    assert features.values.isfinite().all()


@pytest.mark.parametrize("network", NETWORKS)
def test_every_parameter_gets_a_gradient(network):
    net, given = build(network).train(), inputs(network, [1, 1, 0.75])
    features = net(given)
    weights = torch.randn(features.values.shape, generator=torch.Generator().manual_seed(3))
    (features.values * weights).sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("network", NETWORKS)
def test_padding_changes_nothing(network):
    """Junk in padding, NaN even, and the padding itself: a short sequence alone gives the same numbers."""
    net, given = build(network).eval(), inputs(network, [1, 0.5, 0.75])
    features, disturbed = net(given), net(with_junk(given))
    assert torch.equal(features.values, disturbed.values)
    assert not features.values[~features.mask].any()
    for row in range(3):
        length = int(given.mask[row].sum())
        alone = net(Padded(given.values[row : row + 1, :length], given.mask[row : row + 1, :length]))
        together = features.values[row][features.mask[row]]
        assert alone.mask.all()
        close = 1e-5 * together.detach().abs().max().clamp_min(1)
        assert torch.allclose(alone.values[0], together, atol=float(close)), (alone.values[0] - together).abs().max()


@pytest.mark.parametrize("network", NETWORKS)
def test_saved_and_loaded_is_equal_down_to_the_buffers(network):
    """Trap: buffers lost in saving. One training step first, so that buffers differ from a fresh network's."""
    net, given = build(network), inputs(network, [1, 0.5])
    net.train()(given)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    copy = build(network)
    for parameter in copy.parameters():
        torch.nn.init.normal_(parameter)
    copy.load_state_dict(torch.load(file, weights_only=True))
    buffers = dict(copy.named_buffers())
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    assert net.state_dict().keys() >= buffers.keys(), "a buffer is not persistent"
    assert torch.equal(net.eval()(given).values, copy.eval()(given).values)


@pytest.mark.parametrize("network", NETWORKS)
def test_bf16_autocast_is_close_to_fp32(network):
    net, given = build(network).eval(), inputs(network, [1, 0.5])
    exact = net(given).values
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(given).values.float()
    assert (rough - exact).norm() / exact.norm() < 0.03

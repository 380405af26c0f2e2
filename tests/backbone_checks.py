"""The contracts of tests/contracts for a backbone with its options on, on clips that are long enough for them."""

import io

import torch

from mmretrieval.backbones import create_backbone
from mmretrieval.types import Padded

LENGTHS = (9, 4, 1, 8)
"""Real frames of each clip of a padded batch."""

PIXELS = 16


def settled(name, **options):
    """A network in evaluation mode whose normalisations have statistics, or padding could hide in them."""
    torch.manual_seed(0)
    net = create_backbone(name, frames=LENGTHS[0], size=PIXELS, **options).eval()
    random = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=random) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=random) + 0.5)
            torch.nn.init.normal_(module.bias, std=0.1, generator=random)
    return net


def clips(lengths=LENGTHS, seed=2):
    shape = (len(lengths), max(lengths), 3, PIXELS, PIXELS)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Padded(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), mask)


def check_contracts(name, stride, **options):
    """Everything at once; ``stride`` is by what the options divide the number of frames."""
    net = settled(name, **options)
    check_shapes_and_padding(net, stride)
    check_bf16(net)
    check_saving(net, settled(name, **options))
    check_gradients(net.train())


def check_shapes_and_padding(net, stride):
    given = clips()
    features = net(given)
    steps, height, width = features.grid
    assert steps == -(-LENGTHS[0] // stride)
    assert features.values.shape == (len(LENGTHS), steps * height * width, net.feature_dim)
    assert features.mask.view(len(LENGTHS), steps, -1).all(2).sum(1).tolist() == [-(-n // stride) for n in LENGTHS]
    assert features.mask.sum(1).tolist() == [-(-n // stride) * height * width for n in LENGTHS]
    junk = given.values.masked_fill(~given.mask[:, :, None, None, None], float("nan"))
    assert torch.equal(net(Padded(junk, given.mask)).values, features.values)
    assert features.values.isfinite().all()
    assert not features.values[~features.mask].any()
    for row, length in enumerate(LENGTHS):
        alone = net(Padded(given.values[row : row + 1, :length], given.mask[row : row + 1, :length]))
        assert alone.mask.all()
        together = features.values[row][features.mask[row]]
        assert torch.allclose(alone.values[0], together, rtol=1e-4, atol=1e-5 * float(together.detach().abs().max()))


def check_bf16(net):
    exact = net(clips()).values
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(clips()).values.float()
    assert (rough - exact).norm() / exact.norm() < 0.03


def check_saving(net, copy):
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    for parameter in copy.parameters():
        torch.nn.init.normal_(parameter)
    copy.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(net(clips()).values, copy(clips()).values)


def check_gradients(net):
    values = net(clips()).values
    (values * torch.randn(values.shape, generator=torch.Generator().manual_seed(3))).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def seen_ahead(net, stride):
    """Pairs of a changed frame and an output position before it that noticed; an output stands at j · stride."""
    given = clips((9,))
    before, pairs = net(given), []
    for frame in range(1, 9):
        values = given.values.clone()
        values[:, frame:] += 3
        difference = (net(Padded(values, given.mask)).values - before.values).unflatten(1, before.grid)
        noticed = difference.abs().flatten(2).amax(2)[0].gt(1e-6).nonzero().flatten().tolist()
        assert noticed
        pairs += [(frame, position) for position in noticed if position * stride < frame]
    return pairs


def slow_temporal_pool(frames, length, method, causal=False):
    """(B·T, C, H, W), one window of three frames after the other; zeros stand beyond the ends of a clip."""
    clip = frames.unflatten(0, (-1, length))
    pooled = []
    for t in range(0, length, 2):
        window = (t - 2, t - 1, t) if causal else (t - 1, t, t + 1)
        terms = torch.stack([clip[:, s] if 0 <= s < length else torch.zeros_like(clip[:, 0]) for s in window])
        pooled.append(terms.amax(0) if method == "max" else terms.sum(0) / 3)
    return torch.stack(pooled, 1).flatten(0, 1)

import pytest
import torch
from backbone_checks import slow_temporal_pool
from torch import nn
from torch.nn import functional as F

from mmretrieval.errors import ModelError
from mmretrieval.layers.temporal import Mixing, TemporalAggregation, TemporalPool, TemporalShift

B, T, C, H, W = 2, 5, 16, 3, 4


def frames(requires_grad=False):
    values = torch.randn(B * T, C, H, W, generator=torch.Generator().manual_seed(0))
    return values.contiguous(memory_format=torch.channels_last).requires_grad_(requires_grad)


def slow_shift(values, unidirectional):
    clip = values.view(B, T, C, H, W)
    out = torch.zeros_like(clip)
    fold = C // 8
    for t in range(T):
        for c in range(C):
            backward, forward = (0, fold) if unidirectional else (fold, 2 * fold)
            source = t + 1 if c < backward else t - 1 if c < forward else t
            if 0 <= source < T:
                out[:, t, c] = clip[:, source, c]
    return out.view_as(values)


@pytest.mark.parametrize("unidirectional", [False, True])
def test_shift_equals_a_loop_and_sends_the_gradient_back(unidirectional):
    values = frames(requires_grad=True)
    shifted = TemporalShift(unidirectional=unidirectional)(values, T)
    assert torch.equal(shifted, slow_shift(values, unidirectional))
    assert shifted.is_contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(shifted)
    (gradient,) = torch.autograd.grad((shifted * weights).sum(), values)
    reference = values.detach().requires_grad_()
    (expected,) = torch.autograd.grad((slow_shift(reference, unidirectional) * weights).sum(), reference)
    assert torch.equal(gradient, expected)


def test_shifting_a_clip_of_one_frame_leaves_zeros():
    values = torch.ones(3, 8, 2, 2)
    shifted = TemporalShift()(values, 1)
    assert not shifted[:, :2].any()
    assert (shifted[:, 2:] == 1).all()


def test_a_unidirectional_shift_never_sees_the_future():
    values = frames()
    changed = values.clone()
    changed.view(B, T, C, H, W)[:, 3:] += 1
    shift = TemporalShift(unidirectional=True)
    before, after = (shift(x, T).view(B, T, C, H, W)[:, :3] for x in (values, changed))
    assert torch.equal(before, after)


def published_tam(module, values, method):
    """Three depth-wise convolutions, pad, stack and sum or maximum, then ReLU (arXiv 2010.11757)."""
    clip = values.view(B, T, C, H, W)
    zero = torch.zeros_like(clip[:, :1])
    previous = module.prev_se.fc1(torch.cat([zero, clip[:, :-1]], 1).flatten(0, 1))
    current = module.curr_se.fc1(clip.flatten(0, 1))
    following = module.next_se.fc1(torch.cat([clip[:, 1:], zero], 1).flatten(0, 1))
    stacked = torch.stack([previous, current, following])
    return (stacked.sum(0) if method == "sum" else stacked.amax(0)).relu()


@pytest.mark.parametrize("method", ["sum", "max"])
def test_aggregation_equals_the_published_formulation_with_gradients(method):
    torch.manual_seed(0)
    module, values = TemporalAggregation(C, method), frames(requires_grad=True)
    fused, published = module(values, T), published_tam(module, values, method)
    assert torch.allclose(fused, published, atol=1e-6)
    assert fused.is_contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(fused)
    inputs = [values, *module.parameters()]
    for one, other in zip(
        torch.autograd.grad((fused * weights).sum(), inputs),
        torch.autograd.grad((published * weights).sum(), inputs),
    ):
        assert torch.allclose(one, other, atol=1e-5)


def test_aggregation_is_a_depthwise_convolution_from_past_to_future():
    torch.manual_seed(0)
    module, values = TemporalAggregation(C), frames()
    kernel = torch.stack([part.fc1.weight.flatten() for part in (module.prev_se, module.curr_se, module.next_se)], 1)
    clip = values.view(B, T, C, H, W).transpose(1, 2)
    expected = F.conv3d(clip, kernel.view(C, 1, 3, 1, 1), padding=(1, 0, 0), groups=C).relu()
    assert torch.allclose(module(values, T), expected.transpose(1, 2).flatten(0, 1), atol=1e-6)


def test_aggregation_keeps_the_published_names():
    names = list(TemporalAggregation(4).state_dict())
    assert names == ["prev_se.fc1.weight", "next_se.fc1.weight", "curr_se.fc1.weight"]
    assert isinstance(TemporalAggregation(4).prev_se.fc1, nn.Conv2d)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError) as error:
        TemporalAggregation(4, "mean")
    assert str(error.value) == "temporal aggregation method 'mean' is unknown: use 'sum' or 'max'"


def slow_aggregation(taps, values, method):
    """Frame by frame and tap by tap, zeros beyond the ends."""
    clip = values.view(B, T, C, H, W)
    frames = []
    for t in range(T):
        terms = []
        for offset, weight in taps.items():
            source = clip[:, t + offset] if 0 <= t + offset < T else torch.zeros_like(clip[:, 0])
            terms.append(F.conv2d(source, weight, groups=C if weight.shape[1] == 1 else 1))
        frames.append(sum(terms) if method == "sum" else torch.stack(terms).amax(0))
    return torch.stack(frames, 1).relu().flatten(0, 1)


@pytest.mark.parametrize("method", ["sum", "max"])
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize(
    ("count", "causal", "offsets"),
    [
        (1, False, [0]),
        (2, False, [-1, 0]),
        (5, False, [-2, -1, 0, 1, 2]),
        (3, True, [-2, -1, 0]),
        (15, True, range(-14, 1)),
    ],
)
def test_aggregation_of_any_number_of_frames(method, depthwise, count, causal, offsets):
    torch.manual_seed(0)
    module = TemporalAggregation(C, method, count, depthwise, causal)
    assert list(module.offsets) == list(offsets)
    shape = (C, 1, 1, 1) if depthwise else (C, C, 1, 1)
    assert {name: tuple(p.shape) for name, p in module.named_parameters()} == {
        f"blending_layers.{index}.fc1.weight": shape for index in range(count)
    }
    values = frames(requires_grad=True)
    taps = dict(zip(offsets, (layer.fc1.weight for layer in module.blending_layers), strict=True))
    result, expected = module(values, T), slow_aggregation(taps, values, method)
    assert torch.allclose(result, expected, atol=1e-5)
    weights, inputs = torch.randn_like(result), [values, *module.parameters()]
    grads = (
        torch.autograd.grad((one * weights).sum(), inputs, allow_unused=True, materialize_grads=True)
        for one in (result, expected)
    )
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_dense_aggregation_of_three_frames_has_the_published_names():
    module = TemporalAggregation(C, depthwise=False)
    assert [name for name, _ in module.named_parameters()] == [
        f"{tap}_se.fc1.weight" for tap in ("prev", "next", "curr")
    ]
    taps = {-1: module.prev_se.fc1.weight, 0: module.curr_se.fc1.weight, 1: module.next_se.fc1.weight}
    assert torch.allclose(module(frames(), T), slow_aggregation(taps, frames(), "sum"), atol=1e-5)


@pytest.mark.parametrize("method", ["max", "avg"])
@pytest.mark.parametrize("length", [1, 2, 5, 10])
def test_temporal_pooling_equals_a_loop(method, length):
    values = frames().relu()
    pooled = TemporalPool(method)(values, length)
    assert torch.allclose(pooled, slow_temporal_pool(values, length, method), atol=1e-6)
    assert pooled.is_contiguous(memory_format=torch.channels_last)


def test_an_average_counts_the_zeros_beyond_the_ends():
    pooled = TemporalPool("avg")(torch.ones(4, 1, 1, 1), 4)
    assert torch.allclose(pooled.flatten(), torch.tensor([2 / 3, 1.0]))


def test_unknown_temporal_pooling():
    with pytest.raises(ValueError, match="^temporal pooling 'min' is unknown: use 'max' or 'avg'$"):
        TemporalPool("min")


@pytest.mark.parametrize("method", ["max", "avg"])
@pytest.mark.parametrize("length", [1, 2, 5, 10])
def test_causal_temporal_pooling_looks_back_alone(method, length):
    values = frames().relu()
    pooled = TemporalPool(method, causal=True)(values, length)
    assert torch.allclose(pooled, slow_temporal_pool(values, length, method, causal=True), atol=1e-6)
    assert pooled.is_contiguous(memory_format=torch.channels_last)


def test_mixing_builds_the_module_of_its_kind_with_its_options():
    assert Mixing().module(8) is None
    assert not Mixing("tsm").module(8).unidirectional
    assert Mixing("tsm", causal=True).module(8).unidirectional
    tam = Mixing("tam", True, 4, "max", False).module(8)
    assert (tam.causal, tam.frames, tam.method) == (True, 4, "max")
    assert tam.taps[0].fc1.weight.shape == (8, 8, 1, 1)


def test_mixing_pools_only_as_far_ahead_as_it_may():
    assert Mixing("tsm").pool(None) is None
    pools = [Mixing("tsm", causal).pool("avg") for causal in (False, True)]
    assert [(pool.method, pool.causal) for pool in pools] == [("avg", False), ("avg", True)]


def test_unknown_temporal_modules():
    with pytest.raises(ModelError) as error:
        Mixing("TSN")
    assert str(error.value) == "temporal module 'TSN' is unknown: use 'tsn' (none), 'tsm' or 'tam'"
    with pytest.raises(ModelError, match="^temporal aggregation of 0 frames: at least 1 is needed$"):
        Mixing("tam", blending_frames=0).module(4)


@pytest.mark.parametrize(
    "layer",
    [
        TemporalShift(unidirectional=True),
        TemporalAggregation(C, causal=True),
        TemporalAggregation(C, "max", causal=True),
        TemporalAggregation(C, frames=4, depthwise=False, causal=True),
        TemporalAggregation(C, frames=2),
        TemporalAggregation(C, frames=1),
        TemporalPool("max", causal=True),
        TemporalPool("avg", causal=True),
    ],
    ids=["shift", "sum", "max", "dense", "two", "one", "max-pool", "avg-pool"],
)
def test_step_by_step_is_all_at_once(layer):
    assert not layer.looks_ahead
    values, state, given = frames().relu(), None, []
    with torch.no_grad():
        for frame in values.unflatten(0, (B, T)).unbind(1):
            before = None if state is None else state.clone()
            result, new = layer.step(frame, state)
            assert state is None or torch.equal(state, before)  # the old state is left alone
            state = new
            assert result is None or result.is_contiguous(memory_format=torch.channels_last)
            given += [] if result is None else [result]
        expected = layer(values, T)
    assert torch.allclose(torch.stack(given, 1).flatten(0, 1), expected, atol=1e-6)


@pytest.mark.parametrize("layer", [TemporalShift(), TemporalAggregation(C), TemporalPool()])
def test_layers_that_look_ahead(layer):
    assert layer.looks_ahead

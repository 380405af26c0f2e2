"""Integer convolutions against slow ones in double precision, on this CPU's own kernels."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmretrieval.layers import int8
from mmretrieval.layers.fused import FloatKernel, FusedBlend
from mmretrieval.layers.int8 import Grid, Int8Kernel, Int8MaxPool, quantize, restore, top_level
from mmretrieval.layers.temporal import TemporalAggregation

# channels in and out, kernel, stride, padding, groups, size
SHAPES = [
    (32, 32, (3, 3), (1, 1), (1, 1), 1, 8),
    (64, 48, (1, 1), (2, 2), (0, 0), 1, 8),
    (3, 24, (7, 7), (2, 2), (3, 3), 1, 17),
    (5, 7, (3, 3), (1, 1), (1, 1), 1, 9),
    (32, 32, (3, 3), (1, 1), (1, 1), 4, 8),
    (32, 32, (3, 3), (2, 2), (1, 1), 32, 8),
    (32, 32, (3, 1), (2, 1), (1, 0), 1, 6),
    (32, 32, (3, 1), (1, 1), (1, 0), 32, 6),
    (512, 16, (3, 3), (1, 1), (1, 1), 1, 4),
    (16, 24, (3, 3, 3), (2, 2, 2), (1, 1, 1), 1, 6),
    (16, 16, (3, 3, 3), (1, 1, 1), (1, 1, 1), 16, 6),
    (3, 8, (7, 7, 7), (1, 2, 2), (3, 3, 3), 1, 9),
]


def integers(shape, low, high, extreme, random):
    """Whole numbers; ``extreme`` ones are all the lowest or the highest, row by row."""
    values = torch.randint(low, high + 1, shape, generator=random)
    if extreme:
        values[::2], values[1::2] = high, low
    return values


def kernels(shape, zero, extreme, relu, made_top=None):
    """A kernel whose weights are on their grids exactly, integers for it, and the exact result in double precision."""
    ins, outs, kernel, stride, padding, groups, side = shape
    random = torch.Generator().manual_seed(side)
    weight = integers((outs, ins // groups, *kernel), -127, 127, extreme, random)
    weight.flatten(1)[:, 0] = 127  # so that the largest of each channel is on the grid's end
    # powers of two, so that scales are exact
    scales = 2.0 ** -torch.randint(4, 9, (outs,), generator=random)
    bias = torch.randn(outs, generator=random)
    ones = [1] * len(kernel)
    given = Grid(2.0**-6, zero, top_level())
    floats = weight * scales.view(-1, *[1] * (len(kernel) + 1))
    floating = FloatKernel(floats, bias, list(stride), list(padding), ones, groups, relu)
    whole = integers((2, ins, *[side] * len(kernel)), 0, given.top, extreme, random).to(torch.uint8)
    convolve = F.conv2d if len(kernel) == 2 else F.conv3d
    real = (whole.double() - zero) * given.scale
    exact = convolve(real, floats.double(), bias.double(), stride, padding, 1, groups)
    made = None if made_top is None else Grid(float(exact.max()) / made_top / 1.5, 0, made_top)
    return Int8Kernel(floating, given, made), whole, exact.relu() if relu else exact


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("zero", [0, 37, 127])
def test_integers_are_multiplied_and_added_exactly(shape, extreme, zero):
    """Also the largest there are, which saturate on CPUs that are wrongly given 8 bits, and padding beside a zero."""
    for relu in (False, True):
        kernel, whole, exact = kernels(shape, zero, extreme, relu)
        made = kernel(whole)
        assert made.dtype == torch.float32
        assert (made - exact).abs().max() <= 1e-6 * exact.abs().max()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("extreme", [False, True])
def test_integers_that_are_passed_on_are_rounded_and_limited(shape, extreme):
    kernel, whole, exact = kernels(shape, 37, extreme, True, made_top=top_level())
    made = kernel(whole)
    assert made.dtype == torch.uint8
    expected = (exact / kernel.made.scale).clamp(0, kernel.made.top)
    assert expected.max() == kernel.made.top  # the limit is reached
    assert (made.double() - expected).abs().max() <= 0.5 + 1e-4


@pytest.mark.parametrize("shape", SHAPES[:9])
@pytest.mark.parametrize("relu", [False, True])
def test_a_sum_is_that_of_both_and_is_written_over_what_was_added(shape, relu):
    kernel, whole, exact = kernels(shape, 37, False, False)
    random = torch.Generator().manual_seed(1)
    addend = Grid(float(exact.abs().max()) / 100, 0 if relu else 60, top_level())
    other = torch.randint(0, top_level() + 1, exact.shape, generator=random).to(torch.uint8)
    other = other.contiguous(memory_format=torch.channels_last)
    real = exact + (other.double() - addend.zero) * addend.scale
    kernel.addend = addend
    in_floats = kernel.plus(whole, other.clone())
    assert (in_floats - real).abs().max() <= 1e-6 * real.abs().max()
    assert not in_floats.rectified
    assert torch.allclose(kernel.plus(whole, restore(other, addend)), in_floats, atol=1e-6)
    kernel.made = Grid.spanning(0.0 if relu else float(real.min()), float(real.max()) * 0.9, top_level())
    expected = (real / kernel.made.scale + kernel.made.zero).clamp(0, kernel.made.top)
    summed = kernel.plus(whole, restore(other, addend))
    assert (summed.double() - expected).abs().max() <= 0.5 + 1e-3
    summed = kernel.plus(whole, other)
    assert summed.rectified
    assert summed.dtype == torch.uint8
    assert summed.data_ptr() == other.data_ptr()
    assert (summed.double() - expected).abs().max() <= 0.5 + 1e-3


def test_maps_of_another_size_are_convolved_as_the_first_ones():
    kernel, _, _ = kernels(SHAPES[0], 37, False, True)
    random = torch.Generator().manual_seed(0)
    small, large = (torch.randn(2, 32, side, side, generator=random) for side in (5, 14))
    fresh = [kernels(SHAPES[0], 37, False, True)[0](maps) for maps in (small, large)]
    again = [kernel(maps) for maps in (small, large, small)]
    assert torch.equal(again[0], fresh[0])
    assert torch.equal(again[1], fresh[1])
    assert torch.equal(again[2], fresh[0])


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((2, 3), (1, 2), ceil_mode=True)])
def test_the_largest_integer_stands_for_the_largest_number(pool):
    whole = torch.randint(0, 256, (2, 5, 9, 8)).to(torch.uint8).contiguous(memory_format=torch.channels_last)
    pooled = Int8MaxPool(pool)(whole)
    assert pooled.dtype == torch.uint8
    assert torch.equal(pooled.float(), pool(whole.float()))
    assert torch.equal(Int8MaxPool(pool)(whole.float()), pool(whole.float()))


@pytest.mark.parametrize(("frames", "causal"), [(3, False), (3, True), (2, False), (5, False), (1, False)])
@pytest.mark.parametrize("floats", [False, True])
def test_blending_integers_is_blending_what_they_stand_for(frames, causal, floats):
    torch.manual_seed(0)
    length = 4
    layer = TemporalAggregation(16, frames=frames, causal=causal)
    whole = torch.randint(0, top_level() + 1, (2 * length, 16, 3, 5)).to(torch.uint8)
    whole = whole.contiguous(memory_format=torch.channels_last)
    given = Grid(0.02, 0, top_level())
    real = restore(whole, given)
    with torch.no_grad():
        exact = layer(real, length)
    blend = FusedBlend(layer)
    assert torch.allclose(blend(real, length), exact, atol=1e-5)
    floating = blend.kernel
    blend.kernel = Int8Kernel(floating, given)
    assert blend.looks_ahead == layer.looks_ahead
    blended = blend(real if floats else whole, length)
    assert (blended - exact).abs().max() < 0.02 * exact.abs().max()
    blend.kernel = Int8Kernel(floating, given, Grid.spanning(0, float(exact.max()), top_level()))
    blended = blend(real if floats else whole, length)
    assert blended.dtype == torch.uint8
    assert blended.is_contiguous(memory_format=torch.channels_last)
    assert (restore(blended, blend.kernel.made) - exact).abs().max() < 0.02 * exact.abs().max()
    if not layer.looks_ahead:
        state, steps = None, []
        for frame in (real if floats else whole).unflatten(0, (2, length)).unbind(1):
            step, state = blend.step(frame, state)
            steps.append(step)
        assert torch.equal(torch.stack(steps, 1).flatten(0, 1), blended)


def test_floats_are_put_on_the_grid_first():
    kernel, whole, _ = kernels(SHAPES[0], 37, False, True)
    real = (whole.float() - 37) * kernel.given.scale
    assert torch.equal(kernel(real), kernel(whole))
    assert torch.equal(kernel(real + 0.4 * kernel.given.scale), kernel(whole))


def test_a_channel_without_weights_gives_its_bias():
    floating = FloatKernel(torch.zeros(8, 8, 1, 1), torch.arange(8.0), [1, 1], [0, 0], [1, 1], 1, False)
    made = Int8Kernel(floating, Grid(0.1, 0, top_level()))(torch.randn(1, 8, 3, 3))
    assert torch.equal(made, torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 3, 3))


@pytest.mark.parametrize(
    ("low", "high", "grid"),
    [
        (0.0, 12.7, Grid(0.1, 0, 127)),
        (-2.7, 10.0, Grid(0.1, 27, 127)),
        (3.0, 12.7, Grid(0.1, 0, 127)),
        (-12.7, -1.0, Grid(0.1, 127, 127)),
        (0.0, 0.0, Grid(1.0, 0, 127)),
    ],
)
def test_a_grid_spans_a_range_and_zero(low, high, grid):
    found = Grid.spanning(low, high, 127)
    assert found == pytest.approx(grid)
    assert quantize(torch.zeros(3), found).tolist() == [found.zero] * 3


def test_values_beyond_the_grid_take_its_ends_in_any_memory_order():
    grid = Grid(0.5, 10, 127)
    values = torch.tensor([-1e9, -5.0, -4.8, -0.26, -0.24, 0.0, 0.25, 58.5, 58.8, 1e9])
    assert quantize(values, grid).tolist() == [0, 0, 0, 9, 10, 10, 11, 127, 127, 127]
    images = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert quantize(images, grid).is_contiguous(memory_format=torch.channels_last)


def test_activations_have_8_bits_where_products_are_exact_and_7_elsewhere(monkeypatch):
    assert top_level() in (127, 255)

    def saturated(kernel, maps):
        return torch.full((1, 64, 8, 8), 32767.0)

    top_level.cache_clear()
    monkeypatch.setattr(int8.Int8Kernel, "forward", saturated)
    assert top_level() == 127
    top_level.cache_clear()


STRIDING = """
import torch
from mmretrieval.layers.fused import FloatKernel
from mmretrieval.layers.int8 import Grid, Int8Kernel

torch.set_num_threads(2)
generator = torch.Generator().manual_seed(0)
wrong = 0
for channels, made, side in ((8, 40, 14), (24, 8, 8), (8, 64, 7)):
    weight = torch.randint(-127, 128, (made, channels, 1, 1), generator=generator).float()
    weight[:, 0] = 127  # then weights are integers already
    kernel = Int8Kernel(FloatKernel(weight, torch.zeros(made), [2, 2], [0, 0], [1, 1], 1, relu=False), Grid(1, 9, 127))
    given = torch.randint(0, 128, (36, channels, side, side), generator=generator, dtype=torch.uint8)
    exact = torch.einsum("nchw,oc->nohw", given[..., ::2, ::2].long() - 9, weight[..., 0, 0].long()).float()
    wrong += sum(not torch.equal(kernel(given), exact) for _ in range(100))
print(wrong)
"""


@pytest.mark.parametrize("instructions", ["AVX2", "DEFAULT"])
def test_striding_over_single_places_is_exact_with_several_threads(instructions):
    """oneDNN's own kernels for that were wrong in most of these calls without AVX-512."""
    surroundings = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    done = subprocess.run([sys.executable, "-c", STRIDING], env=surroundings, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr

"""The counter, on networks that can be counted by hand."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from mmretrieval.backbones import create_backbone
from mmretrieval.errors import UnknownNameError
from mmretrieval.evaluation.cost import (
    clips,
    conv_macs,
    count_macs,
    count_parameters,
    executed_macs,
    measure,
    peak_activations,
    zoo_table,
)
from mmretrieval.layers.temporal import TemporalAggregation
from mmretrieval.layers.volume import PlaneConv3d
from mmretrieval.types import ClipSpec, Features, Padded

FRAMES, SIZE = 4, 8
PLACES = SIZE * SIZE


class Wrapped(nn.Module):
    """Any layers as a backbone: frames folded (T, 3, S, S), or with ``volume`` a clip (1, 3, T, S, S)."""

    feature_dim = 3

    def __init__(self, *layers, volume=False, costs=None, frames=FRAMES):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.spec = ClipSpec(frames, SIZE)
        self.volume = volume
        self.costs = costs or {}

    def forward(self, frames):
        values = frames.values.transpose(1, 2) if self.volume else frames.values.flatten(0, 1)
        for layer in self.layers:
            if isinstance(layer, TemporalAggregation):
                values = layer(values, self.spec.frames)
            else:
                values = layer(values)
        return Features(values.flatten()[None, :, None], frames.mask, (1,), self.costs)


def counted(*layers, rule="conv-only", device="meta", **options):
    return count_macs(Wrapped(*deepcopy(layers), **options).to(device), rule)


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.Conv2d(3, 6, 3, padding=1), 6 * 3 * 9 * PLACES * FRAMES),
        (nn.Conv2d(3, 6, 3, padding=1, bias=False), 6 * 3 * 9 * PLACES * FRAMES),
        (nn.Conv2d(3, 6, 3, stride=2, padding=1), 6 * 3 * 9 * (PLACES // 4) * FRAMES),
        (nn.Conv2d(3, 6, 3, padding=1, groups=3), 6 * 1 * 9 * PLACES * FRAMES),
        (nn.Conv2d(3, 6, 3, dilation=2), 6 * 3 * 9 * 4 * 4 * FRAMES),
        (nn.Conv2d(3, 6, 3), 6 * 3 * 9 * 6 * 6 * FRAMES),
    ],
)
def test_convolutions_over_frames(layer, macs, device):
    assert counted(layer, device=device) == counted(layer, device=device, rule="all") == macs


@pytest.mark.parametrize("kind", [nn.Conv3d, PlaneConv3d])
@pytest.mark.parametrize(
    ("arguments", "weights", "positions"),
    [
        ({"kernel_size": 3, "padding": 1}, 6 * 3 * 27, FRAMES * PLACES),
        ({"kernel_size": 3, "padding": 1, "stride": (2, 2, 2)}, 6 * 3 * 27, (FRAMES // 2) * PLACES // 4),
        # flat in time, flat in space, a point: PlaneConv3d computes these in two dimensions
        ({"kernel_size": (1, 3, 3), "padding": (0, 1, 1)}, 6 * 3 * 9, FRAMES * PLACES),
        ({"kernel_size": (1, 3, 3), "padding": (0, 1, 1), "stride": (2, 2, 2)}, 6 * 3 * 9, FRAMES // 2 * PLACES // 4),
        ({"kernel_size": (3, 1, 1), "padding": (1, 0, 0)}, 6 * 3 * 3, FRAMES * PLACES),
        ({"kernel_size": (3, 1, 1), "padding": (1, 0, 0), "stride": (2, 1, 1)}, 6 * 3 * 3, FRAMES // 2 * PLACES),
        ({"kernel_size": (3, 1, 1), "padding": (1, 0, 0), "groups": 3}, 6 * 3, FRAMES * PLACES),
        ({"kernel_size": 1, "stride": (1, 2, 2)}, 6 * 3, FRAMES * PLACES // 4),
    ],
)
def test_convolutions_over_volumes(kind, arguments, weights, positions):
    assert counted(kind(3, 6, bias=False, **arguments), volume=True) == weights * positions


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("rule", ["conv-only", "all"])
@pytest.mark.parametrize("method", ["sum", "max"])
@pytest.mark.parametrize(("blended", "causal"), [(3, False), (3, True), (1, False), (2, False), (5, False)])
def test_temporal_aggregation_counts_as_the_convolutions_it_is_published_as(blended, causal, method, rule, device):
    outputs = FRAMES * 3 * PLACES
    thin = TemporalAggregation(3, method, blended, causal=causal)
    assert counted(thin, rule=rule, device=device) == blended * outputs
    dense = TemporalAggregation(3, method, blended, depthwise=False, causal=causal)
    assert counted(dense, rule=rule, device=device) == blended * 3 * outputs


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_normalisations_count_by_the_rule_all_alone(device):
    elements = FRAMES * 3 * PLACES
    for norm in (nn.BatchNorm2d(3), nn.LayerNorm([3, SIZE, SIZE]), nn.GroupNorm(3, 3)):
        assert counted(norm, nn.ReLU(), nn.MaxPool2d(2), device=device) == 0
        assert counted(norm, nn.ReLU(), nn.MaxPool2d(2), device=device, rule="all") == elements


class Attention(nn.Module):
    """One head over the places of a frame, written out or in one call of torch."""

    def __init__(self, fused):
        super().__init__()
        self.fused = fused
        self.project = nn.Linear(3, 9)

    def forward(self, maps):
        query, key, value = self.project(maps.flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        if self.fused:
            one = [tensor.unsqueeze(1) for tensor in (query, key, value)]
            return nn.functional.scaled_dot_product_attention(*one)
        return (query @ key.transpose(1, 2)).softmax(dim=-1) @ value


@pytest.mark.parametrize("fused", [False, True])
def test_linear_layers_and_attention_count_by_the_rule_all_alone(fused):
    net = Attention(fused)
    projections, products = FRAMES * PLACES * 3 * 9, 2 * FRAMES * PLACES * PLACES * 3
    assert counted(net) == 0
    assert counted(net, rule="all") == projections + products


def test_multi_head_attention_of_torch():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.lift = nn.Linear(3, 4)

        def forward(self, maps):
            tokens = self.lift(maps.flatten(2).transpose(1, 2))
            return self.attention(tokens, tokens, tokens, need_weights=False)[0]

    tokens = FRAMES * PLACES
    expected = tokens * 3 * 4 + tokens * 4 * 16 + 2 * FRAMES * PLACES * PLACES * 4
    assert counted(Tokens(), rule="all") == expected


@pytest.mark.parametrize(
    "name", ["tam_resnet_test", "tsm_resnet_test", "inception_v1_test", "s3d_resnet_test", "s3d_test"]
)
def test_counting_without_numbers_counts_what_is_executed(name):
    with torch.device("meta"):
        shapes = create_backbone(name)
    for rule in ("conv-only", "all"):
        assert count_macs(shapes, rule) == count_macs(create_backbone(name), rule) > 0


def test_counting_leaves_the_network_and_the_random_numbers_alone():
    net = create_backbone("tam_resnet_test")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    count_macs(net, "all"), peak_activations(net)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_the_rule_all_on_a_published_network():
    """ResNet-18 on 8 frames: its normalised maps beside its convolutions."""
    with torch.device("meta"):
        net = create_backbone("resnet18")
    maps = 64 * 112**2 + 4 * 64 * 56**2 + 5 * 128 * 28**2 + 5 * 256 * 14**2 + 5 * 512 * 7**2
    assert count_macs(net) == conv_macs(net) == 14_508_490_752
    assert count_macs(net, "all") == 14_508_490_752 + 8 * maps


def test_an_unknown_rule():
    with pytest.raises(UnknownNameError) as caught:
        count_macs(Wrapped(nn.Conv2d(3, 6, 3)), "conv_only")
    assert str(caught.value) == "unknown rule 'conv_only'. Did you mean 'conv-only'? Known: conv-only, all."


# --- adaptive networks


def test_a_network_that_reports_what_it_executes_is_believed():
    adaptive = Wrapped(nn.Conv2d(3, 6, 1), costs={"macs": torch.tensor(1234.5)})
    assert executed_macs(adaptive, clips(adaptive, 2)) == 1234.5


def test_of_any_other_the_operations_are_counted_per_clip():
    static = Wrapped(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), costs={"policy": torch.tensor(1.0)})
    assert executed_macs(static, clips(static, 5)) == 6 * 3 * PLACES * FRAMES
    assert executed_macs(static, clips(static, 5), "all") == 6 * 4 * PLACES * FRAMES
    longer = Padded(torch.zeros(1, 7, 3, SIZE, SIZE), torch.ones(1, 7, dtype=torch.bool))
    assert executed_macs(static, longer) == 6 * 3 * PLACES * 7


# --- memory


def test_peak_memory_is_the_largest_sum_of_what_is_alive():
    clip = 4 * 3 * PLACES * FRAMES
    # 12 channels from 3 while the clip is still held by its caller, then 6 from 12
    chain = (nn.Conv2d(3, 12, 1), nn.ReLU(inplace=True), nn.Conv2d(12, 6, 1))
    assert peak_activations(Wrapped(*chain)) == clip + 4 * clip + 2 * clip
    # what is not in place is there twice
    assert peak_activations(Wrapped(nn.Conv2d(3, 12, 1), nn.ReLU(), nn.Conv2d(12, 6, 1))) == clip + 2 * 4 * clip
    assert peak_activations(Wrapped(*chain), batch=3) == 3 * 7 * clip


def test_a_shortcut_is_held():
    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, maps):
            maps = self.first(maps)
            return self.second(maps).add_(maps)

    # the clip, its map, and the map of its map
    assert peak_activations(Wrapped(Shortcut())) == 3 * 4 * 3 * PLACES * FRAMES


def test_weights_are_no_activations():
    thin = TemporalAggregation(3)  # it looks at its weights in another shape
    assert peak_activations(Wrapped(thin)) % (4 * 3 * PLACES * FRAMES) == 0


@pytest.mark.parametrize("name", ["tam_resnet_test", "i3d_resnet_test", "inception_v1_test"])
def test_peak_memory_is_the_same_without_numbers(name):
    """But for the statistics of the batch, which normalisation in evaluation does not return on the CPU."""
    with torch.device("meta"):
        shapes = create_backbone(name)
    assert peak_activations(shapes) == pytest.approx(peak_activations(create_backbone(name)), rel=0.002)


def test_parameters_are_not_running_statistics():
    assert count_parameters(Wrapped(nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6))) == 18 + 12


# --- time


def test_networks_take_their_turns(monkeypatch):
    """With a clock that advances by what each network is made to take, in a machine that gets slower."""
    now, calls = [0.0], []

    class Slow(Wrapped):
        def __init__(self, name, seconds):
            super().__init__(nn.Conv2d(3, 6, 1))
            self.name, self.seconds = name, seconds

        def forward(self, frames):
            assert not self.training and torch.is_inference_mode_enabled()
            calls.append((self.name, len(frames.mask)))
            now[0] += self.seconds * len(frames.mask) * (1 + 0.01 * len(calls))
            return super().forward(frames)

    monkeypatch.setattr("mmretrieval.evaluation.cost.time.perf_counter", lambda: now[0])
    found = measure({"quick": Slow("quick", 1.0), "slow": Slow("slow", 2.0)}, batch=4, rounds=3)
    assert calls == [("quick", 1), ("quick", 4), ("slow", 1), ("slow", 4)] * 4
    # the median of rounds 2 to 4 is the third: calls 9 to 12
    assert found["quick"].latency == pytest.approx(1.09)
    assert found["slow"].latency == pytest.approx(2 * 1.11)
    assert found["quick"].throughput == pytest.approx(1 / 1.10)
    assert found["slow"].throughput == pytest.approx(1 / (2 * 1.12))
    assert (found["slow"].batch, found["slow"].threads) == (4, torch.get_num_threads())


# --- the table


def test_a_row_of_the_table():
    """tests/cli/test_models.py looks at all of them."""
    row, without = zoo_table(["tam_resnet50", "tsm_resnet_test"])
    assert row == {
        "name": "tam_resnet50",
        "family": "resnet",
        "params": 23_725_655 - 2049 * 87,
        "macs": 32_831_963_136,
        "frames": 8,
        "size": 224,
        "published": "TAM-b3-sum-resnet-50",
    }
    assert without["published"] is None


def test_rows_of_named_networks():
    rows = zoo_table(["i3d-resnet-18-ts", "resnet18", "resnet-18-ts-max-f16"])
    assert [(row["name"], row["published"], row["frames"]) for row in rows] == [
        ("i3d-resnet-18-ts", "i3d-resnet-18-ts", 8),
        ("resnet18", "resnet-18", 8),
        ("resnet-18-ts-max-f16", "resnet-18-ts-max-f16", 16),
    ]
    assert [row["macs"] for row in rows] == [22_472_425_472, 14_508_490_752, 2 * 7_520_780_288]


def test_the_rule_is_passed_on():
    assert zoo_table(["resnet_test"], "all")[0]["macs"] > zoo_table(["resnet_test"])[0]["macs"]

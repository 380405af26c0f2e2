"""``mmretrieval models``: the zoo's table."""

import json

import pytest
import torch

from mmretrieval.backbones import backbones
from mmretrieval.evaluation import cost


def test_every_backbone_has_its_row(run):
    code, out, _ = run("models", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert list(rows) == backbones.names()
    for row in rows.values():
        assert set(row) == {"name", "family", "params", "macs", "frames", "size", "published"}
        assert row["params"] > 0 and row["macs"] > 0
    # published, arXiv 2010.11757: 8 frames of 224 x 224, convolutions only
    assert rows["tam_resnet50"]["macs"] == 32_831_963_136
    assert rows["resnet50"]["macs"] == 32_697_090_048
    assert rows["tam_resnet18"]["macs"] == 14_530_768_896
    assert rows["resnet18"]["macs"] == 14_508_490_752
    assert rows["i3d_resnet50"]["published"] == "i3d-resnet-50"
    assert rows["tsm_resnet50"]["published"] is None


def test_named_networks_for_people(run):
    code, out, _ = run("models", "TAM-b3-sum-resnet-18", "resnet_test")
    heading, *lines = out.splitlines()
    assert code == 0
    assert heading.split() == ["name", "family", "parameters", "conv-only", "MACs", "clip", "published", "as"]
    assert [line.split() for line in lines] == [
        ["TAM-b3-sum-resnet-18", "resnet", "11,180,928", "14,530,768,896", "8×224²", "TAM-b3-sum-resnet-18"],
        ["resnet_test", "resnet", "2,808", "154,624", "4×16²"],
    ]


def test_a_table_for_a_page(run, monkeypatch):
    monkeypatch.setattr("sys.argv", ["mmretrieval", "models", "resnet_test", "resnet18", "--markdown"])
    code, out, _ = run("models", "resnet_test", "resnet18", "--markdown")
    assert code == 0
    assert out == (
        "| name | family | parameters | MACs (conv-only) | clip | published as |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| `resnet_test` | resnet | 2,808 | 154,624 | 4×16² |  |\n"
        "| `resnet18` | resnet | 11,176,512 | 14,508,490,752 | 8×224² | resnet-18 |\n\n"
        "Made by `mmretrieval models resnet_test resnet18 --markdown`.\n"
    )
    code, out, _ = run("models", "resnet_test", "--markdown", "--time", "--batch", 2)
    heads, _, row = out.splitlines()[:3]
    assert code == 0 and heads.count("|") == row.count("|") == 10
    assert "MiB | " in row and " ms | " in row and "throughput of 2 at once" in out


def test_the_rule_of_counting(run):
    conv, everything = (
        json.loads(run("models", "resnet18", "--json", "--rule", rule)[1])[0]["macs"] for rule in cost.RULES
    )
    assert (conv, everything) == (14_508_490_752, 14_528_360_448)


def test_measured_columns(run, monkeypatch):
    timed = []

    def measure(networks, batch):
        timed.extend((name, next(net.parameters()).device.type) for name, net in networks.items())
        return {name: cost.Timing(0.25, 12.5, batch, 3) for name in networks}

    monkeypatch.setattr(cost, "measure", measure)
    code, out, _ = run("models", "resnet_test", "resnet-18", "--time", "--batch", 16)
    heading, test, large, note = out.splitlines()
    assert code == 0
    assert timed == [("resnet_test", "cpu"), ("resnet-18", "cpu")]
    assert heading.split()[-5:] == ["peak", "latency", "clips/s", "published", "as"]
    assert test.split()[-6:] == ["4×16²", "0", "MiB", "250.0", "ms", "12.50"]
    assert large.split()[-5:] == ["MiB", "250.0", "ms", "12.50", "resnet-18"]
    assert note == "throughput of 16 clips at once; 3 threads; medians of interleaved rounds"
    (row,) = json.loads(run("models", "resnet_test", "--time", "--json")[1])
    assert row["peak_bytes"] == pytest.approx(cost.peak_activations(cost.create_backbone("resnet_test")), rel=0.002)
    assert {key: row[key] for key in cost.Timing._fields} == {
        "latency": 0.25,
        "throughput": 12.5,
        "batch": 8,
        "threads": 3,
    }


def test_small_networks_are_really_timed(run):
    (row,) = json.loads(run("models", "resnet_test", "--time", "--batch", 2, "--json")[1])
    assert row["latency"] > 0 and row["throughput"] > 0
    assert (row["batch"], row["threads"]) == (2, torch.get_num_threads())


def test_released_weights(run):
    code, out, _ = run("models", "tam_resnet50", "--weights")
    assert code == 0
    assert out.splitlines() == [
        f"{short}-TAM-ResNet-50-f32.pth.tar: tam_resnet50, {dataset}, {top1} % top-1; Apache-2.0, checksum unknown; "
        f"https://github.com/IBM/action-recognition-pytorch/releases/download/weights-v0.1/{short}-TAM-ResNet-50-f32.pth.tar"
        for short, dataset, top1 in (("K400", "Kinetics-400", 76.18), ("SSV2", "Something-Something V2", 63.83))
    ]
    files = {row["file"]: row for row in json.loads(run("models", "--weights", "--json")[1])}
    assert len(files) == 20
    assert files["googlenet-1378be20.pth"]["sha256"] == "1378be20"
    assert files["googlenet-1378be20.pth"]["network"] == "inception_v1"
    assert run("models", "tsm_resnet50", "--weights")[1] == "no released weights are known for tsm_resnet50\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--time"],
            "--time takes minutes for all of them: name those to time, e.g. 'mmretrieval models resnet18 --time'",
        ),
        (
            ["resnet_test", "--json", "--markdown"],
            "--json and --markdown are two ways to print one table: give one of them",
        ),
        (["resnet_test", "--rule", "al"], "unknown rule 'al'. Did you mean 'all'? Known: conv-only, all."),
        (
            ["resnet-19"],
            f"unknown backbone 'resnet-19'. Did you mean 'resnet18'? 'mmretrieval models' lists all {len(backbones)}.",
        ),
    ],
)
def test_mistakes_end_in_one_line(run, arguments, expected):
    code, out, err = run("models", *arguments)
    assert (code, out, err) == (2, "", f"mmretrieval: {expected}\n")

"""Training on two processes, in chunks or not, is training on one with the whole batch."""

from pathlib import Path
from types import SimpleNamespace

import gloo
import pytest
import torch
import training_worker
from training_worker import CASES, COMPARED, ROUNDING, SPLITS

from mmretrieval.layers.synced import SyncedBatchNorm
from mmretrieval.run.retrieval import RetrievalWork
from mmretrieval.sections import TrainingSection

WORKER = Path(training_worker.__file__)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return gloo.run_two(WORKER, tmp_path_factory.mktemp("gloo"))


@pytest.fixture(scope="module")
def one():
    """One process with the whole batch, all at once; what is compared with both kinds of chunks."""
    return {
        name: training_worker.train(chunk=None, freeze_norm=CASES[name]["freeze"]) for name in ("whole", "unchunked")
    }


def reference(one, case):
    return one["whole" if case == "whole" else "unchunked"]


@pytest.mark.parametrize(("case", "split"), COMPARED)
def test_losses(two, one, case, split):
    expected = reference(one, case)
    assert len(expected["losses"]) == 6 and "cmcm/video_text" in expected["reports"][-1]
    for process in two:
        torch.testing.assert_close(process[case, split]["losses"], expected["losses"], rtol=ROUNDING, atol=0)
        for got, want in zip(process[case, split]["reports"], expected["reports"], strict=True):
            assert got.keys() == want.keys()
            torch.testing.assert_close(list(got.values()), list(want.values()), rtol=ROUNDING, atol=1e-6)


@pytest.mark.parametrize(("case", "split"), COMPARED)
def test_gradients(two, one, case, split):
    expected = reference(one, case)["gradients"]
    for process in two:
        got = process[case, split]["gradients"]
        assert got.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(
                got[name], gradient, rtol=1e-5, atol=ROUNDING, msg=lambda text, n=name: f"{n}: {text}"
            )


@pytest.mark.parametrize(("case", "split"), COMPARED)
def test_weights_statistics_and_codes_after_six_steps(two, one, case, split):
    expected = reference(one, case)["state"]
    assert expected["codebook.ready"] and expected["codebook.updates"] == 4
    for process in two:
        got = process[case, split]["state"]
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            # sums of vectors are as large as the vectors are many: relative to the largest of each tensor
            scale = max(1.0, float(value.double().abs().max()))
            torch.testing.assert_close(
                got[name], value, rtol=0, atol=ROUNDING * scale, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_training_moves_something(one):
    first = training_worker.tiny.model(started=False).state_dict()
    last = one["whole"]["state"]
    assert (
        last["branches.video.encoder.backbone.conv1.weight"] - first["branches.video.encoder.backbone.conv1.weight"]
    ).abs().max() > 1e-4
    assert one["whole"]["losses"][0] != one["unchunked"]["losses"][0]


@pytest.mark.parametrize("split", [*SPLITS, "lonely"])
def test_normalisation_over_processes(two, split):
    expected = training_worker.normalise()
    for kind in ("answers", "gradients"):
        for number in range(2):
            got = torch.cat([process["norms", split][kind][number] for process in two])
            torch.testing.assert_close(got, expected[kind][number], rtol=1e-5, atol=1e-6)
    for number in range(2):
        summed = sum(process["norms", split]["scale"][number] for process in two)
        torch.testing.assert_close(summed, expected["scale"][number], rtol=1e-5, atol=1e-6)
    for process in two:
        for name, value in expected["state"].items():
            torch.testing.assert_close(process["norms", split]["state"][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("processes", "settings", "synced"),
    [
        (1, {}, set()),
        (2, {}, {"encoder", "norm", "code_norm"}),
        (2, {"chunk_size": 4}, {"norm", "code_norm"}),
        (2, {"sync_norm": False}, set()),
    ],
)
def test_which_norms_see_all_processes(processes, settings, synced):
    model = training_worker.tiny.model()
    recipe = SimpleNamespace(training=TrainingSection(**settings))
    RetrievalWork(recipe, SimpleNamespace(num_processes=processes)).prepare_norms(model)
    found = {name.split(".")[2] for name, part in model.named_modules() if isinstance(part, SyncedBatchNorm)}
    assert found == synced

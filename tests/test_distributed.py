"""Two processes are one: loss, gradient, sums; and one process alone is itself."""

from pathlib import Path

import distributed_worker
import gloo
import pytest
import torch

from mmretrieval import distributed

WORKER = Path(distributed_worker.__file__)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return gloo.run_two(WORKER, tmp_path_factory.mktemp("gloo"))


@pytest.fixture(scope="module")
def one():
    return distributed_worker.step(distributed_worker.Tiny())


@pytest.mark.parametrize("split", ["even", "uneven"])
def test_two_processes_have_the_loss_of_one(two, one, split):
    for process in two:
        torch.testing.assert_close(process[split]["total"], one["total"])
        assert process[split]["report"].keys() == one["report"].keys()
        for name, loss in process[split]["report"].items():
            torch.testing.assert_close(loss, one["report"][name])


@pytest.mark.parametrize("split", ["even", "uneven"])
def test_two_processes_have_the_gradient_of_one(two, one, split):
    for process in two:
        for name, gradient in one["gradients"].items():
            assert gradient.abs().max() > 1e-4
            torch.testing.assert_close(process[split]["gradients"][name], gradient, atol=1e-6, rtol=1e-5)


def test_rows_of_all_processes_in_order(two):
    for number, process in enumerate(two):
        assert process["parts"]["gathered"].tolist() == [[1, 1], [2, 2], [2, 2]]
        assert process["parts"]["numbers"].tolist() == [0, 1]
        assert process["parts"]["place"] == (number, 2)


def test_gradients_of_all_processes_are_summed_once(two):
    # both processes use every row with weights + 1, whoever brought it
    assert two[0]["parts"]["gradient"].tolist() == [[2, 4]]
    assert two[1]["parts"]["gradient"].tolist() == [[6, 8], [10, 12]]
    for process in two:
        for gradient in process["parts"]["shared_gradient"]:
            assert (gradient == 2).all()


def test_sum_and_broadcast(two):
    for number, process in enumerate(two):
        assert process["parts"]["sum"].tolist() == [3]
        assert process["parts"]["after_sum"].tolist() == [number + 1]
        assert process["parts"]["broadcast"].tolist() == [7]


def test_alone_everything_is_the_identity():
    rows = torch.ones(2, 3, requires_grad=True)
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.gather_rows(rows) is rows
    assert distributed.broadcast(rows) is rows
    total = distributed.all_reduce_sum(rows)
    assert total is not rows and not total.requires_grad and torch.equal(total, rows)
    assert distributed.gather({}) == {}

"""One of several gloo processes that train the tiny model; test_two_processes.py also calls ``train`` alone."""

import sys
from pathlib import Path

import tiny
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmretrieval.data.manifest import Sample
from mmretrieval.distributed import rank, world_size
from mmretrieval.layers.synced import SyncedBatchNorm, synchronise_norms
from mmretrieval.objectives import build_objective
from mmretrieval.training.freeze import freeze
from mmretrieval.training.retrieval import RetrievalTask
from mmretrieval.types import Batch, Padded

ROWS, STEPS = 10, 6
ROUNDING = 5e-5
"""How far sums in another order may lead in six steps; with AVX2, AVX-512 or neither it is between 5e-6 and 8e-6."""

SAMPLES = [
    Sample(
        id=f"clip-{number}",
        video=None,
        speech=None,
        text=None,
        video_id=f"video-{number // 2 if number < 4 else number}",
    )
    for number in range(ROWS)
]
OBJECTIVE = {"amm": {}, "cmcm": {"weight": 0.5}, "commitment": {"weight": 0.3}}
SPLITS = {"even": [slice(0, 5), slice(5, 10)], "uneven": [slice(0, 3), slice(3, 10)]}
CASES = {
    # every batch normalisation learns, over the statistics of the global batch
    "whole": {"chunk": None, "freeze": []},
    # encoders in chunks; their normalisations are held, since a chunk is not the batch
    "chunked": {"chunk": 2, "freeze": ["branches.video.encoder", "branches.speech.encoder"]},
    "unchunked": {"chunk": None, "freeze": ["branches.video.encoder", "branches.speech.encoder"]},
}
COMPARED = [("whole", "even"), ("whole", "uneven"), ("chunked", "uneven"), ("unchunked", "uneven")]


def part_of(batch, rows):
    """The rows of one process, padded only as far as its own longest item needs."""
    inputs = {}
    for name, (values, mask) in batch.inputs.items():
        length = int(mask[rows].sum(1).max())
        inputs[name] = Padded(values[rows, :length], mask[rows, :length])
    return Batch(batch.ids[rows], inputs)


def train(rows=slice(None), chunk=None, freeze_norm=()):
    """Six steps, the codebook starting at the third: losses, first gradients, all weights and codes in the end."""
    freeze_norm = list(freeze_norm)
    model = tiny.model(started=False, dropout=0.0).train()
    encoders = [branch.encoder for branch in model.branches.values()]
    synchronise_norms(model, leave=encoders if chunk else [])
    freeze(model, {}, freeze_norm)
    module = DistributedDataParallel(model, find_unused_parameters=True) if world_size() > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
    task = RetrievalTask(model, module, build_objective(OBJECTIVE), SAMPLES, None, [], 0.3, chunk)
    losses, reports, gradients = [], [], None
    for step in range(STEPS):
        torch.manual_seed(100 * step + rank())  # what is random anywhere must not matter
        task.before_step(step, STEPS)
        total, report = task.losses(part_of(tiny.batch(ROWS, seed=step), rows))
        optimizer.zero_grad()
        total.backward()
        gradients = gradients or {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
        task.after_step()
        losses.append(float(total.detach()))
        reports.append({name: float(value) for name, value in report.items()})
    return {"losses": losses, "reports": reports, "gradients": gradients, "state": model.state_dict()}


def normalise(rows=slice(None)):
    """Two batch normalisations, one over vectors with a process that may have none, one over images."""
    torch.manual_seed(3)
    vectors, images = torch.randn(ROWS, 4, requires_grad=True), torch.randn(ROWS, 3, 5, 2, requires_grad=True)
    norms = [nn.BatchNorm1d(4, affine=False), nn.BatchNorm2d(3, momentum=None)]
    weights = torch.randn(ROWS, 4), torch.randn(ROWS, 3, 5, 2)
    holder = nn.ModuleList(norms)
    synchronise_norms(holder)
    assert all(isinstance(norm, SyncedBatchNorm) for norm in holder)
    with torch.no_grad():
        holder[1].weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
    for _ in range(2):
        answers = [norm(values[rows]) for norm, values in zip(holder, (vectors, images), strict=True)]
    sum((answer * weight[rows]).sum() for answer, weight in zip(answers, weights, strict=True)).backward()
    return {
        "answers": [answer.detach() for answer in answers],
        "gradients": [vectors.grad[rows], images.grad[rows]],
        "scale": (holder[1].weight.grad, holder[1].bias.grad),
        "state": holder.state_dict(),
    }


if __name__ == "__main__":
    number, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=world)
    results = {
        (case, split): train(rows[number], options["chunk"], options["freeze"])
        for case, options in CASES.items()
        for split, rows in SPLITS.items()
        if (case, split) in COMPARED
    }
    for split, rows in {**SPLITS, "lonely": [slice(0, 0), slice(0, 10)]}.items():
        results["norms", split] = normalise(rows[number])
    torch.save(results, folder / f"{number}.pt")
    dist.barrier()
    dist.destroy_process_group()

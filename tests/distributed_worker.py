"""One of several gloo processes; started by test_distributed.py with rank, world size and a folder to meet in."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmretrieval.distributed import all_reduce_sum, broadcast, gather, gather_rows, rank, world_size
from mmretrieval.objectives import build_objective
from mmretrieval.objectives.functional import same_groups
from mmretrieval.types import Encoding, Features, Quantized

NAMES = ("video", "speech", "text")
GROUPS = torch.tensor([0, 1, 2, 1, 3, 4, 5, 6])


class Tiny(nn.Module):
    """A linear map per modality to an embedding and to a distribution over codes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.ModuleDict({name: nn.Linear(6, 4) for name in NAMES})
        self.assign = nn.ModuleDict({name: nn.Linear(6, 5) for name in NAMES})

    def forward(self, inputs):
        encodings = {}
        for name, x in inputs.items():
            features = Features(x[:, None], torch.ones(len(x), 1, dtype=torch.bool), (1,))
            codes = torch.zeros(len(x), 1, dtype=torch.long)
            quantized = Quantized(features, codes, self.assign[name](x).softmax(-1), x.new_zeros(()))
            encodings[name] = Encoding(self.embed[name](x), features, quantized)
        return encodings


def inputs():
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(8, 6, generator=generator) for name in NAMES}


def step(model, part=slice(None)):
    """Losses and gradients of one step over the rows in ``part``."""
    objective = build_objective({"amm": {}, "shn": {}, "cmcm": {"weight": 0.1}})
    encodings = gather(model({name: x[part] for name, x in inputs().items()}))
    total, report = objective(encodings, same_groups(gather_rows(GROUPS[part])))
    model.zero_grad()
    total.backward()
    gradients = {name.removeprefix("module."): p.grad.clone() for name, p in model.named_parameters()}
    return {"total": total.detach(), "report": report, "gradients": gradients}


def primitives():
    """What each function gives here, and the gradient of one gathered tensor that is used twice."""
    rows = torch.full((1 + rank(), 2), float(rank() + 1), requires_grad=True)
    weights = torch.arange(6.0).reshape(3, 2)
    (gather_rows(rows) * weights + gather_rows(rows)).sum().backward()
    other = torch.full((1 + rank(), 2), 5.0, requires_grad=True)
    twin = torch.full((1 + rank(), 2), 5.0, requires_grad=True)
    # the sum hands one and the same gradient tensor to both, the product makes it a contiguous one
    ((gather_rows(other) + gather_rows(twin)) * torch.ones(3, 2)).sum().backward()
    mine = torch.tensor([float(rank())])
    return {
        "gathered": gather_rows(rows).detach(),
        "gradient": rows.grad,
        "shared_gradient": (other.grad, twin.grad),
        "numbers": gather_rows(torch.tensor([rank()])),
        "sum": all_reduce_sum(mine + 1),
        "after_sum": mine + 1,
        "broadcast": broadcast(mine + 7),
        "place": (rank(), world_size()),
    }


def main(number, world, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=world)
    halves, uneven = [slice(0, 4), slice(4, 8)], [slice(0, 3), slice(3, 8)]
    model = DistributedDataParallel(Tiny())
    results = {"even": step(model, halves[number]), "uneven": step(model, uneven[number]), "parts": primitives()}
    torch.save(results, Path(folder) / f"{number}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

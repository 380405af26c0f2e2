"""One of several gloo processes that train a codebook; started by test_codebook.py, which also calls ``train``."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from mmretrieval.codebook import EMACodebook
from mmretrieval.types import Features

SIZE, DIM, STEPS, ROWS = 12, 3, 9, 8


def batches(step):
    """Two modalities of one global step; lengths differ, so processes bring different numbers of real vectors."""
    random = torch.Generator().manual_seed(step)
    for length in (5, 3):
        values = torch.randn(ROWS, length, DIM, generator=random)
        mask = torch.arange(length) < torch.randint(1, length + 1, (ROWS, 1), generator=random)
        yield Features(values, mask, (length,))


def train(part=slice(None)):
    """Start by k-means and make nine steps on the rows in ``part``; codes far away die and are revived on the way."""
    codebook = EMACodebook(SIZE, DIM, decay=0.9, revive_after=3).train()
    # Every process calls with vectors of its own; those of the first must decide.
    start = torch.randn(60, DIM, generator=torch.Generator().manual_seed(part.start or 0))
    codebook.initialise(start)
    codebook.codes[7:] += 50
    codebook.sums.copy_(codebook.codes)
    revived = 0
    for step in range(STEPS):
        for features in batches(step):
            codebook(Features(features.values[part], features.mask[part], features.grid))
        far = (codebook.codes > 20).any(1).sum()
        codebook.update()
        revived += int(far - (codebook.codes > 20).any(1).sum())
    return {**codebook.state_dict(), "revived": torch.tensor(revived)}


if __name__ == "__main__":
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    share = ROWS // world
    torch.save(train(slice(rank * share, (rank + 1) * share)), folder / f"{rank}.pt")
    dist.destroy_process_group()

"""Which samples make up which batch: a pure function of seed, epoch and position, equal for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmretrieval.errors import RecipeError


class EpochSampler:
    """Shuffled batches of one epoch, from any position on.

    Every process sees the same global batches and takes its own contiguous part of each, so that training on W
    processes visits exactly what one process would. The last incomplete batch of an epoch is left out.

    Args:
        size: Samples in the data set.
        batch_size: Samples per global batch.
        seed: Seed of the shuffle.
        rank: This process.
        world_size: How many processes share a batch.

    Raises:
        RecipeError: Fewer samples than one batch, or a batch that the processes cannot share evenly.
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1):
        if size < batch_size:
            raise RecipeError(
                f"training.batch_size is {batch_size} but there are only {size} usable training clips: "
                f"lower it with training.batch_size={size} or add clips"
            )
        if batch_size % world_size:
            raise RecipeError(f"training.batch_size is {batch_size}; {world_size} processes cannot share it evenly")
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.start = 0

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches in one epoch."""
        return self.size // self.batch_size

    def seek(self, epoch: int, start: int = 0) -> None:
        """Make the next iteration begin at batch ``start`` of ``epoch``."""
        self.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        share = self.batch_size // self.world_size
        for batch in range(self.start, self.batches_per_epoch):
            first = batch * self.batch_size + self.rank * share
            yield order[first : first + share].tolist()

    def __len__(self) -> int:
        return self.batches_per_epoch - self.start

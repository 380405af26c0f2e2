"""Large batches on small machines: a network sees a few clips at a time, the loss sees all of them.

GradCache (Gao et al., arXiv 2101.06983, §3): the network runs over the batch chunk by chunk and keeps only what it
returns; the loss of the whole batch gives the gradient of that; each chunk then runs again, this time for its own
gradients. The second run is torch's checkpointing, which replays dropout and precision of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmretrieval.types import Padded


def in_chunks(function: Callable[[Padded], tuple], inputs: Padded, size: int, module: nn.Module) -> list[tuple]:
    """Return what ``function`` makes of each chunk of ``inputs`` (B, N, …), in order, with the gradient of the whole.

    Activations of at most one chunk are alive at any time; ``function`` runs twice per chunk where a gradient is
    wanted. It must treat items independently for the answer to be that of one call. Batch normalisation inside does
    not: in training it takes the statistics of its chunk (moving its running averages once per chunk, never in the
    second run), and is exact where it is frozen.

    Args:
        function: What to run.
        inputs: The whole batch; all chunks keep its padded length.
        size: Largest chunk. Chunks are as even as can be, so that none is left with a single item.
        module: Holds the normalisations that ``function`` runs.
    """
    count = -(-len(inputs.values) // size)
    parts = zip(inputs.values.tensor_split(count), inputs.mask.tensor_split(count), strict=True)
    return [
        checkpoint(function, Padded(*part), use_reentrant=False, context_fn=lambda: (nullcontext(), _still(module)))
        for part in parts
    ]


def rejoin(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put the rows of all chunks together again; one chunk is returned as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


@contextmanager
def _still(module: nn.Module) -> Iterator[None]:
    """Let batch normalisation work as ever but leave its running averages alone.

    They are still handed over, at momentum 0: the second run must save as many tensors as the first.
    """
    tracking = [norm for norm in module.modules() if isinstance(norm, _BatchNorm) and norm.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in tracking]
    for norm in tracking:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(tracking, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches

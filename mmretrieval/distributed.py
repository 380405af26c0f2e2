"""Several processes seen as one: gather with gradient, sum, broadcast. Without a process group all are identities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad

from mmretrieval.types import Encoding, Padded, Quantized


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, 0 for the first or only one."""
    return dist.get_rank() if world_size() > 1 else 0


class _GatherRows(torch.autograd.Function):
    """All-gather along the first axis whose backward sums the gradients of every process for this one's rows."""

    @staticmethod
    def forward(ctx, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        missing = max(counts) - len(rows)
        rows = pad(rows, (0, 0) * (rows.dim() - 1) + (0, missing)) if missing else rows.contiguous()
        parts = [torch.empty_like(rows) for _ in counts]
        dist.all_gather(parts, rows)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        # A copy: autograd may hand one gradient tensor to several functions, and all_reduce works in place.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        start = sum(ctx.counts[: rank()])
        return gradient[start : start + ctx.counts[rank()]], None


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows of all processes, in the order of their ranks and with gradient.

    Processes may bring different numbers of rows, as when one of them has set a broken clip aside: (B, …) becomes
    (ΣB, …).
    """
    return _GatherRows.apply(rows, _counts(rows)) if world_size() > 1 else rows


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum of ``values`` over all processes (a new tensor; no gradient)."""
    total = values.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def draw_rows(parts: Sequence[Tensor], wanted: int, seed: int, like: Tensor) -> Tensor:
    """Return up to ``wanted`` random rows of all processes' ``parts`` [(n, D)], the same ones on every process.

    Rows count part by part, process by process within each: as if one process had all of them. Every process brings
    as many parts; without any the answer is empty. ``like`` (…, D) gives type and device.
    """
    lengths = torch.zeros(len(parts), world_size(), dtype=torch.long, device=like.device)
    lengths[:, rank()] = torch.tensor([len(part) for part in parts], device=like.device)
    lengths = all_reduce_sum(lengths)
    starts = (lengths.flatten().cumsum(0) - lengths.flatten()).view_as(lengths)[:, rank()]
    generator = torch.Generator().manual_seed(seed)
    picked = torch.randperm(int(lengths.sum()), generator=generator)[:wanted].to(like.device)
    chosen = like.new_zeros(len(picked), like.shape[-1])
    for part, start in zip(parts, starts.tolist(), strict=True):
        here = (picked >= start) & (picked < start + len(part))
        chosen[here] = part[picked[here] - start].to(chosen)
    return all_reduce_sum(chosen)


def stack_all(values: Tensor) -> Tensor:
    """Return the (D,) vectors of all processes as (W, D), in the order of their ranks (no gradient)."""
    if world_size() == 1:
        return values.detach().unsqueeze(0)
    parts = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(parts, values.detach().contiguous())
    return torch.stack(parts)


def same_length(inputs: Padded) -> Padded:
    """Pad (B, N, …) to the longest N of all processes, with zeros that the mask hides.

    Batch statistics that look at padding are then those of one process that has padded the whole batch.
    """
    if world_size() == 1:
        return inputs
    length = inputs.mask.shape[1]
    missing = int(stack_all(torch.tensor([length], device=inputs.mask.device)).max()) - length
    if not missing:
        return inputs
    values = pad(inputs.values, (0, 0) * (inputs.values.dim() - 2) + (0, missing))
    return Padded(values, pad(inputs.mask, (0, missing)))


def broadcast(values: Tensor) -> Tensor:
    """Overwrite ``values`` in place with those of process 0, and return them."""
    if world_size() > 1:
        dist.broadcast(values, src=0)
    return values


def gather(encodings: Mapping[str, Encoding]) -> dict[str, Encoding]:
    """Gather what objectives compare across items, with gradient: embeddings and code distributions.

    Call it once per step, between the model and the objective, and use the loss as it is. Every process then computes
    the loss of the global batch, and its backward sums the gradients of all of them for its own rows. Data-parallel
    training averages over processes, and that average is the gradient of one process with the whole batch.

    The commitment becomes that of the global batch: the mean over all real positions, whichever process has how many.
    Fine-grained features stay local: no objective compares them across items.
    """
    if world_size() == 1 or not encodings:
        return dict(encodings)
    counts = _counts(next(iter(encodings.values())).embedding)
    return {name: _gather_encoding(encoding, counts) for name, encoding in encodings.items()}


def _gather_encoding(encoding: Encoding, counts: list[int]) -> Encoding:
    quantized = encoding.quantized
    if quantized is not None:
        quantized = quantized._replace(
            distribution=_GatherRows.apply(quantized.distribution, counts), commitment=_mean_commitment(quantized)
        )
    return encoding._replace(embedding=_GatherRows.apply(encoding.embedding, counts), quantized=quantized)


def _mean_commitment(quantized: Quantized) -> Tensor:
    """Return the mean over the real positions of all processes, () with gradient."""
    here = quantized.features.mask.sum().to(quantized.commitment)
    sums = _GatherRows.apply((quantized.commitment * here).reshape(1), [1] * world_size())
    return sums.sum() / all_reduce_sum(here).clamp_min(1)


def _counts(rows: Tensor) -> list[int]:
    """Return how many rows each process brings."""
    here = torch.tensor([len(rows)], device=rows.device)
    parts = [torch.empty_like(here) for _ in range(world_size())]
    dist.all_gather(parts, here)
    return torch.cat(parts).tolist()

"""Batch normalisation over all processes: the statistics of the global batch, on any device."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from mmretrieval.distributed import all_reduce_sum, stack_all, world_size


class SyncedBatchNorm(_BatchNorm):
    """Batch normalisation whose training statistics are those of all processes' values together.

    Counts, sums and squares are combined, not means of means, so processes may bring different numbers of values.
    Names and state are those of ``nn.BatchNorm1d`` to ``3d``; alone, or in evaluation, it is one of them. torch's own
    ``SyncBatchNorm`` does not run on a CPU.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"values of a batch normalisation have channels in their second axis, got {input.dim()}-D")

    def forward(self, values: Tensor) -> Tensor:
        """Normalise values (B, C, …)."""
        if not self.training or world_size() == 1:
            return super().forward(values)
        self._check_input_dim(values)
        normalised, mean, variance, count = _Normalise.apply(values, self.weight, self.bias, self.eps)
        if self.track_running_stats and self.running_mean is not None:
            self._track(mean, variance, count)
        return normalised

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running averages as ``nn.BatchNorm`` does, towards the unbiased variance."""
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        unbiased = variance * count / (count - 1).clamp_min(1)
        self.running_var.lerp_(unbiased.to(self.running_var), share)


class _Normalise(torch.autograd.Function):
    """(x − mean) / sqrt(var + eps) · weight + bias over the values of all processes."""

    @staticmethod
    def forward(ctx, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float):
        mean, variance, count = _statistics(values)
        if count <= 1:
            raise ValueError(f"batch normalisation needs more than one value per channel, got {tuple(values.shape)}")
        ctx.save_for_backward(values, weight, mean, (variance + eps).rsqrt(), count)
        ctx.affine = weight is not None
        ctx.mark_non_differentiable(mean, variance, count)
        normalised = F.batch_norm(values, mean.to(_wide(values)), variance.to(_wide(values)), weight, bias, eps=eps)
        return normalised, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, *_):
        values, weight, mean, scale, count = ctx.saved_tensors
        gradient = gradient.to(_wide(values))
        axes = [axis for axis in range(values.dim()) if axis != 1]
        normal = (values.to(gradient) - _channels(mean, values)) * _channels(scale, values)
        sums = torch.stack([gradient.sum(axes), (gradient * normal).sum(axes)])
        shares = all_reduce_sum(sums) / count
        back = gradient - _channels(shares[0], values) - normal * _channels(shares[1], values)
        back = back * _channels(scale * weight if ctx.affine else scale, values)
        return back.to(values.dtype), sums[1] if ctx.affine else None, sums[0] if ctx.affine else None, None


def _statistics(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), biased variance (C,) and count () of the values of all processes (Chan et al., 1979)."""
    axes = [axis for axis in range(values.dim()) if axis != 1]
    wide = values.to(_wide(values))
    number = wide.numel() // wide.shape[1]
    # a process without values has no mean; zeros weigh nothing
    variance, mean = torch.var_mean(wide, axes, correction=0) if number else wide.new_zeros(2, wide.shape[1])
    every = stack_all(torch.cat([mean, variance, mean.new_tensor([number])]))
    means, variances, numbers = every[:, :-1].tensor_split(2, dim=1) + (every[:, -1:],)
    count = numbers.sum()
    mean = (means * numbers).sum(0) / count
    variance = ((variances + (means - mean).square()) * numbers).sum(0) / count
    return mean, variance, count


def _wide(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _channels(vector: Tensor, values: Tensor) -> Tensor:
    """Give a vector (C,) the axes to broadcast over values (B, C, …)."""
    return vector.reshape(-1, *[1] * (values.dim() - 2))


def synchronise_norms(module: nn.Module, leave: Collection[nn.Module] = ()) -> None:
    """Replace every batch normalisation below ``module`` by one over all processes, in place.

    Parameters and buffers stay the same objects under the same names.

    Args:
        module: What to look through.
        leave: Modules that keep theirs.
    """
    for name, child in module.named_children():
        if any(child is other for other in leave):
            continue
        if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            setattr(module, name, _synced(child))
        else:
            synchronise_norms(child, leave)


def _synced(norm: _BatchNorm) -> SyncedBatchNorm:
    synced = SyncedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    if norm.affine:
        synced.weight, synced.bias = norm.weight, norm.bias
    if norm.track_running_stats:
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(synced, name, getattr(norm, name))
    return synced.train(norm.training)

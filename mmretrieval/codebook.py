"""The codebook that all modalities share: nearest codes, soft code distributions, and learning by moving averages.

Cross-modal discrete representation learning (arXiv 2106.05438) §2.2–2.3; the codebook learns as in VQ-VAE with
exponential moving averages. One training step is::

    quantized = {name: codebook(features) for name, features in …}   # the same codes for every modality
    loss.backward()
    codebook.update()                                                 # counts of all modalities and processes, once
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmretrieval.distributed import all_reduce_sum, broadcast, draw_rows, rank
from mmretrieval.errors import ModelError
from mmretrieval.layers.masking import masked_mean, zero_padding
from mmretrieval.types import Features, Quantized

_CHUNK = 1 << 17  # distances computed at a time: few enough for a core's cache, enough for the matrix product
_KEEP = 1 << 25  # distances kept for the backward pass (128 MiB); of more than that, none are kept


class EMACodebook(nn.Module):
    """K vectors of width D that features of every modality are replaced by.

    Codes are buffers without gradient: each is the moving average m / N of the vectors assigned to it, where
    N ← γN + (1 − γ)n and m ← γm + (1 − γ)Σh over all modalities and processes. Nothing is smoothed (Laplace): a code
    that nobody uses keeps its place until it is revived.

    Args:
        size: Number of codes, K.
        dim: Width of a code and of the features, D.
        decay: γ.
        distance: "l2" or "sq_l2": what the soft assignment exp(−d / tau) falls with.
        tau: Temperature of the soft assignment.
        revive_after: A code unused for so many updates in a row moves onto a random real vector of the step.
    """

    def __init__(
        self,
        size: int,
        dim: int,
        decay: float = 0.99,
        distance: str = "l2",
        tau: float = 1.0,
        revive_after: int = 100,
    ):
        super().__init__()
        if distance not in ("l2", "sq_l2"):
            raise ModelError(f"codebook distance '{distance}' is unknown: use 'l2' or 'sq_l2'")
        self.size = size
        self.dim = dim
        self.decay = decay
        self.distance = distance
        self.tau = tau
        self.revive_after = revive_after
        self.register_buffer("codes", torch.zeros(size, dim))
        self.register_buffer("sums", torch.zeros(size, dim))
        self.register_buffer("counts", torch.zeros(size))
        self.register_buffer("steps_unused", torch.zeros(size, dtype=torch.long))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        self._step = _Step()

    def extra_repr(self) -> str:
        return f"size={self.size}, dim={self.dim}, distance={self.distance!r}, tau={self.tau}"

    # -- use -----------------------------------------------------------------------------------------------------------

    def forward(self, features: Features) -> Quantized:
        """Replace each real position of features (B, N, D) by its nearest code.

        In training mode the assignments are remembered for the next ``update``; the codes themselves do not change.

        Raises:
            ModelError: The codebook has no codes yet.
        """
        if not self.ready:
            raise ModelError(
                "the codebook has no codes yet: call initialise(vectors) with features of every modality, or load a "
                "trained model"
            )
        with torch.autocast(features.values.device.type, enabled=False):
            values = zero_padding(_full_precision(features.values), features.mask)
            codebook = self.codes.to(values.dtype)
            distribution, codes = assign(values, features.mask, codebook, self.distance, self.tau)
            nearest = zero_padding(codebook[codes.clamp_min(0)], features.mask)
            errors = (values - nearest).square().sum(-1)
            commitment = masked_mean(errors.reshape(1, -1), features.mask.reshape(1, -1)).squeeze()
            if self.training:
                self._step.remember(values.detach(), codes, self.size, self._may_revive())
            # The codes, exactly, with the gradient of the features they replace (straight through).
            replaced = nearest + (values - values.detach()) if values.requires_grad else nearest
        return Quantized(features._replace(values=replaced), codes, distribution, commitment)

    # -- learning ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self, vectors: Tensor) -> None:
        """Start from the k-means centres of ``vectors`` (n, D), features of all modalities in equal parts.

        With several processes the first one's vectors decide.

        Raises:
            ModelError: Fewer vectors than codes.
        """
        if len(vectors) < self.size:
            raise ModelError(
                f"a codebook of {self.size} codes needs at least {self.size} vectors to start from, got "
                f"{len(vectors)}: give more, or make the codebook smaller"
            )
        centres = torch.zeros_like(self.codes)
        if rank() == 0:
            from sklearn.cluster import MiniBatchKMeans

            kmeans = MiniBatchKMeans(self.size, batch_size=max(1024, 4 * self.size), n_init=1, random_state=0)
            kmeans.fit(_full_precision(vectors).cpu().numpy())
            centres.copy_(torch.from_numpy(kmeans.cluster_centers_))
        self.start_from(broadcast(centres))

    @torch.no_grad()
    def start_from(self, codes: Tensor) -> None:
        """Take ``codes`` (K, D) as they are, each counted once, and forget all averages."""
        self.codes.copy_(codes)
        self.sums.copy_(codes)
        self.counts.fill_(1)
        self.steps_unused.zero_()
        self.updates.zero_()
        self.ready.fill_(True)
        self._step = _Step()

    @torch.no_grad()
    def update(self) -> None:
        """Move the codes to the vectors assigned since the last update, in all modalities and processes.

        Call it once per training step, after the backward pass, on every process.
        """
        step, self._step = self._step, _Step()
        nothing = torch.zeros_like(self.counts), torch.zeros_like(self.sums)
        counts, sums = nothing if step.counts is None else (step.counts.to(self.counts), step.sums.to(self.sums))
        counts, sums = all_reduce_sum(counts), all_reduce_sum(sums)
        if not counts.any():
            return
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        alive = self.counts > 1e-12
        self.codes[alive] = self.sums[alive] / self.counts[alive].unsqueeze(1)
        self.steps_unused.add_(1).masked_fill_(counts > 0, 0)
        self.updates.add_(1)
        self._revive(step.candidates)

    def _may_revive(self) -> bool:
        """Whether the coming update can find a dead code, so that the vectors of this step are worth keeping."""
        return bool((self.steps_unused + 1 >= self.revive_after).any())

    def _revive(self, candidates: list[Tensor]) -> None:
        """Move dead codes onto random real vectors of the step: embedding, average and count together.

        Were only the code replaced, the next update would divide the old average by the old count and undo it.
        """
        dead = (self.steps_unused >= self.revive_after).nonzero().flatten()
        if len(dead) == 0:
            return
        # seeded by the number of updates, so that a resumed run repeats the draw
        chosen = draw_rows(candidates, len(dead), int(self.updates), like=self.codes)
        dead = dead[: len(chosen)]
        self.codes[dead] = chosen
        self.sums[dead] = chosen
        self.counts[dead] = 1
        self.steps_unused[dead] = 0


class _Step:
    """What the forward passes of one training step leave for the update."""

    def __init__(self) -> None:
        self.counts: Tensor | None = None
        self.sums: Tensor | None = None
        self.candidates: list[Tensor] = []

    @torch.no_grad()
    def remember(self, values: Tensor, codes: Tensor, size: int, keep: bool) -> None:
        """Add the features (B, N, D) of one forward pass, assigned to ``codes`` (B, N); −1 is padding and is not."""
        bins = codes.flatten() + 1  # padding falls into bin 0, which costs less than gathering the real positions
        counts = torch.bincount(bins, minlength=size + 1)[1:].to(values.dtype)
        sums = values.new_zeros(size + 1, values.shape[-1]).index_add_(0, bins, values.flatten(0, 1))[1:]
        self.counts = counts if self.counts is None else self.counts + counts
        self.sums = sums if self.sums is None else self.sums + sums
        if keep:
            self.candidates.append(values[codes >= 0])


def _full_precision(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def assign(
    values: Tensor, mask: Tensor, codes: Tensor, distance: str = "l2", tau: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the mean soft assignment (B, K) of each row's real positions, and the nearest codes (B, N), −1 at padding.

    P(v | h) = exp(−d(h, e_v) / tau) / Σ_k exp(−d(h, e_k) / tau), averaged over the real positions (arXiv 2106.05438
    §2.3). The distribution carries a gradient to ``values`` (B, N, D), not to ``codes`` (K, D).
    """
    weights = mask.to(values.dtype) / mask.sum(dim=1, keepdim=True).clamp_min(1)
    distribution, nearest = _SoftAssignment.apply(values, weights, codes, distance, tau)
    return distribution, nearest.masked_fill(~mask, -1)


class _SoftAssignment(torch.autograd.Function):
    """Σ_l w_l softmax_v(−d(h_l, e_v) / τ), in chunks of rows so that memory stays bounded at any size.

    Autograd would keep half a dozen (B, N, K) tensors; this keeps the distances alone, and when they are too many
    computes them again on the way back.
    """

    @staticmethod
    def forward(ctx, values: Tensor, weights: Tensor, codes: Tensor, distance: str, tau: float):
        ctx.save_for_backward(values, weights, codes)
        ctx.distance, ctx.tau = distance, tau
        norms = codes.square().sum(-1)
        distributions, nearest = [], []
        keep = ctx.needs_input_grad[0] and values.shape[0] * values.shape[1] * len(codes) <= _KEEP
        ctx.distances = []
        for rows in _chunks(values, codes):
            distances = _distances(values[rows], codes, norms, distance)
            ctx.distances.append(distances if keep else None)
            nearest.append(distances.argmin(-1))
            probabilities = (distances / -tau).softmax(-1)
            distributions.append((weights[rows].unsqueeze(1) @ probabilities).squeeze(1))
        nearest = torch.cat(nearest)
        ctx.mark_non_differentiable(nearest)
        return torch.cat(distributions), nearest

    @staticmethod
    def backward(ctx, gradient: Tensor, _):
        values, weights, codes = ctx.saved_tensors
        norms = codes.square().sum(-1)
        back = torch.empty_like(values)
        for rows, distances in zip(_chunks(values, codes), ctx.distances, strict=True):
            if distances is None:
                distances = _distances(values[rows], codes, norms, ctx.distance)
            probabilities = (distances / -ctx.tau).softmax(-1)
            outer = gradient[rows].unsqueeze(1)
            # softmax: p (g − Σ p g), times dlogit/dd = −1/τ, times dd/dh = (h − e)/d for l2 and 2(h − e) for sq_l2
            pull = (outer - probabilities @ outer.transpose(1, 2)).mul_(probabilities)
            pull = pull.div_(distances) if ctx.distance == "l2" else pull.mul_(2)
            towards = values[rows] * pull.sum(-1, keepdim=True) - pull @ codes
            back[rows] = towards.mul_((weights[rows] / -ctx.tau).unsqueeze(-1))
        return back, None, None, None, None


def _chunks(values: Tensor, codes: Tensor) -> list[slice]:
    rows = max(1, _CHUNK // (values.shape[1] * len(codes)))
    return [slice(start, start + rows) for start in range(0, len(values), rows)]


def _distances(values: Tensor, codes: Tensor, norms: Tensor, distance: str) -> Tensor:
    """Return distances (b, N, K); the square is kept above 1e-12, where the root's gradient is still finite."""
    squared = norms + values.square().sum(-1, keepdim=True) - 2 * (values @ codes.T)
    squared = squared.clamp_min_(1e-12)
    return squared.sqrt_() if distance == "l2" else squared

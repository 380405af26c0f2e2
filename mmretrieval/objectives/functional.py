"""The arithmetic of the objectives: a similarity matrix or two code distributions in, one number out.

No device, no rank, no state. S is (B, B) with the first modality in its rows: S[i, j] compares item i of the first
with item j of the second, and the diagonal holds the positives. ``nce``, ``shn``, ``mms`` and ``amm`` are the sum of
both directions, as in Spoken Moments (arXiv 2105.04489, §2.3.1); the same names ending in ``_rows`` are one direction,
rows looking for their column, and the other direction is that of ``S.T``.

Every form takes ``same``, a (B, B) bool mask of pairs that describe one thing and so are no negatives: they leave the
softmax, the search for a hard negative and the mean of the adaptive margin. The diagonal always stays the positive,
whatever ``same`` says of it. A row that has no negative left has the loss 0 and no gradient.

Half-precision input is computed in float32 (dot products without a temperature can reach hundreds); float64 stays.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST_PROBABILITY = 1e-30
"""Code probabilities are clamped here before the logarithm; its inverse, the steepest slope, still fits float32."""

LOWEST_LOG = -1e6
"""Log-probabilities are clamped here: 0 · −inf is no number."""


def nce(S: Tensor, include_positive: bool = True, same: Tensor | None = None) -> Tensor:
    """Return the noise-contrastive loss of both directions.

    With ``include_positive`` this is InfoNCE. Without, it is Eq. 1 of arXiv 2105.04489 as printed: the denominator
    holds the negatives only, and the loss has no lower bound.

    Raises:
        ValueError: S is not a square matrix of at least two items, or ``same`` does not fit it.
    """
    return nce_rows(S, include_positive, same) + nce_rows(S.T, include_positive, _transposed(same))


def nce_rows(S: Tensor, include_positive: bool = True, same: Tensor | None = None) -> Tensor:
    """Return the noise-contrastive loss of one direction: each row looks for its column."""
    if include_positive:
        return mms_rows(S, 0.0, same)
    S, negatives = _prepare(S, same)
    lonely = ~negatives.any(dim=1)
    # A lonely row keeps finite logits through the logsumexp: the gradient of one over −inf alone would be NaN.
    logits = S.masked_fill(~negatives & ~lonely[:, None], -math.inf)
    losses = logits.logsumexp(dim=1) - S.diagonal()
    return losses.masked_fill(lonely, 0.0).mean()


def shn(S: Tensor, margin: float = 1.0, same: Tensor | None = None) -> Tensor:
    """Return the semi-hard triplet loss of both directions (arXiv 2105.04489, §2.3.1).

    The negative is the most similar one that is still strictly less similar than the positive; an item that has none
    adds 0.

    Raises:
        ValueError: S is not a square matrix of at least two items, or ``same`` does not fit it.
    """
    return shn_rows(S, margin, same) + shn_rows(S.T, margin, _transposed(same))


def shn_rows(S: Tensor, margin: float = 1.0, same: Tensor | None = None) -> Tensor:
    """Return the semi-hard triplet loss of one direction."""
    S, negatives = _prepare(S, same)
    positive = S.diagonal()
    admissible = negatives & (positive[:, None] > S)
    # −inf and not 0 hides the others: a product with the mask would let a hidden 0 beat true negative similarities.
    hardest = S.masked_fill(~admissible, -math.inf).amax(dim=1)
    return (hardest - positive + margin).clamp(min=0.0).mean()


def mms(S: Tensor, margin: float = 1e-3, same: Tensor | None = None) -> Tensor:
    """Return the masked margin softmax loss of both directions (arXiv 2105.04489, Eq. 2).

    The positive similarity is lowered by ``margin`` before the softmax; 0 is InfoNCE.

    Raises:
        ValueError: S is not a square matrix of at least two items, or ``same`` does not fit it.
    """
    return mms_rows(S, margin, same) + mms_rows(S.T, margin, _transposed(same))


def mms_rows(S: Tensor, margin: float = 1e-3, same: Tensor | None = None) -> Tensor:
    """Return the masked margin softmax loss of one direction."""
    return _margin_softmax(S, margin, same)


def amm(
    S: Tensor,
    alpha: float = 0.5,
    shared_margin: bool = False,
    detach_margin: bool = False,
    same: Tensor | None = None,
) -> Tensor:
    """Return the adaptive mean margin loss of both directions (arXiv 2105.04489, Eq. 3).

    The margin of an item is ``alpha`` times the distance from its mean negative to its positive. It is not clamped,
    so it is negative where the positive is still below the mean negative. ``alpha`` 0 is InfoNCE.

    Args:
        S: Similarities (B, B).
        alpha: Share of that distance.
        shared_margin: Use the margins of the rows for the columns too, as a public re-implementation does. By default
            each direction has its own.
        detach_margin: Let no gradient through the margin. By default it flows, so that ``alpha`` 1 takes the positive
            similarity out of the optimisation, as the paper says.
        same: Pairs (B, B) that are no negatives; the mean leaves them out too.

    Raises:
        ValueError: S is not a square matrix of at least two items, or ``same`` does not fit it.
    """
    margins = amm_margins(S, alpha, same)
    backward_margins = margins if shared_margin else amm_margins(S.T, alpha, _transposed(same))
    if detach_margin:
        margins, backward_margins = margins.detach(), backward_margins.detach()
    return _margin_softmax(S, margins, same) + _margin_softmax(S.T, backward_margins, _transposed(same))


def amm_rows(S: Tensor, alpha: float = 0.5, detach_margin: bool = False, same: Tensor | None = None) -> Tensor:
    """Return the adaptive mean margin loss of one direction."""
    margins = amm_margins(S, alpha, same)
    return _margin_softmax(S, margins.detach() if detach_margin else margins, same)


def amm_margins(S: Tensor, alpha: float = 0.5, same: Tensor | None = None) -> Tensor:
    """Return the adaptive margins (B,) of the rows: alpha · (positive − mean negative), 0 without a negative."""
    S, negatives = _prepare(S, same)
    count = negatives.sum(dim=1)
    mean = S.masked_fill(~negatives, 0.0).sum(dim=1) / count.clamp(min=1)
    return (alpha * (S.diagonal() - mean)).masked_fill(count == 0, 0.0)


def code_similarity(P: Tensor, Q: Tensor, *, log: bool = False) -> Tensor:
    """Return how alike code distributions are: (B, B), never above 0, rows for P and columns for Q.

    The negative symmetric cross-entropy Σ P log Q + Σ Q log P of Cross-Modal Code Matching (arXiv 2106.05438, §2.3).

    Args:
        P: Distributions (B, K) over the K codes, one per item of the first modality.
        Q: The same for the second modality.
        log: Whether P and Q hold log-probabilities. They keep what underflows as a probability.

    Raises:
        ValueError: P and Q are not matrices over the same number of codes.
    """
    if P.dim() != 2 or Q.dim() != 2 or P.shape[1] != Q.shape[1]:
        raise ValueError(
            f"code distributions are two (B, K) matrices over the same K codes, got {tuple(P.shape)} and "
            f"{tuple(Q.shape)}"
        )
    P, Q = _at_least_float32(P), _at_least_float32(Q)
    # Autocast would run these products in half precision, and the logarithms span tens.
    with torch.autocast(P.device.type, enabled=False):
        if log:
            log_P, log_Q, P, Q = P.clamp(min=LOWEST_LOG), Q.clamp(min=LOWEST_LOG), P.exp(), Q.exp()
        else:
            log_P, log_Q = P.clamp(min=SMALLEST_PROBABILITY).log(), Q.clamp(min=SMALLEST_PROBABILITY).log()
        return P @ log_Q.T + log_P @ Q.T


def cmcm(P: Tensor, Q: Tensor, both: bool = True, same: Tensor | None = None) -> Tensor:
    """Return the Cross-Modal Code Matching loss (arXiv 2106.05438, §2.3): InfoNCE over code similarities.

    Unlike the losses over embeddings, ``both`` is the **mean** of the two directions, so that its scale, and with it
    the weight 0.1 of the paper, stays that of the one-directional form.

    Args:
        P: Distributions (B, K) of the first modality.
        Q: Distributions (B, K) of the second modality.
        both: Average both directions; False keeps P looking for Q only.
        same: Pairs (B, B) that are no negatives.

    Raises:
        ValueError: P and Q are not (B, K) with the same B ≥ 2 and K, or ``same`` does not fit them.
    """
    S = code_similarity(P, Q)
    return nce(S, same=same) / 2 if both else nce_rows(S, same=same)


def same_groups(groups: Tensor) -> Tensor:
    """Return the ``same`` mask (B, B) of items numbered by what they describe: ``groups`` (B,), e.g. one per video."""
    return groups[:, None] == groups[None, :]


def _margin_softmax(S: Tensor, margins: Tensor | float, same: Tensor | None) -> Tensor:
    """Mean over rows of the cross-entropy of the diagonal, lowered by its margin, against the negatives."""
    S, negatives = _prepare(S, same)
    positive = torch.eye(len(S), dtype=torch.bool, device=S.device)
    lowered = S - (margins[:, None] if isinstance(margins, Tensor) else margins)
    # The positive never leaves, so every row keeps a finite logit and a lonely row has loss 0 and gradient 0.
    logits = torch.where(positive, lowered, S).masked_fill(~(negatives | positive), -math.inf)
    return (logits.logsumexp(dim=1) - logits.diagonal()).mean()


def _prepare(S: Tensor, same: Tensor | None) -> tuple[Tensor, Tensor]:
    """Check the shapes; return S in at least float32 and the (B, B) mask of its negatives."""
    if S.dim() != 2 or S.shape[0] != S.shape[1]:
        raise ValueError(
            f"similarities of paired items are a square (B, B) matrix, got {tuple(S.shape)}: both modalities need the "
            "same items in the same order"
        )
    if len(S) < 2:
        raise ValueError(f"a contrastive loss compares at least 2 items, got {len(S)}: use larger batches")
    negatives = ~torch.eye(len(S), dtype=torch.bool, device=S.device)
    if same is not None:
        if same.shape != S.shape or same.dtype != torch.bool:
            raise ValueError(
                f"same must be a bool mask of shape {tuple(S.shape)}, got {same.dtype} of shape {tuple(same.shape)}"
            )
        negatives = negatives & ~same
    return _at_least_float32(S), negatives


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _transposed(same: Tensor | None) -> Tensor | None:
    return None if same is None else same.T

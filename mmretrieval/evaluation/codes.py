"""How a codebook is used: how many codes live, how evenly, and whether the modalities share them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from mmretrieval.types import MODALITIES

SHARED_FROM = 0.2
"""A code is balanced when each modality makes more than this share of its assignments (CMG, NeurIPS 2023, Fig. 4)."""


def code_counts(codes: Any, size: int) -> np.ndarray:
    """Count how often each code is assigned, (K,).

    Args:
        codes: Code ids of one modality, −1 where padded: one array of any shape, or several of different lengths.
        size: Number of codes in the codebook, K.

    Raises:
        ValueError: An id is outside the codebook.
    """
    parts = codes if isinstance(codes, list | tuple) else [codes]
    ids = np.concatenate([np.asarray(part).ravel() for part in parts] or [np.empty(0)]).astype(np.int64)
    if len(ids) and (ids.min() < -1 or ids.max() >= size):
        outside = ids[(ids < -1) | (ids >= size)][0]
        raise ValueError(f"codes of a codebook of {size} are 0 to {size - 1}, or -1 where padded; got {outside}")
    return np.bincount(ids[ids >= 0], minlength=size)


def code_report(codes: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Describe how modalities use a shared codebook, from the code ids of a set of samples.

    Args:
        codes: Modality → its code ids, −1 where padded; see ``code_counts``.
        size: Number of codes in the codebook, K.

    Returns:
        As ``usage_report``.

    Raises:
        ValueError: An id is outside the codebook, or a modality has no real position.
    """
    return usage_report({name: code_counts(ids, size) for name, ids in codes.items()})


def usage_report(counts: Mapping[str, Iterable[int]]) -> dict[str, Any]:
    """Describe how modalities use a shared codebook, from how often each assigned each code.

    Args:
        counts: Modality → assignments per code (K,).

    Returns:
        ``size`` K; ``used`` codes assigned at least once by any modality, and ``dead`` the others; ``shared``, the
        share (0–1) of used codes that at least two modalities used; ``balanced``, the share of used codes of which
        every modality makes more than a fifth, each modality first scaled to the same total (a video has many more
        positions than a caption); ``perplexity``, the effective number of codes, of each modality and ``joint`` of
        all assignments together; ``jsd``, the Jensen–Shannon divergence in bits (0 the same codes, 1 no code in
        common) between the usage of each pair of modalities.

    Raises:
        ValueError: There is no modality, their counts differ in length, or one has no assignment at all.
    """
    names = [name for name in MODALITIES if name in counts] + [name for name in counts if name not in MODALITIES]
    arrays = {name: np.asarray(counts[name], dtype=np.float64) for name in names}
    if len({array.shape for array in arrays.values()}) != 1 or next(iter(arrays.values())).ndim != 1:
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ValueError(f"each modality needs one count per code of one codebook, got {shapes}")
    for name, array in arrays.items():
        if array.sum() == 0:
            raise ValueError(f"'{name}' assigned no code: every position is padding, or there is no sample")
    table = np.stack(list(arrays.values()))
    usage = table / table.sum(axis=1, keepdims=True)
    used = table.sum(axis=0) > 0
    shares = usage[:, used] / usage[:, used].sum(axis=0)
    return {
        "size": table.shape[1],
        "used": int(used.sum()),
        "dead": int((~used).sum()),
        "shared": float(((table[:, used] > 0).sum(axis=0) >= 2).mean()),
        "balanced": float((shares > SHARED_FROM).all(axis=0).mean()) if len(names) > 1 else 0.0,
        "perplexity": {
            "joint": _perplexity(table.sum(axis=0)),
            **{name: _perplexity(row) for name, row in zip(names, table, strict=True)},
        },
        "jsd": {
            f"{names[i]}_{names[j]}": _divergence(usage[i], usage[j]) for i, j in combinations(range(len(names)), 2)
        },
    }


def _perplexity(counts: np.ndarray) -> float:
    """Exponential of the entropy: K equally used codes have K, one code has 1."""
    return float(2 ** _bits(counts / counts.sum()))


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen–Shannon divergence in bits; rounding may not push it below 0."""
    return max(0.0, _bits((p + q) / 2) - (_bits(p) + _bits(q)) / 2)


def _bits(p: np.ndarray) -> float:
    """Entropy in bits."""
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())

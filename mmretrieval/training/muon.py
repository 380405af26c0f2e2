"""Muon for the kernels of convolutions, AdamW for everything else, as one optimiser with one state."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOMENTUM = 0.95
_STEPS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.AdamW):
    """AdamW, except for parameter groups marked ``orthogonal``: those take Muon's steps.

    Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon) replaces the averaged gradient of a matrix by the
    nearest matrix whose singular values are all about 1, so that directions which a gradient hardly shows are learned
    as fast as those that dominate it. A kernel (out, in, …) counts as the matrix (out, in · …). ``torch.optim.Muon``
    takes no kernels, which is why this class exists.

    The step is lr · max(1, rows / columns)^½ · orthogonalised(g + momentum), without weight decay: kernels before a
    batch normalisation have no scale of their own.
    """

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Take one step; ``closure`` is not supported, as nothing here evaluates a loss twice."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        groups = self.param_groups
        for group in groups:
            if group.get("orthogonal"):
                for kernel in group["params"]:
                    if kernel.grad is not None:
                        self._step_kernel(kernel, group["lr"])
        self.param_groups = [group for group in groups if not group.get("orthogonal")]
        try:
            super().step()
        finally:
            self.param_groups = groups

    def _step_kernel(self, kernel: Tensor, lr: float) -> None:
        state = self.state[kernel]
        if not state:
            # AdamW expects a count of steps in every state it reads from a checkpoint
            state["step"] = torch.zeros(())
            state["momentum"] = torch.zeros_like(kernel)
        state["step"] += 1
        state["momentum"].lerp_(kernel.grad, 1 - MOMENTUM)
        update = orthogonalised(kernel.grad.lerp(state["momentum"], MOMENTUM).flatten(1))
        rows, columns = update.shape
        kernel.add_(update.view_as(kernel), alpha=-lr * math.sqrt(max(1.0, rows / columns)))


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return U·S'·Vᵀ for a matrix U·S·Vᵀ, all of S' near 1 (0.7 to 1.2), by five Newton–Schulz steps.

    A step multiplies by a polynomial of X·Xᵀ, and such polynomials commute: so the steps are taken on the small square
    X·Xᵀ alone and X is multiplied once, by the product of all polynomials; a kernel of (192, 192, 1, 9) takes a third
    of the time. Needs nothing but products, in the precision of the matrix; a matrix of zeros stays one.
    """
    turned = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if turned else matrix
    x = x / x.norm().clamp_min(1e-7)
    gram = x @ x.T
    factor = _polynomial(gram)
    product = factor
    for _ in range(_STEPS - 1):
        gram = factor @ gram @ factor
        factor = _polynomial(gram)
        product = factor @ product
    x = product @ x
    return x.T if turned else x


def _polynomial(gram: Tensor) -> Tensor:
    """Return a + b·G + c·G²."""
    a, b, c = _COEFFICIENTS
    result = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    result.diagonal().add_(a)
    return result

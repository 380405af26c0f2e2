"""Convolutions of one place with a stride, as the shortcuts of residual networks have them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PointConv2d(nn.Conv2d):
    """A 1x1 convolution that first drops the places its stride passes over; parameters and results are ``Conv2d``'s.

    oneDNN's weight gradient of a strided 1x1 convolution with fewer than eight input channels, in channels-last memory
    on CPUs with AVX2, writes past its memory: wrong gradients, a crash, or two threads that wait for ever
    (uxlfoundation/oneDNN#6035).
    """

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', ⌈H / stride⌉, ⌈W / stride⌉)."""
        down, right = self.stride
        return F.conv2d(maps[:, :, ::down, ::right], self.weight, self.bias, groups=self.groups)

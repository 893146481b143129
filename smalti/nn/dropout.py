"""Dropout that is faster than torch's on a CPU.

PyTorch's own draws its masks bit by bit on a CPU, which took a fifth of a training step of a
PixelCNN; a mask from uniform numbers takes a fourth of that.

References:
    Dropout: A Simple Way to Prevent Neural Networks from Overfitting, N. Srivastava et al., 2014.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dropout"]


class Dropout(nn.Dropout):
    """Works like `torch.nn.Dropout`, but faster on a CPU.

    Example:
        >>> Dropout(0.5).eval()(torch.ones(3))
        tensor([1., 1., 1.])
        >>> sorted(set(Dropout(0.75)(torch.ones(200)).tolist()))
        [0.0, 4.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        """Zeroes numbers of any shape at random; scales the others."""
        if not self.training or not 0 < self.p < 1 or input.device.type != "cpu":
            return super().forward(input)
        uniform = torch.rand_like(input, dtype=torch.float32)
        return input * uniform.ge_(self.p).div_(1 - self.p).to(input.dtype)

"""Snake: an activation for what is periodic.

    snake(x) = x + sin²(α x) / α

It rises as x does, with waves of a frequency that each channel learns.

References:
    Neural Networks Fail to Learn Periodic Functions and How to Fix It, L. Ziyin, T. Hartwig and M.
    Ueda, 2020, arXiv 2006.08195.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Snake"]


class Snake(nn.Module):
    """Snake with a frequency α of each channel: (B, C, 1, T) → (B, C, 1, T).

    Arguments:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, 1, T) to the same shape."""
        return x + (self.alpha * x).sin().square() / (self.alpha + 1e-9)

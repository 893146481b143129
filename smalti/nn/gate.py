"""The gated activation of PixelCNN: tanh(a) · σ(b).

References:
    Conditional Image Generation with PixelCNN Decoders, A. van den Oord et al., 2016, arXiv
    1606.05328.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gate"]


def gate(x: Tensor, dim: int) -> Tensor:
    """Multiplies tanh of the first half along `dim` by σ of the second: (…, 2C, …) to (…, C, …).

    Example:
        >>> gate(torch.tensor([[1.0, 0.0], [0.0, 100.0]]), dim=1)
        tensor([[0.3808],
                [0.0000]])
    """
    a, b = x.chunk(2, dim)
    return torch.tanh(a) * torch.sigmoid(b)

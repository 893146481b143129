"""Sinusoidal position embeddings, which tell a transformer where an element of a sequence is.

References:
    Attention Is All You Need, A. Vaswani et al., 2017, arXiv 1706.03762, section 3.5.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sinusoidal_positions"]


def sinusoidal_positions(length: int, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns sines and cosines of the positions 0 to T − 1, (T, C): sines first.

    Example:
        >>> sinusoidal_positions(2, 2)
        tensor([[0.0000, 1.0000],
                [0.8415, 0.5403]])
    """
    frequencies = 10_000.0 ** -(torch.arange(0, channels, 2, dtype=dtype) / channels)
    angles = torch.arange(length)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :channels]

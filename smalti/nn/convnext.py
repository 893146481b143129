"""ConvNeXt blocks for signals of one dimension: a wide convolution of each channel, then a network
at each place.

    x + scale · linear(gelu(linear(norm(depthwise(x)))))

References:
    A ConvNet for the 2020s, Z. Liu, H. Mao, C.-Y. Wu, C. Feichtenhofer, T. Darrell and S. Xie,
    2022, arXiv 2201.03545.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.nn.padded_convolutions import PaddedConv1d
from smalti.nn.streaming import EachPlace, Residual

__all__ = ["Scale", "convnext_block"]

KERNEL = 7
EXPANSION = 3  # as Vocos has it; the paper's is 4


class Scale(nn.Module):
    """Multiplies each channel with a learned number: (..., C) → (..., C).

    Arguments:
        channels: C.
        value: The number at first.
    """

    def __init__(self, channels: int, value: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., C) to the same shape."""
        return self.scale * x


def convnext_block(channels: int, scale: float, causal: bool) -> Residual:
    """Makes a ConvNeXt block, (B, C, 1, T) → (B, C, 1, T).

    Arguments:
        channels: C.
        scale: What its branch is multiplied with at first.
        causal: Whether it looks at earlier positions alone.
    """
    return Residual(
        PaddedConv1d(channels, channels, KERNEL, groups=channels, causal=causal),
        EachPlace(
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, EXPANSION * channels),
            nn.GELU(),
            nn.Linear(EXPANSION * channels, channels),
            Scale(channels, scale),
        ),
    )

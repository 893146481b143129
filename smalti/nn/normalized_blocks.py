"""Blocks of convolutional networks with group normalization, for 1-D and 2-D signals.

References:
    Group Normalization, Y. Wu and K. He, 2018, arXiv 1803.08494.
    Taming Transformers for High-Resolution Image Synthesis, P. Esser, R. Rombach and B. Ommer,
    2021, arXiv 2012.09841, appendix A, on the blocks of a decoder.
"""

from __future__ import annotations

import math

from einops import rearrange
from torch import Tensor, nn

from smalti.nn.attention import attend
from smalti.nn.blocks import conv_layers

__all__ = ["NormalizedResidualBlock", "SpatialAttention", "group_norm"]

MOST_GROUPS, FEWEST_CHANNELS = 32, 4


def group_norm(channels: int) -> nn.GroupNorm:
    """Makes a group normalization of up to 32 groups, of at least 4 channels where it can.

    Example:
        >>> group_norm(64).num_groups, group_norm(12).num_groups, group_norm(9).num_groups
        (16, 2, 1)
    """
    groups = math.gcd(MOST_GROUPS, channels)
    while groups > 1 and channels // groups < FEWEST_CHANNELS:
        groups //= 2
    return nn.GroupNorm(groups, channels)


class NormalizedResidualBlock(nn.Module):
    """A residual block before whose convolutions values are normalized: x + f(f(x)).

    f is a group normalization, SiLU and a convolution of 3.

    Arguments:
        channels: C of the input and output, (B, C, *size).
        spatial_dims: 1 or 2.
    """

    def __init__(self, channels: int, spatial_dims: int = 2) -> None:
        super().__init__()
        convolution = conv_layers(spatial_dims).convolution
        self.branch = nn.Sequential(
            group_norm(channels),
            nn.SiLU(),
            convolution(channels, channels, 3, padding=1),
            group_norm(channels),
            nn.SiLU(),
            convolution(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, *size) to (B, C, *size)."""
        return x + self.branch(x)


class SpatialAttention(nn.Module):
    """Attention with one head of each position to all positions, added to the input.

    Arguments:
        channels: C of the input and output, (B, C, *size).
        spatial_dims: 1 or 2.
    """

    def __init__(self, channels: int, spatial_dims: int = 2) -> None:
        super().__init__()
        convolution = conv_layers(spatial_dims).convolution
        self.norm = group_norm(channels)
        self.project = convolution(channels, 3 * channels, 1)
        self.out = convolution(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, *size) to (B, C, *size)."""
        size = x.shape[2:]
        q, k, v = (
            rearrange(part, "b c ... -> b (...) c")
            for part in self.project(self.norm(x)).chunk(3, dim=1)
        )
        seen = attend(q, k, v)
        return x + self.out(rearrange(seen, "b n c -> b c n").unflatten(2, size))

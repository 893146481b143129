"""The context map of a prior: features of its condition at each position, (B, C, H, W).

Of a label or a time c, it is m(c, ij): for a clock, whether a hand at this angle passes here. m is
a small network of features of the condition and features of the position, whose first layer
multiplies the two: a hand's direction times a position is the distance along the hand, which a sum
could not give. Without a condition the same path gives a learned sense of place.

Of grids g_1 … g_L above, in a hierarchy, it is

    s_ij = m(c, ij) + Σ_l u_l(g_l)_ij

with c what those grids were given, if anything. u_l embeds the indices of grid l, looks around with
a few residual convolutions, and stretches what it saw over the grid below: a transposed convolution
makes of each position ⌈H/h⌉ × ⌈W/w⌉, each by a matrix of its own, so that the places below one
position above differ; where that is more than H × W, the nearest ones are taken.

References:
    Generating Diverse High-Fidelity Images with VQ-VAE-2, A. Razavi, A. van den Oord and O.
    Vinyals, 2019, arXiv 1906.00446 (residual convolutions over the embedded grid above).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.conditions import CoarseTokens, Condition
from smalti.nn.blocks import ResidualStack
from smalti.nn.embeddings import DepthEmbedding

__all__ = ["ContextMap", "GridMap", "GridsContextMap", "context_map"]

BLOCKS = 2  # residual blocks over a grid above: they see two positions around


def context_map(
    shape: tuple[int, int], condition: Condition | None, channels: int
) -> ContextMap | GridsContextMap:
    """Builds the module that maps values of a condition to (B, C, H, W); None to (1, C, H, W).

    Arguments:
        shape: (H, W).
        condition: What kind of value, if any.
        channels: C.

    Example:
        >>> above = CoarseTokens([16], [(2, 2)])
        >>> context_map((4, 4), above, 8)(above.draw(3)).shape
        torch.Size([3, 8, 4, 4])
    """
    if isinstance(condition, CoarseTokens):
        return GridsContextMap(shape, condition, channels)
    return ContextMap(shape, condition, channels)


class ContextMap(nn.Module):
    """Maps values of a condition to features m(c, ij) of each position of the grid.

    Arguments:
        shape: (H, W).
        condition: What kind of value, if any.
        channels: C.
    """

    coordinates: Tensor

    def __init__(self, shape: tuple[int, int], condition: Condition | None, channels: int) -> None:
        super().__init__()
        self.condition = condition
        self.register_buffer("coordinates", _coordinates(shape), persistent=False)
        width = 2 * channels
        parts = 1 if condition is None else 2
        self.place = nn.Linear(self.coordinates.shape[-1], parts * width)
        self.value = None if condition is None else nn.Linear(condition.dim, parts * width)
        self.mlp = nn.Sequential(
            nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, channels)
        )

    def forward(self, values: Tensor | None) -> Tensor:
        """Maps values (B,) of the condition to (B, C, H, W), and None to (1, C, H, W)."""
        place = self.place(self.coordinates)[None]  # (1, H, W, parts · width)
        if self.condition is None or self.value is None:
            hidden = place
        else:
            assert values is not None
            features = self.condition(values).to(self.coordinates)
            value = self.value(features)[:, None, None]  # (B, 1, 1, parts · width)
            (place, factor), (value, other) = place.chunk(2, -1), value.chunk(2, -1)
            hidden = place + value + factor * other
        return self.mlp(hidden).permute(0, 3, 1, 2)


class GridsContextMap(nn.Module):
    """Maps the grids above, and their own condition, to m(c, ij) + Σ_l u_l(g_l)_ij.

    Arguments:
        shape: (H, W), of the grid below.
        condition: The grids above.
        channels: C.
    """

    def __init__(self, shape: tuple[int, int], condition: CoarseTokens, channels: int) -> None:
        super().__init__()
        self.condition = condition
        self.vector = ContextMap(shape, condition.base_condition, channels)
        self.levels = nn.ModuleList(
            GridMap(size, grid, shape, channels)
            for size, grid in zip(condition.codebook_sizes, condition.grids, strict=True)
        )

    def forward(self, values: Tensor) -> Tensor:
        """Maps values (B, *shape) of the condition to (B, C, H, W)."""
        grids, given = self.condition.unpack(values)
        s = self.vector(given)
        for level, grid in zip(self.levels, grids, strict=True):
            s = s + level(grid)
        return s


class GridMap(nn.Module):
    """Maps a grid above to features u(g) at each position of the grid below.

    Arguments:
        codebook_size: K of the grid above.
        grid: Its shape, (h, w), (T,) or (h, w, Q).
        shape: (H, W), of the grid below.
        channels: C.
    """

    def __init__(
        self, codebook_size: int, grid: Sequence[int], shape: tuple[int, int], channels: int
    ) -> None:
        super().__init__()
        h, w, depth = (1, *grid, 1) if len(grid) == 1 else (*grid, 1)[:3]
        self.above, self.shape = (h, w, depth), shape
        self.embedding = DepthEmbedding(depth, codebook_size, channels)
        self.residual = ResidualStack(channels, channels, BLOCKS)
        ratio = (math.ceil(shape[0] / h), math.ceil(shape[1] / w))
        self.up = nn.ConvTranspose2d(channels, channels, ratio, stride=ratio)

    def forward(self, indices: Tensor) -> Tensor:
        """Maps indices (B, *grid), int64, to (B, C, H, W)."""
        e = self.embedding(indices.reshape(-1, *self.above)).sum(-2)
        x = self.up(self.residual(rearrange(e, "b h w c -> b c h w")))
        return (
            x if x.shape[2:] == self.shape else F.interpolate(x, self.shape, mode="nearest-exact")
        )


def _coordinates(shape: tuple[int, int]) -> Tensor:
    """Returns (H, W, P): features of the row beside features of the column."""
    rows, columns = (_axis(length) for length in shape)
    grid = (*shape, -1)
    return torch.cat([rows[:, None].expand(grid), columns[None].expand(grid)], -1)


def _axis(length: int, harmonics: int = 16) -> Tensor:
    """Returns (length, P): 2x − 1 and cos πmx, m = 1 …, of places x in (0, 1)."""
    x = (torch.arange(length)[:, None] + 0.5) / length
    m = torch.arange(1, min(length - 1, harmonics) + 1)  # a whole basis up to 17 positions
    return torch.cat([2 * x - 1, torch.cos(math.pi * m * x)], 1)

"""Context maps: features of a prior's condition at each position, (B, C, H, W).

Of a vector c, such as that of a label or a time, it is m(c, ij): for a dial, whether a hand at
this angle passes here. m is a small network of features of the condition and features of the
position, whose first layer multiplies the two: a hand's direction times a position is the distance
along the hand, which a sum could not give. Without a condition the same path gives a learned sense
of place.

Of a context that has grids g_1 … g_L as well, those above in a hierarchy, it is

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

from smalti.conditions import Condition, Context, ContextSizes
from smalti.errors import InputError
from smalti.nn.blocks import ResidualStack
from smalti.nn.embeddings import DepthEmbedding
from smalti.nn.precision import ComputesTables

__all__ = ["ContextMap", "GridMap", "GridsContextMap", "context_map", "map_of_sizes"]

BLOCKS = 2  # residual blocks over a grid above: they see two positions around


def context_map(
    shape: tuple[int, int], condition: Condition | None, channels: int
) -> ContextMap | GridsContextMap:
    """Builds the module that maps a context to features of each position (B, C, H, W).

    An empty context gives (1, C, H, W).

    Arguments:
        shape: (H, W).
        condition: The condition that gives the context; None for an unconditional prior.
        channels: C.

    Raises:
        InputError: If the context is a sequence, which has no map.

    Example:
        >>> from smalti.conditions import CoarseTokens
        >>> above = CoarseTokens([16], [(2, 2)])
        >>> context_map((4, 4), above, 8)(above(above.draw(3))).shape
        torch.Size([3, 8, 4, 4])
    """
    sizes = ContextSizes() if condition is None else condition.sizes
    if sizes.sequence:
        assert condition is not None
        raise InputError(
            f"A convolutional prior takes vectors and grids, got the sequence of a "
            f"{condition.name}: choose a prior that attends to sequences, or learn it without a "
            f"condition."
        )
    return map_of_sizes(shape, sizes, channels)


def map_of_sizes(
    shape: tuple[int, int], sizes: ContextSizes, channels: int
) -> ContextMap | GridsContextMap:
    """Builds the module that maps the vector and the grids of a context, whatever else it has.

    Arguments:
        shape: (H, W).
        sizes: The sizes of the context.
        channels: C.
    """
    if sizes.map:
        return GridsContextMap(shape, sizes, channels)
    return ContextMap(shape, sizes.vector, channels)


class ContextMap(ComputesTables, nn.Module):
    """Maps a context vector c and the coordinates to features m(c, ij) of each position.

    Arguments:
        shape: (H, W).
        features: V, the length of the vector; 0 if there is none.
        channels: C.
    """

    coordinates: Tensor

    def __init__(self, shape: tuple[int, int], features: int, channels: int) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("coordinates", _coordinates(shape), persistent=False)
        width = 2 * channels
        parts = 2 if features else 1
        self.place = nn.Linear(self.coordinates.shape[-1], parts * width)
        self.value = nn.Linear(features, parts * width) if features else None
        self.mlp = nn.Sequential(
            nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, channels)
        )

    def compute_tables(self, dtype: torch.dtype) -> None:
        """See `ComputesTables.compute_tables`."""
        self.coordinates = _coordinates(self.shape, dtype).to(self.coordinates.device)

    def forward(self, context: Context) -> Tensor:
        """Maps a context with a vector (B, V) to (B, C, H, W), without one to (1, C, H, W)."""
        place = self.place(self.coordinates)[None]  # (1, H, W, parts · width)
        if self.value is None:
            hidden = place
        else:
            assert context.vector is not None
            value = self.value(context.vector.to(self.coordinates))
            value = value[:, None, None]  # (B, 1, 1, parts · width)
            (place, factor), (value, other) = place.chunk(2, -1), value.chunk(2, -1)
            hidden = place + value + factor * other
        return self.mlp(hidden).permute(0, 3, 1, 2)


class GridsContextMap(nn.Module):
    """Maps a context vector c and coarser token grids g_l to features of each position.

    They are m(c, ij) + Σ_l u_l(g_l)_ij: a `ContextMap` of the vector, and for each grid a
    `GridMap`, which embeds and upsamples it.

    Arguments:
        shape: (H, W), the grid of the prior.
        sizes: The length of the context's vector, and codebook size and shape of each of its grids.
        channels: C.
    """

    def __init__(self, shape: tuple[int, int], sizes: ContextSizes, channels: int) -> None:
        super().__init__()
        self.vector = ContextMap(shape, sizes.vector, channels)
        self.levels = nn.ModuleList(
            GridMap(size, grid, shape, channels) for size, grid in sizes.map
        )

    def forward(self, context: Context) -> Tensor:
        """Maps a context with grids (B, *grid) to (B, C, H, W)."""
        assert context.map is not None
        s = self.vector(context)
        for level, grid in zip(self.levels, context.map, strict=True):
            s = s + level(grid)
        return s


class GridMap(nn.Module):
    """Embeds a coarser token grid and upsamples it to features u(g) of each position.

    Arguments:
        codebook_size: K of the coarser grid.
        grid: The shape of the coarser grid, (h, w), (T,) or (h, w, Q).
        shape: (H, W), the grid of the prior.
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
        """Maps indices (B, *grid), int64, -1 where none is given, to (B, C, H, W)."""
        indices = indices.reshape(-1, *self.above)
        e = (self.embedding(indices.clamp(min=0)) * (indices >= 0)[..., None]).sum(-2)
        x = self.up(self.residual(rearrange(e, "b h w c -> b c h w")))
        return (
            x if x.shape[2:] == self.shape else F.interpolate(x, self.shape, mode="nearest-exact")
        )


def _coordinates(shape: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns (H, W, P): features of the row beside features of the column."""
    rows, columns = (_axis(length, dtype) for length in shape)
    grid = (*shape, -1)
    return torch.cat([rows[:, None].expand(grid), columns[None].expand(grid)], -1)


def _axis(length: int, dtype: torch.dtype, harmonics: int = 16) -> Tensor:
    """Returns (length, P): 2x − 1 and cos πmx, m = 1 …, of places x in (0, 1)."""
    x = (torch.arange(length, dtype=dtype)[:, None] + 0.5) / length
    # A whole basis up to 17 positions.
    m = torch.arange(1, min(length - 1, harmonics) + 1, dtype=dtype)
    return torch.cat([2 * x - 1, torch.cos(math.pi * m * x)], 1)

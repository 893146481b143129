"""The layout of the tokens of one signal: grids, codebook sizes and their packing.

A tokenizer has one level of indices or several, coarse to fine. A level has a grid of positions,
and at each position as many indices as its quantizer has codebooks, its depth Q:

    grid (8, 8), codebook sizes (512,)         indices (B, 8, 8)
    grid (8, 8), codebook sizes (512, 256)     indices (B, 8, 8, 2)
    grid (), codebook sizes (512,) * 85        indices (B, 85): a quantizer that acts on whole grids

What a prior sees is one tensor in all cases, the *tokens*: the indices of the one level as they
are, or those of several levels side by side as one row (B, L). `pack` makes them of grids, `unpack`
is its inverse. The order is row-major: level by level, position by position, the indices of a
position one after another.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.registry import registered

__all__ = ["Layout"]


@registered
@dataclass(frozen=True)
class Layout:
    """The shapes of the token grids of one signal, and the sizes of their codebooks.

    `pack` joins the grids of several levels to one row of tokens per signal, and `unpack` undoes
    it.

    Arguments:
        grids: The grid of each level, coarse to fine: (H, W) or (T,); () where a level has one
            position only, or signals have no fixed size.
        codebook_sizes: For each level K of each of its Q codebooks (Q indices per position).

    Attributes:
        shapes: Shape of the indices of each level: its grid, and Q where Q is above 1.
        shape: Shape of the tokens of one signal: that of a single level, else (L,).
        positions: L, the number of tokens of one signal.

    Raises:
        InputError: If there are no levels, both lists differ in length, or a number is below 1.

    Example:
        >>> layout = Layout(((2, 2), (4, 4)), ((512,), (256, 256)))
        >>> layout.shapes, layout.shape, layout.size_at(0), layout.size_at(35)
        (((2, 2), (4, 4, 2)), (36,), 512, 256)
        >>> grids = [torch.zeros(3, 2, 2), torch.ones(3, 4, 4, 2)]
        >>> tokens = layout.pack(grids)
        >>> tokens.shape, [tuple(grid.shape) for grid in layout.unpack(tokens)]
        (torch.Size([3, 36]), [(3, 2, 2), (3, 4, 4, 2)])
    """

    grids: tuple[tuple[int, ...], ...]
    codebook_sizes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        grids = tuple(tuple(map(int, grid)) for grid in self.grids)
        sizes = tuple(tuple(map(int, level)) for level in self.codebook_sizes)
        numbers = [n for level in (*grids, *sizes) for n in level]
        if not grids or len(grids) != len(sizes) or not all(sizes) or min(numbers) < 1:
            raise InputError(
                f"A layout has a grid and codebook sizes of each level, all at least 1, got grids "
                f"{grids} and sizes {sizes}: give those of the tokenizer."
            )
        object.__setattr__(self, "grids", grids)
        object.__setattr__(self, "codebook_sizes", sizes)

    @property
    def levels(self) -> int:
        """Returns the number of levels."""
        return len(self.grids)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Returns the shapes of the indices of each level, without the batch."""
        return tuple(
            (*grid, len(sizes)) if len(sizes) > 1 else grid
            for grid, sizes in zip(self.grids, self.codebook_sizes, strict=True)
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of the tokens of one signal."""
        return self.shapes[0] if self.levels == 1 else (self.positions,)

    @property
    def positions(self) -> int:
        """Returns L, the number of tokens of one signal."""
        return sum(map(math.prod, self.shapes))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Returns K of all codebooks, level by level."""
        return tuple(itertools.chain(*self.codebook_sizes))

    @property
    def largest(self) -> int:
        """Returns K of the largest codebook."""
        return max(self.sizes)

    def pack(self, grids: Sequence[Tensor]) -> Tensor:
        """Packs the indices of all levels of B signals in tokens (B, *shape).

        Raises:
            InputError: If there are more or fewer grids than levels.
        """
        if len(grids) != self.levels:
            raise InputError(
                f"This model has {self.levels} grid(s) of tokens, got {len(grids)}: give all, "
                f"coarse to fine."
            )
        if self.levels == 1:
            return grids[0]
        return torch.cat([grid.flatten(1) for grid in grids], 1)

    def unpack(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Unpacks tokens (B, *shape) to the indices of each level, (B, *shapes[level]).

        Raises:
            InputError: If tokens of several levels are no rows of L.
        """
        if self.levels == 1:
            return (tokens,)
        if tokens.ndim != 2 or tokens.shape[1] != self.positions:
            raise InputError(
                f"Tokens of this model are rows (B, {self.positions}), got the shape "
                f"{tuple(tokens.shape)}: give what `pack` gave."
            )
        parts = tokens.split([math.prod(shape) for shape in self.shapes], 1)
        return tuple(
            part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)
        )

    def size_at(self, i: int) -> int:
        """Returns K of the codebook of token i, in the order of the flat tokens.

        Raises:
            IndexError: If i is negative, or L or more.
        """
        if not 0 <= i < self.positions:
            raise IndexError(f"A signal has tokens 0 to {self.positions - 1}, got {i}.")
        for shape, sizes in zip(self.shapes, self.codebook_sizes, strict=True):
            if i < math.prod(shape):
                return sizes[i % len(sizes)]
            i -= math.prod(shape)
        raise AssertionError("unreachable: i is below the number of positions")

    def sizes_of_tokens(self) -> Tensor:
        """Returns K of the codebook of each token, (L,) int64, in the order of the flat tokens.

        Example:
            >>> Layout(((2,),), ((8, 4),)).sizes_of_tokens().tolist()
            [8, 4, 8, 4]
        """
        levels = zip(self.shapes, self.codebook_sizes, strict=True)
        return torch.cat(
            [torch.tensor(s).repeat(math.prod(shape) // len(s)) for shape, s in levels]
        )

    def coordinates(self) -> Tensor:
        """Returns where each token lies, (L, P) int64, which priors embed.

        A row is (level, position along each dimension of the grid, depth). Where levels have
        different numbers of dimensions, what a level lacks is 0.

        Example:
            >>> Layout(((2,),), ((8, 8),)).coordinates().tolist()
            [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
        """
        dims = max(map(len, self.grids))
        rows = []
        for level, (grid, sizes) in enumerate(zip(self.grids, self.codebook_sizes, strict=True)):
            # One dimension at least: cartesian_prod of a single range is no table.
            ranges = [*map(torch.arange, grid), torch.arange(len(sizes))]
            places = torch.stack(torch.meshgrid(*ranges, indexing="ij"), -1).flatten(0, -2)
            table = torch.zeros(len(places), dims + 2, dtype=torch.int64)
            table[:, 0] = level
            table[:, 1 : 1 + len(grid)] = places[:, :-1]
            table[:, -1] = places[:, -1]
            rows.append(table)
        return torch.cat(rows)

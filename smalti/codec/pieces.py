"""Cuts the token grids of signals of any size into pieces of the grid that a prior was learned on.

A signal has grids of its own, level by level. They are cut into tiles of the prior's grids, and a
tile of each level, those that lie above one another, is a *piece*: L tokens, as the prior sees
them. At the ends tiles reach beyond the signal. What is beyond is not coded: it takes the value of
the nearest token of the signal where that comes earlier in the order of the prior, and else 0, so
that a reader fills it in as it goes.

    own (7,), signal (18,)      3 pieces of 7 tokens, of which the last codes 4

A *row* is all pieces of one place along the first axis. Blocks hold whole rows, so that some of
them are a part of a signal by itself.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.layout import Layout

__all__ = ["Tiling"]


class Tiling:
    """How the grids of a signal are cut into pieces.

    Arguments:
        layout: The layout of the prior's tokens.
        shapes: The shape of the signal's indices at each level, without the batch.
        order: The order in which tokens of a piece are coded, their flat places.

    Attributes:
        tiles: Pieces of one signal along each axis; (1,) where it has no axes.

    Raises:
        InputError: If the shapes are none that such a tokenizer gives.

    Example:
        >>> tiling = Tiling(Layout(((3,),), ((8,),)), [(4,)], [0, 1, 2])
        >>> tiling.tiles, tiling.source.tolist()
        ((2,), [[0, 1, 2], [0, 0, 0]])
        >>> pieces = tiling.cut([torch.tensor([[5, 6, 7, 4]])])
        >>> pieces.tolist(), tiling.join(pieces)[0].tolist()
        ([[5, 6, 7], [4, 4, 4]], [[5, 6, 7, 4]])
    """

    def __init__(
        self, layout: Layout, shapes: Sequence[tuple[int, ...]], order: Sequence[int]
    ) -> None:
        self.shapes = [tuple(shape) for shape in shapes]
        self.depths = [len(sizes) for sizes in layout.codebook_sizes]
        whole = tuple(self.shapes) == layout.shapes
        if len(self.shapes) != layout.levels:
            raise InputError(
                f"Signals of this model have {layout.levels} grid(s) of one size, got "
                f"{len(self.shapes)} of another: give signals of its own size."
            )
        self.own = [
            _own(grid, shape, depth, whole)
            for grid, shape, depth in zip(layout.grids, self.shapes, self.depths, strict=True)
        ]
        self.tiles = (1,) * max(1, *map(len, self.own)) if whole else self._tiles(layout)
        self.order = order

    @property
    def pieces(self) -> int:
        """Returns P, the number of pieces of one signal."""
        return math.prod(self.tiles)

    @property
    def coded(self) -> Tensor:
        """Returns which tokens of each piece of a signal are coded, (P, L), bool."""
        return self._found[0]

    @property
    def source(self) -> Tensor:
        """Returns which token each token takes its value from, (P, L), int64.

        It is itself where it is coded, and −1 for the value 0.
        """
        return self._found[1]

    @property
    def across(self) -> int:
        """Returns the number of pieces of one row."""
        return math.prod(self.tiles[1:])

    def cut(self, grids: Sequence[Tensor]) -> Tensor:
        """Cuts the indices of N signals, of each level (N, *shape), into pieces (N · P, L)."""
        parts = [self._cut(grid, level) for level, grid in enumerate(grids)]
        pieces = torch.cat(parts, -1)  # (N, P, L)
        return self.fill(pieces).flatten(0, 1)

    def fill(self, pieces: Tensor) -> Tensor:
        """Gives the tokens (N, P, L) that are not coded their values."""
        filled = pieces.gather(-1, self.source.clamp(min=0).expand_as(pieces))
        return filled.masked_fill(self.source < 0, 0)

    def join(self, pieces: Tensor, rows: slice = slice(None)) -> list[Tensor]:
        """Joins pieces (N · P, L), or those of some rows of one signal, to grids (N, *shape)."""
        grids, start = [], 0
        rest = self.tiles[1:]
        for shape, own, depth in zip(self.shapes, self.own, self.depths, strict=True):
            length = math.prod(own) * depth
            part = pieces[:, start : start + length]
            start += length
            here = range(self.tiles[0])[rows]
            tiles = (len(here), *rest)[: len(own)]
            x = part.reshape(-1, *tiles, *own, depth)
            axes = len(own)
            pairs = itertools.chain(*((1 + n, 1 + axes + n) for n in range(axes)))
            x = x.permute(0, *pairs, 1 + 2 * axes)
            x = x.reshape(len(x), *(t * m for t, m in zip(tiles, own, strict=True)), depth)
            ends = list(shape[:axes])
            if axes and len(here):
                ends[0] = min(shape[0], here[-1] * own[0] + own[0]) - here[0] * own[0]
            for axis, n in enumerate(ends):
                x = x.narrow(1 + axis, 0, n)
            grids.append(x if depth > 1 else x[..., 0])
        return grids

    def _tiles(self, layout: Layout) -> tuple[int, ...]:
        """Returns how many tiles there are along each axis, the same at each level."""
        counts = {
            tuple(-(-n // m) for n, m in zip(shape, own, strict=False))
            for shape, own in zip(self.shapes, self.own, strict=True)
        }
        if len(counts) != 1 or () in counts:
            raise InputError(
                f"The grids of a signal are multiples of one another as {layout.grids} are, got "
                f"{self.shapes}: give what the model encoded."
            )
        return counts.pop()

    def _cut(self, grid: Tensor, level: int) -> Tensor:
        """Cuts the indices (N, *shape) of a level into (N, P, ·), the nearest beyond the end."""
        own, depth = self.own[level], self.depths[level]
        tiles = self.tiles[: len(own)]
        x = grid if depth > 1 else grid[..., None]
        for axis, (t, m) in enumerate(zip(tiles, own, strict=True)):
            places = torch.arange(t * m).clamp(max=x.shape[1 + axis] - 1)
            x = x.index_select(1 + axis, places)
        split = itertools.chain(*zip(tiles, own, strict=True))
        x = x.reshape(len(x), *split, depth)
        axes = len(own)
        order = [0, *range(1, 1 + 2 * axes, 2), *range(2, 2 + 2 * axes, 2), 1 + 2 * axes]
        return x.permute(order).reshape(len(x), self.pieces, math.prod(own) * depth)

    @functools.cached_property
    def _found(self) -> tuple[Tensor, Tensor]:
        """Finds which tokens of each piece are coded, and where the others take their values."""
        rank = torch.tensor(self.order).argsort()
        total, start = len(rank), 0
        sources = []
        for shape, own, depth in zip(self.shapes, self.own, self.depths, strict=True):
            count = math.prod(own) * depth
            places = torch.arange(start, start + count).view(*own, depth)
            tiles = self.tiles[: len(own)]
            of_tiles = []
            for tile in itertools.product(*map(range, tiles)):
                x = places
                for axis, (n, m) in enumerate(zip(tile, own, strict=True)):
                    inside = min(m, shape[axis] - n * m)
                    x = x.index_select(axis, torch.arange(m).clamp(max=inside - 1))
                of_tiles.append(x.flatten())
            sources.append(torch.stack(of_tiles).expand(self.pieces, -1))
            start += count
        source = torch.cat(sources, 1)  # (P, L)
        itself = torch.arange(total).expand_as(source)
        coded = source == itself
        earlier = rank[source] < rank
        return coded, source.where(coded | earlier, torch.tensor(-1))


def _own(grid: tuple[int, ...], shape: tuple[int, ...], depth: int, whole: bool) -> tuple[int, ...]:
    """Returns the grid of a tile of a level."""
    axes = len(shape) - (depth > 1)
    if not whole and (len(grid) != axes or not axes):
        raise InputError(
            f"The grids of this model's signals have {len(grid)} dimension(s), got {shape}: give "
            f"what the model encoded."
        )
    return grid

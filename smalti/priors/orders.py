"""An order of the tokens of a grid that spreads: each next token lies far from those before.

The Halton sequence in two dimensions has the points (φ_2(i), φ_3(i)), where φ_b(i) writes i in the
base b and mirrors its digits at the point. Every beginning of it covers the square evenly. A
position of the grid comes when the first point falls into it. Tokens that are far from each other
say little of each other, so that a prior which draws several at once, each as if it were alone,
errs less than with neighbours.

References:
    Halton Scheduler For Masked Generative Image Transformer, V. Besnier et al., 2025, arXiv
    2503.17076.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.layout import Layout

__all__ = ["halton_order", "halton_ranks"]

BASES = (2, 3, 5, 7, 11)


@functools.lru_cache(maxsize=64)
def halton_ranks(layout: Layout) -> Tensor:
    """Returns when each token of a layout comes, (L,) int64, a permutation.

    Levels come coarse to fine. In each the first indices of all positions come first, in the order
    that spreads, then their second indices and so on. Indices that have one position are spread in
    their row.

    Example:
        >>> halton_ranks(Layout(((2, 2),), ((8, 8),))).tolist()
        [2, 6, 1, 5, 0, 4, 3, 7]
    """
    ranks, first = [], 0
    with torch.device("cpu"):
        for grid, sizes in zip(layout.grids, layout.codebook_sizes, strict=True):
            shape, depth = (grid, len(sizes)) if grid else ((len(sizes),), 1)
            order = halton_order(shape)
            rank = torch.empty_like(order)
            rank[order] = torch.arange(len(order))
            later = torch.arange(depth) * len(order)
            ranks.append((first + rank[:, None] + later).flatten())
            first += len(order) * depth
    return torch.cat(ranks)


def halton_order(shape: Sequence[int]) -> Tensor:
    """Returns the positions of a grid in the order of the Halton sequence, (n,) int64.

    Arguments:
        shape: Of at most five lengths.

    Example:
        >>> halton_order((4,)).tolist()
        [2, 1, 3, 0]
    """
    positions, points = math.prod(shape), 2 * math.prod(shape)
    while True:
        cell = torch.zeros(points, dtype=torch.int64)
        for base, length in zip(BASES, shape, strict=False):
            cell = cell * length + (_mirrored(points, base) * length).long().clamp(max=length - 1)
        first = torch.full((positions,), points)
        first.scatter_reduce_(0, cell, torch.arange(points), "amin")
        if int(first.max()) < points:
            return first.argsort()
        points *= 2


def _mirrored(points: int, base: int) -> Tensor:
    """Returns φ_base(i) of i = 1 … points, float64."""
    i, phi, scale = torch.arange(1, points + 1), torch.zeros(points, dtype=torch.float64), 1.0
    while int(i.max()):
        scale /= base
        phi += scale * (i % base)
        i = i // base
    return phi

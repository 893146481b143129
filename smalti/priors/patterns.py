"""Patterns: in which steps a decoder gives the tokens of a layout, one or several in each.

Where a position p = 0 … P − 1 has Q indices, d = 0 … Q − 1, one step can give one of them or more:

    flattened   step p·Q + d    P·Q steps: each index given all before it
    parallel    step p          P steps: all of a position at once, given the positions before
    delayed     step p + d      P + Q − 1 steps: depth d of a position d steps late

Tokens of one step are independent given those of all earlier steps, so each pattern is a model of
its own, with a likelihood of its own,

    p(q | c) = Π_s Π_{i in step s} p(q_i | all q of steps before s, c)

The first leaves nothing out. The second is Q times as short, and takes the indices of a position
for independent. The third is as short, and an index knows the coarser ones of its own position, as
they came a step before; in exchange it does not know the finer ones of the positions just before.

Tokens of several levels come level by level, each in the pattern.

References:
    Simple and Controllable Music Generation, J. Copet et al., 2023, arXiv 2306.05284 (patterns).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.layout import Layout

__all__ = ["Pattern", "members_of_steps", "steps_of"]

Pattern = Literal["flattened", "parallel", "delayed"]


def steps_of(layout: Layout, pattern: Pattern) -> Tensor:
    """Returns the step of each token of a layout, (L,) int64, from 0.

    Raises:
        InputError: If there is no such pattern.

    Example:
        >>> layout = Layout(((3,),), ((8, 8),))  # 3 positions of 2 indices
        >>> for pattern in ("flattened", "parallel", "delayed"):
        ...     steps_of(layout, pattern).tolist()
        [0, 1, 2, 3, 4, 5]
        [0, 0, 1, 1, 2, 2]
        [0, 1, 1, 2, 2, 3]
    """
    if pattern not in get_args(Pattern):
        raise InputError(
            f"The pattern is {', '.join(get_args(Pattern)[:-1])} or {get_args(Pattern)[-1]}, got "
            f"{pattern!r}: flattened leaves nothing out."
        )
    steps, first = [], 0
    for grid, sizes in zip(layout.grids, layout.codebook_sizes, strict=True):
        p, d = torch.arange(math.prod(grid))[:, None], torch.arange(len(sizes))
        own = {"flattened": p * len(sizes) + d, "parallel": p + 0 * d, "delayed": p + d}[pattern]
        steps.append(own.flatten() + first)
        first += int(own.max()) + 1
    return torch.cat(steps)


def members_of_steps(steps: Tensor) -> Tensor:
    """Returns the tokens of each step in reading order, (S, M) int64, filled up with L.

    Example:
        >>> members_of_steps(torch.tensor([0, 1, 1, 2, 2, 3])).tolist()
        [[0, 6], [1, 2], [3, 4], [5, 6]]
    """
    counts = steps.bincount()
    order = steps.argsort(stable=True)
    lanes = torch.arange(len(steps)) - (counts.cumsum(0) - counts)[steps[order]]
    members = torch.full((len(counts), int(counts.max())), len(steps))
    members[steps[order], lanes] = order
    return members

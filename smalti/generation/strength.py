"""Chooses which share of a signal's tokens is drawn anew, to make variations of the signal.

Tokens of the finest level are chosen first. Within a level, tokens far from each other are chosen:
they follow the Halton order (`smalti.priors.orders`) from a random start. All indices of one
position are chosen together.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smalti.arguments import as_number
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.priors.orders import halton_order

__all__ = ["check_strength", "choose_tokens"]


def check_strength(strength: float) -> float:
    """Returns a strength as a float; raises `InputError` unless it is above 0 and at most 1."""
    mend = "0.3 draws three tokens of ten anew, 1 all of them"
    strength = as_number(strength, "strength", mend)
    if not 0 < strength <= 1:
        raise InputError(f"strength must be above 0 and at most 1, got {strength:g}: {mend}.")
    return strength


def choose_tokens(
    layout: Layout, allowed: Tensor, strength: float, n: int, generator: torch.Generator
) -> Tensor:
    """Chooses tokens of n variants of a signal: bool, (n, L) in the order of the flat tokens.

    Arguments:
        layout: The layout of the tokens.
        allowed: (L,), bool, the tokens to choose from; at least one.
        strength: The share of their positions to choose, in (0, 1]; at least one is chosen.
        n: The number of variants; each gets its own choice.
        generator: Source of randomness, on the CPU.

    Example:
        >>> layout = Layout(((2, 2),), ((8,),))
        >>> allowed, generator = torch.ones(4, dtype=torch.bool), torch.Generator()
        >>> choose_tokens(layout, allowed, 0.5, 3, generator).sum(1)
        tensor([2, 2, 2])
    """
    levels = list(zip(layout.grids, layout.codebook_sizes, strict=True))
    counts = [math.prod(grid or (len(sizes),)) for grid, sizes in levels]
    depths = [len(sizes) if grid else 1 for grid, sizes in levels]
    parts = allowed.split([count * depth for count, depth in zip(counts, depths, strict=True)])
    places = [part.view(-1, depth).any(1) for part, depth in zip(parts, depths, strict=True)]
    left = max(1, round(strength * sum(int(place.sum()) for place in places)))
    chosen = []
    for (grid, sizes), place, depth in reversed(list(zip(levels, places, depths, strict=True))):
        order = halton_order(grid or (len(sizes),))
        starts = torch.randint(len(order), (n, 1), generator=generator)
        orders = order[(torch.arange(len(order)) + starts) % len(order)]  # (n, positions)
        free = place[orders]
        taken = torch.zeros_like(free).scatter_(1, orders, free & (free.cumsum(1) <= left))
        chosen.append(taken.repeat_interleave(depth, 1))
        left -= min(left, int(place.sum()))
    return torch.cat(chosen[::-1], 1)

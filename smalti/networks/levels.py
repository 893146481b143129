"""How the downsampling of a network is shared among the levels of a hierarchy.

A hierarchy takes the downsampling of its coarsest level in steps, one for each level. Networks say
theirs by a number, `downsampling`, or by `strides`, fine to coarse, of which each level takes its
part of the whole. Channels that double with each stride go on doubling in coarser levels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import mul
from typing import Any

from torch import nn

from smalti.errors import InputError

__all__ = ["arguments_of_levels"]


def arguments_of_levels(network: nn.Module, factors: Sequence[int]) -> list[dict[str, Any]]:
    """Returns the arguments by which the network of each level differs, coarse to fine.

    Arguments:
        network: A network of the whole downsampling.
        factors: Signal positions per position of each grid, coarse to fine, each a multiple of the
            next.

    Raises:
        InputError: If a level would end within a stride.

    Example:
        >>> from smalti.networks import ConvEncoder, Features, SEANetEncoder
        >>> signal = Features(1, spatial_dims=1)
        >>> arguments_of_levels(ConvEncoder(signal, 4, hidden=4, downsampling=8), [8, 2])
        [{'downsampling': 4}, {'downsampling': 2}]
        >>> arguments_of_levels(SEANetEncoder(signal, 4, hidden=4, strides=[2, 3, 5]), [30, 6])
        [{'strides': (5,), 'hidden': 16, 'gain': 1.0}, {'strides': (2, 3), 'hidden': 4}]
    """
    ratios = [factor // finer for factor, finer in zip(factors, (*factors[1:], 1), strict=True)]
    strides = getattr(network, "strides", None)
    if strides is None:
        return [{"downsampling": ratio} for ratio in ratios]
    reached = list(itertools.accumulate(strides, mul))
    if not set(factors) <= set(reached):
        raise InputError(
            f"Levels of a {type(network).__name__} end where one of its strides does, got the "
            f"downsamplings {', '.join(map(str, factors))}: choose of those that the strides "
            f"{', '.join(map(str, strides))} reach, {', '.join(map(str, reached))}."
        )
    ends = [reached.index(factor) + 1 for factor in factors]
    starts = [*ends[1:], 0]
    narrow: int = network.narrow  # type: ignore[assignment]
    levels: list[dict[str, Any]] = [
        {"strides": tuple(strides[a:b]), "hidden": narrow << a}
        for a, b in zip(starts, ends, strict=True)
    ]
    if hasattr(network, "gain"):  # which is for the signal, not for features
        levels[:-1] = [{**level, "gain": 1.0} for level in levels[:-1]]
    return levels

"""The runs of a comparison: each method at each rate with each seed, the methods side by side."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Planned", "announced", "plan"]

logger = logging.getLogger(__name__)


class Planned(NamedTuple):
    """One run that a comparison is to train and measure."""

    bits: int
    method: str
    seed: int


def plan(methods: Sequence[str], bits: Sequence[int], seeds: int) -> list[Planned]:
    """Lists all runs in the order in which they are trained.

    Example:
        >>> [tuple(run) for run in plan(["ema", "fsq"], bits=[8], seeds=1)]
        [(8, 'ema', 0), (8, 'fsq', 0)]
    """
    return [Planned(b, name, seed) for b in bits for seed in range(seeds) for name in methods]


def announced(runs: Sequence[Planned]) -> Iterator[Planned]:
    """Yields the runs in order, with a line for each when its turn comes."""
    for number, run in enumerate(runs, 1):
        bits, method, seed = run
        logger.info("%d of %d: %s, %d bits, seed %d", number, len(runs), method, bits, seed)
        yield run

"""Lists the runs of a comparison: each method at each rate with each seed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["PlannedRun", "log_each_run", "plan_runs"]

logger = logging.getLogger(__name__)


class PlannedRun(NamedTuple):
    """One run that a comparison trains and measures: a method with a number of bits and a seed.

    Attributes:
        bits: Bits per index, log2 K; the rate of a position is as many times each of its indices.
        method: The short name of the method.
        seed: The seed of the run.
    """

    bits: int
    method: str
    seed: int


def plan_runs(methods: Sequence[str], bits: Sequence[int], seeds: int) -> list[PlannedRun]:
    """Lists all runs in the order in which they are trained: by rate, then seed, then method.

    Example:
        >>> [tuple(run) for run in plan_runs(["ema", "fsq"], bits=[8], seeds=1)]
        [(8, 'ema', 0), (8, 'fsq', 0)]
    """
    return [PlannedRun(b, name, seed) for b in bits for seed in range(seeds) for name in methods]


def log_each_run(runs: Sequence[PlannedRun]) -> Iterator[PlannedRun]:
    """Yields the runs in order, and logs a line before each: "2 of 6: fsq, 8 bits, seed 0"."""
    for number, run in enumerate(runs, 1):
        bits, method, seed = run
        logger.info("%d of %d: %s, %d bits, seed %d", number, len(runs), method, bits, seed)
        yield run

"""Integer frequencies of logits, on which coder and decoder agree although their sums round apart.

A range coder needs the very same integers where it writes and where it reads. Logits are sums of
floating-point numbers, which differ in their last digits between processors, numbers of threads and
sizes of a batch. They are computed in float64 and rounded to steps of 1/64 nat,

    n_k = round(64 ℓ_k)                       e_k = max_j n_j − n_k
    w_k = round(2³⁰ exp(−e_k / 64))           from a table, made with exact decimals
    f_k = 1 + ⌊w_k ((2²⁴ − K) / Σ_j w_j)⌋     the rest goes to the first of the largest

From n on all numbers are whole, or are made of two others by one operation, which IEEE 754 rounds
in one way everywhere; sums are of whole numbers below 2⁵³, so that their order does not matter.
What rounding costs is about 1/64² / 24 = 10⁻⁵ nats per token, and frequencies of at least one cost
K / 2²⁴ nats.

Rounding alone would not do: a value next to a half falls to one side here and to the other there.
So the writer lists all that lie within a tolerance τ of a half, and those are rounded *down* on
both sides. With t and t' the values 64 ℓ of writer and reader, both get the same n if |t − t'| < τ:
what is not listed lies more than τ from every half, so that t' is on the same side of it; of what
is listed the nearest half is the same one, as τ is far below the distance of two halves. Float64
sums differ by 10⁻¹³ or so, τ is 2⁻²⁶ ≈ 1.5 · 10⁻⁸, and a value is that near to a half once in 2²⁵.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import NamedTuple

import numpy as np

from smalti.errors import InputError

__all__ = ["LARGEST", "TOTAL", "Steps", "frequencies_of_counts", "frequencies_of_steps", "to_steps"]

TOTAL = 1 << 24  # of the frequencies of one token
LARGEST = 1 << 20  # codewords whose frequencies fit into it
STEPS = 64  # per nat
TOLERANCE = 2.0**-26  # of a step
DEPTH = 22 * STEPS  # below e^−22 of the largest a weight is 0 of 2³⁰
UNIT = 1 << 30


class Steps(NamedTuple):
    """Logits in whole steps.

    Attributes:
        values: n, (M, K), whole numbers in float64.
        near: (M, K), bool: which lie near a half, and were rounded down.
    """

    values: np.ndarray
    near: np.ndarray


def to_steps(logits: np.ndarray, listed: Sequence[tuple[int, int]] | None = None) -> Steps:
    """Rounds logits (M, K) to whole steps.

    Arguments:
        logits: (M, K), float64.
        listed: For a reader, the rows and columns that the writer found near a half. Without, as
            for a writer, they are found here.

    Raises:
        InputError: If logits are not finite.
    """
    t = logits * STEPS
    top = t.max(1, keepdims=True)
    if not np.isfinite(top).all() or np.abs(top).max(initial=0) > 2.0**26:
        raise InputError(
            "The prior gives logits that are not finite, or too large to be rounded alike: code "
            "with --prior unigram."
        )
    np.maximum(t, top - (DEPTH + 2 * STEPS), out=t)  # whatever is further below weighs 0
    n = np.rint(t)
    if listed is not None:
        for row, column in listed:
            n[row, column] = np.rint(t[row, column] - 0.5)
        return Steps(n, np.zeros((0, 0), dtype=bool))
    near = np.abs(t - n) > 0.5 - TOLERANCE
    if near.any():
        near &= t > top - (DEPTH + STEPS)
        n[near] = np.rint(t[near] - 0.5)
    return Steps(n, near)


def frequencies_of_steps(values: np.ndarray) -> np.ndarray:
    """Returns f − 1 of whole steps (M, K), float32 that hold whole numbers: they sum to 2²⁴ − K.

    Example:
        >>> frequencies_of_steps(np.array([[64.0, 0.0]])).tolist()
        [[12265127.0, 4512087.0]]
    """
    apart = np.minimum(values.max(1, keepdims=True) - values, DEPTH)
    return _scaled(_table()[apart.astype(np.intp)])


def frequencies_of_counts(counts: np.ndarray) -> np.ndarray:
    """Returns f − 1 of counts (K,) of each index, each taken as one more, as float32 (K,)."""
    return _scaled(counts[None].astype(np.float64) + 1)[0]


def _scaled(weights: np.ndarray) -> np.ndarray:
    """Scales whole weights (M, K) to whole numbers that sum to 2²⁴ − K in each row."""
    free = TOTAL - weights.shape[1]
    f = np.floor(weights * (free / weights.sum(1, keepdims=True)))
    rows = np.arange(len(weights))
    f[rows, weights.argmax(1)] += free - f.sum(1)
    return f.astype(np.float32)


@functools.cache
def _table() -> np.ndarray:
    """Returns round(2³⁰ exp(−e / 64)) of e = 0 … DEPTH: decimals are rounded alike everywhere."""
    decimals = Context(prec=40)
    weights = [
        int((UNIT * decimals.exp(Decimal(-e) / STEPS)).to_integral_value()) for e in range(DEPTH)
    ]
    return np.array([*weights, 0], dtype=np.float64)

"""The rate-distortion bound of Gaussian vectors with the covariance of the training vectors.

Of all sources of one covariance the Gaussian is the hardest to code. With the eigenvalues λ_i its
least mean squared error at b bits per vector is, by reverse water-filling,

    D(b) = Σ_i min(θ, λ_i)        with θ such that        b = Σ_i max(0, ½ log₂(λ_i / θ)).

So it says what vectors can be coded to however they are distributed; what lies below has made use
of more than their covariance.

References:
    Elements of Information Theory, T. M. Cover and J. A. Thomas, 2006, theorem 10.3.3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from smalti.data import Splits

__all__ = ["gaussian_bound", "water_filling"]

CHUNK = 8192  # vectors in memory at a time


def water_filling(variances: Tensor, bits: float) -> float:
    """Computes the least possible squared error of a Gaussian vector at a rate, by water-filling.

    It is the expectation, summed over the dimensions.

    Arguments:
        variances: λ (D,), the eigenvalues of its covariance; what is not above 0 costs nothing.
        bits: The rate, in bits per vector.

    Example:
        >>> water_filling(torch.tensor([16.0, 1.0]), 2)  # both bits go into the first
        2.0
    """
    ordered = variances.double()[variances > 0].sort(descending=True).values
    if not len(ordered):
        return 0.0
    logs = ordered.log2()
    n = torch.arange(1, len(ordered) + 1, dtype=torch.float64)
    levels = (logs.cumsum(0) - 2 * bits) / n  # log₂ θ, were the first n above the water
    above = int((levels < logs).sum().clamp(min=1))  # a prefix: once below, always below
    theta = 2 ** levels[above - 1]
    return float(torch.minimum(ordered, theta).sum())


def gaussian_bound(splits: Splits, stages: int) -> Callable[[int], float] | None:
    """Returns a function from bits per index to the least possible MSE/variance.

    It holds for a Gaussian with the covariance of the training vectors. None where signals are not
    vectors, or examples are endless.
    """
    train = splits.train
    if splits.signal.spatial_dims or train.endless:
        return None
    dim = splits.signal.channels
    total, squares = torch.zeros(dim).double(), torch.zeros(dim, dim).double()
    first: Tensor | None = None
    for start in range(0, len(train), CHUNK):
        x = train.__getitems__(range(start, min(start + CHUNK, len(train)))).x.double()
        first = x[0] if first is None else first
        around = x - first
        total += around.sum(0)
        squares += around.T @ around
    mean = total / len(train)
    variances = torch.linalg.eigvalsh(squares / len(train) - mean[:, None] * mean)
    if first is None or not bool(variances.isfinite().all()) or not bool((variances > 0).any()):
        return None
    # MSE/variance is over the variance of all values, to which dimensions of other means add.
    of_means = (first + mean).var(correction=0) * dim
    whole = float(variances.clamp(min=0).sum() + of_means)
    return lambda bits: water_filling(variances, bits * stages) / whole

"""Computes mean and covariance of signals that come chunk by chunk.

References:
    Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, T. F. Chan, G. H.
    Golub and R. J. LeVeque, 1979, on the sums that are made chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from smalti.errors import InputError

__all__ = ["Moments"]

ROUNDING = torch.finfo(torch.float32).eps
PIECE = 8192  # rows that are in float64 at a time


class Moments(NamedTuple):
    """Mean and covariance of the channels of signals, accumulated chunk by chunk in float64.

    Attributes:
        counts: The number of values of each channel, (C,).
        mean: The mean of each channel, (C,).
        covariance: The covariance (C, C), over places where no channel is missing; or the variances
            (C,) alone.
    """

    counts: Tensor
    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, chunks: Iterable[Tensor], joint: bool = False) -> Moments:
        """Computes them in one pass.

        Arguments:
            chunks: Signals (B, C, *size), NaN where a value is missing.
            joint: Whether the covariance is wanted, else the variances alone.

        Raises:
            InputError: If there is no value of a channel, or one is infinite.

        Example:
            >>> Moments.of([torch.tensor([[1.0], [3.0]]), torch.tensor([[torch.nan], [5.0]])]).mean
            tensor([3.], dtype=torch.float64)
        """
        whole: Moments | None = None
        for chunk in chunks:
            for rows in chunk.movedim(1, -1).flatten(0, -2).split(PIECE):  # (n, C)
                part = _joint(rows.double()) if joint else _apart(rows.double())
                whole = part if whole is None else _merged(whole, part)
        if whole is None or not len(whole.counts) or not bool(whole.counts.all()):
            empty = [] if whole is None else (whole.counts == 0).nonzero()[:, 0].tolist()
            where = f" of channel {empty[0]}" if empty else ""
            raise InputError(
                f"A normalization is learned from at least one value{where}, got none: leave that "
                f"channel out, or give training rows where it is there."
            )
        if not bool(whole.covariance.isfinite().all()):
            raise InputError(
                "A normalization is learned from finite values, got infinity: correct or leave out "
                "those rows."
            )
        # Sums of squares so far: of the population, as what is normalized is all there is.
        n = whole.counts[0] if joint else whole.counts
        return whole._replace(covariance=whole.covariance / n)

    @property
    def rounding(self) -> Tensor:
        """Returns the variance that rounding to float32 gives a channel, (C,), at most."""
        variance = self.covariance if self.covariance.ndim == 1 else self.covariance.diagonal()
        return ROUNDING**2 * (variance + self.mean.square())


def _apart(rows: Tensor) -> Moments:
    """Returns count, mean and sum of squares around it of each channel of rows (n, C)."""
    there = ~rows.isnan()
    count = there.sum(0)
    mean = torch.where(there, rows, 0.0).sum(0) / count.clamp(min=1)
    return Moments(count, mean, torch.where(there, rows - mean, 0.0).square().sum(0))


def _joint(rows: Tensor) -> Moments:
    """Likewise with the sums of products, of the rows that are whole."""
    rows = rows[~rows.isnan().any(1)]
    mean = rows.sum(0) / max(len(rows), 1)
    around = rows - mean
    return Moments(torch.full_like(mean, len(rows)).long(), mean, around.T @ around)


def _merged(a: Moments, b: Moments) -> Moments:
    """Joins the moments of two parts, with sums in the place of variances."""
    count = a.counts + b.counts
    share = b.counts.double() / count.clamp(min=1)
    between = b.mean - a.mean
    joint = a.covariance.ndim == 2
    squares = torch.outer(between, between) if joint else between.square()
    return Moments(
        count, a.mean + between * share, a.covariance + b.covariance + squares * share * a.counts
    )

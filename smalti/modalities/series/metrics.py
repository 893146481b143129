"""Metrics of reconstructed series: MSE and MSE/variance.

Of the values that are there, with gaps left out, and channels c of the set,

    MSE_c        = mean (x_c − x̂_c)²
    variance_c   = mean (x_c − m_c)²              m_c the mean of the channel in the set
    MSE/variance = mean over channels of MSE_c / variance_c
    MSE          = mean over channels of MSE_c

Channels have units of their own, so that MSE/variance is taken of each by itself: 1 where x̂ is the
mean of its channel, 0 for a perfect one. A channel that is constant has none, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from smalti.modalities.base import Metric
from smalti.reporting.figures import Figure, figure, undefined_figure

__all__ = ["ChannelErrors", "SeriesError"]


class ChannelErrors:
    """Accumulates the squared errors and the variance of each channel, batch by batch.

    Example:
        >>> errors = ChannelErrors()
        >>> x = torch.tensor([[[0.0, 2.0, torch.nan], [5.0, 5.0, 5.0]]])
        >>> errors.update(x, torch.ones(1, 2, 3))
        >>> errors.mse.tolist(), errors.variance.tolist()
        ([1.0, 16.0], [1.0, 0.0])
    """

    def __init__(self) -> None:
        self.first: Tensor | None = None
        self.known = self.counts = self.sums = self.squares = self.errors = torch.zeros(0)

    @torch.no_grad()
    def update(self, x: Tensor, x_hat: Tensor) -> None:
        """Adds a batch of x and x_hat, both (B, C, T)."""
        x, x_hat = x.double().cpu(), x_hat.double().cpu()
        there = ~x.isnan()
        if self.first is None:
            self.first = torch.zeros(x.shape[1], dtype=torch.float64)
            self.known = torch.zeros(x.shape[1], dtype=torch.bool)
            self.counts = self.sums = self.squares = self.errors = torch.zeros_like(self.first)
        # Around a value of each channel, so that the variance of equal values is exactly 0.
        for c in ((~self.known) & there.any(2).any(0)).nonzero()[:, 0].tolist():
            self.first[c], self.known[c] = x[:, c][there[:, c]][0], True
        around = torch.where(there, x - self.first[:, None], 0.0)
        error = torch.where(there, x - x_hat, 0.0)
        self.counts = self.counts + there.sum((0, 2))
        self.sums = self.sums + around.sum((0, 2))
        self.squares = self.squares + around.square().sum((0, 2))
        self.errors = self.errors + error.square().sum((0, 2))

    @property
    def mse(self) -> Tensor:
        """Returns the MSE of each channel, (C,); NaN where it has no value."""
        return self.errors / self.counts

    @property
    def variance(self) -> Tensor:
        """Returns the variance of each channel, (C,)."""
        mean = self.sums / self.counts
        return (self.squares / self.counts - mean.square()).clamp(min=0.0)


class SeriesError(Metric):
    """Measures MSE and MSE/variance of reconstructed series, batch by batch; skips gaps.

    Example:
        >>> error = SeriesError()
        >>> x = torch.tensor([[[0.0, 2.0]], [[4.0, torch.nan]]])
        >>> error.update(x, torch.full_like(x, 2.0))
        >>> round(error.figures("test set")["mse_over_variance"]["value"], 6)
        1.0
    """

    names: ClassVar[Mapping[str, str]] = {"mse_over_variance": "MSE / variance", "mse": "MSE"}
    cards: ClassVar[Mapping[str, tuple[str, str]]] = {
        "mse_over_variance": ("MSE / variance", "0 is perfect, 1 the mean of each channel"),
    }

    def __init__(self) -> None:
        self.errors = ChannelErrors()

    def update(self, x: Tensor, x_hat: Tensor) -> None:
        """Adds a batch of x and x_hat, both (B, C, T)."""
        self.errors.update(x, x_hat)

    def figures(self, measured_on: str) -> dict[str, Figure]:
        """Returns MSE/variance and MSE.

        Arguments:
            measured_on: The set and its N, for the protocols.
        """
        mse, variance = self.errors.mse, self.errors.variance
        varies = variance > 0
        without = int((~varies).sum())
        over = (
            f"{measured_on}; of each channel the MSE over its variance in this set, gaps left out; "
            f"mean over channels"
        )
        over += f", without {without} that do not vary" * bool(without and bool(varies.any()))
        share = (mse / variance)[varies].mean().item() if bool(varies.any()) else 0.0
        return {
            "mse_over_variance": figure(share, "", over)
            if bool(varies.any())
            else undefined_figure("", over, "all channels are constant"),
            "mse": figure(
                mse.nanmean().item(),
                "",
                f"{measured_on}; in the units of the data, gaps left out; mean over channels",
            ),
        }

    def missing(self) -> dict[str, str]:
        """Returns an empty dictionary: all series have these figures."""
        return {}

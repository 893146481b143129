"""Metrics of reconstructed vectors: MSE, MSE/variance, lost spread and cosine.

Of N vectors x of d values and their reconstructions x̂

    MSE          = mean (x − x̂)²                         over all values
    MSE/variance = MSE / mean (x − m)²                   one number m, the mean of all values
    spread lost  = MSE / mean (x − m)²                   m the mean vector of the set
    cosine       = mean of x · x̂ / (‖x‖ ‖x̂‖)             over vectors; 0 where x̂ is 0

MSE/variance is that of all kinds of data, and what papers and libraries give. Where the dimensions
have different means, a part of that variance is common to all vectors, and no information about one
of them. The spread lost leaves it out: it is 1 where every x̂ is the mean vector, and 1 less the
share of variance explained. Where the length of vectors means nothing, x is scaled to length 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.modalities.base import Metric
from smalti.reporting.figures import Figure, figure, undefined_figure

__all__ = ["VectorError"]


class VectorError(Metric):
    """Measures MSE, MSE/variance and cosine of reconstructed vectors, batch by batch.

    A further figure is the spread lost: MSE over the mean squared distance from the mean vector.

    Arguments:
        unit: Whether vectors are scaled to length 1 before they are compared.

    Example:
        >>> error = VectorError()
        >>> x = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
        >>> error.update(x, x.mean(0).expand(2, 2))
        >>> error.figures("test set")["spread_lost"]["value"]
        1.0
    """

    names: ClassVar[Mapping[str, str]] = {
        "mse_over_variance": "MSE / variance",
        "spread_lost": "Spread lost",
        "cosine": "Cosine",
        "mse": "MSE",
    }
    cards: ClassVar[Mapping[str, tuple[str, str]]] = {
        "mse_over_variance": ("MSE / variance", "0 is perfect, 1 the mean of all values"),
        "cosine": ("Cosine of vector and reconstruction", "1 is the same direction"),
    }

    def __init__(self, unit: bool = False) -> None:
        self.unit = unit
        self.n = 0
        self.squared_error = self.sum_of_squares = self.cosine = 0.0
        self.sum_of_values = self.squares_of_values = 0.0
        self.first: Tensor | None = None
        self.sum: Tensor | None = None

    @torch.no_grad()
    def update(self, x: Tensor, x_hat: Tensor) -> None:
        """Adds a batch of x and x_hat, both (B, d)."""
        x, x_hat = x.double().cpu(), x_hat.double().cpu()
        x = F.normalize(x, dim=1) if self.unit else x
        self.n += len(x)
        # Around a vector of the set, so that the variance of equal vectors is exactly 0.
        self.first = x[0] if self.first is None else self.first
        # One difference at a time, which is squared in its place: batches may be large.
        values = x - self.first[0]
        self.sum_of_values += values.sum().item()
        self.squares_of_values += values.square_().sum().item()
        around = torch.sub(x, self.first, out=values)
        self.sum = around.sum(0) + (0.0 if self.sum is None else self.sum)
        self.sum_of_squares += around.square_().sum().item()
        self.squared_error += torch.sub(x, x_hat, out=around).square_().sum().item()
        self.cosine += F.cosine_similarity(x, x_hat, dim=1).sum().item()

    def figures(self, measured_on: str) -> dict[str, Figure]:
        """Returns MSE/variance, the spread lost, cosine and MSE.

        Arguments:
            measured_on: The set and its N, for the protocols.
        """
        assert self.sum is not None
        n = self.n * len(self.sum)
        given = "scaled to unit length" if self.unit else "as they were given"
        measured_on += f", vectors {given}"
        mse = self.squared_error / n
        spread = (self.sum_of_squares - self.sum.square().sum().item() / self.n) / n
        variance = self.squares_of_values / n - (self.sum_of_values / n) ** 2
        return {
            "mse_over_variance": _ratio(
                mse,
                variance,
                f"{measured_on}; the MSE over the variance, {variance:.4g}, of all values of this "
                f"set around their one global mean",
            ),
            "spread_lost": _ratio(
                mse,
                spread,
                f"{measured_on}; the MSE over the variance, {spread:.4g}, of this set around its "
                f"mean vector, the mean over dimensions: 1 less the share of variance explained",
            ),
            "cosine": figure(self.cosine / self.n, "", f"{measured_on}; mean over vectors"),
            "mse": figure(mse, "", f"{measured_on}; mean over all values of all vectors"),
        }

    def missing(self) -> dict[str, str]:
        """Returns an empty dictionary: all vectors have these figures."""
        return {}


def _ratio(mse: float, variance: float, protocol: str) -> Figure:
    """Returns the MSE over a variance; undefined where that is 0."""
    if variance > 0:
        return figure(mse / variance, "", protocol)
    return undefined_figure("", protocol, "all vectors are equal")

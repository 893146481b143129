"""How faithful reconstructions of vectors are: MSE, MSE/variance and cosine.

Of N vectors x of d values and their reconstructions x̂

    MSE          = mean (x − x̂)²                         over all values
    MSE/variance = MSE / mean (x − m)²                   m the mean vector of the set
    cosine       = mean of x · x̂ / (‖x‖ ‖x̂‖)             over vectors; 0 where x̂ is 0

MSE/variance is 1 where every x̂ is m, and 0 for perfect ones, whatever the scale of the vectors. It
is the share of the spread that is lost: 1 less the share of variance explained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.modalities.base import Metric
from smalti.reporting.figures import Figure, figure, undefined

__all__ = ["VectorError"]


class VectorError(Metric):
    """Measures MSE, MSE over the variance, and cosine of reconstructions, batch by batch.

    Arguments:
        unit: Whether vectors are scaled to length 1 before they are compared.

    Example:
        >>> error = VectorError()
        >>> x = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
        >>> error.update(x, x.mean(0).expand(2, 2))
        >>> error.figures("test set")["mse_over_variance"]["value"]
        1.0
    """

    names: ClassVar[Mapping[str, str]] = {
        "mse_over_variance": "MSE / variance",
        "cosine": "Cosine",
        "mse": "MSE",
    }
    cards: ClassVar[Mapping[str, tuple[str, str]]] = {
        "mse_over_variance": ("MSE / variance", "0 is perfect, 1 the mean vector"),
        "cosine": ("Cosine of vector and reconstruction", "1 is the same direction"),
    }

    def __init__(self, unit: bool = False) -> None:
        self.unit = unit
        self.n = 0
        self.squared_error = self.sum_of_squares = self.cosine = 0.0
        self.first: Tensor | None = None
        self.sum: Tensor | None = None

    @torch.no_grad()
    def update(self, x: Tensor, x_hat: Tensor) -> None:
        """Takes in x and x_hat, both (B, d)."""
        x, x_hat = x.double().cpu(), x_hat.double().cpu()
        x = F.normalize(x, dim=1) if self.unit else x
        self.n += len(x)
        # Around a vector of the set, so that the variance of equal vectors is exactly 0.
        self.first = x[0] if self.first is None else self.first
        around = x - self.first
        self.sum = around.sum(0) + (0.0 if self.sum is None else self.sum)
        self.sum_of_squares += around.square().sum().item()
        self.squared_error += (x - x_hat).square().sum().item()
        self.cosine += F.cosine_similarity(x, x_hat, dim=1).sum().item()

    def figures(self, measured_on: str) -> dict[str, Figure]:
        """Returns MSE/variance, cosine and MSE.

        Arguments:
            measured_on: The set and its N, for the protocols.
        """
        assert self.sum is not None
        values = self.n * len(self.sum)
        given = "scaled to unit length" if self.unit else "as they were given"
        mse = self.squared_error / values
        spread = self.sum_of_squares - self.sum.square().sum().item() / self.n
        variance = max(0.0, spread) / values
        over = (
            f"{measured_on}; the MSE over the variance, {variance:.4g}, of this set around its "
            f"mean vector: the mean over all dimensions, of vectors {given}"
        )
        return {
            "mse_over_variance": figure(mse / variance, "", over)
            if variance > 0
            else undefined("", over, "all vectors are equal"),
            "cosine": figure(
                self.cosine / self.n, "", f"{measured_on}; mean over vectors, {given}"
            ),
            "mse": figure(mse, "", f"{measured_on}; mean over all values of vectors {given}"),
        }

    def missing(self) -> dict[str, str]:
        """Returns an empty dictionary: all vectors have these figures."""
        return {}

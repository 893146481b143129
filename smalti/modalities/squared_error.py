"""The squared error of reconstructions, a metric of all modalities with bounded values.

For signals x with values in [low, high] and their reconstructions x̂, clipped to the same range,

    MSE          = mean (x − x̂)²                            over all values of all signals
    MSE/variance = MSE / mean (x − m)²,   m = mean x         one number m for the whole set

MSE/variance is 1 for the reconstruction that is everywhere m, and 0 for a perfect one; other than
the MSE it does not depend on the contrast of the data. It is undefined where all values of the set
are equal, for their variance is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from smalti.modalities.base import Metric
from smalti.reporting.figures import Figure, figure, undefined_figure
from smalti.signals import Bounded

__all__ = ["SquaredError"]

AT_ONCE = 1 << 24  # values


class SquaredError(Metric):
    """Measures MSE and MSE/variance of reconstructions, batch by batch.

    Arguments:
        signal: The signal that is reconstructed.

    Example:
        >>> from smalti.modalities.image import Image
        >>> error = SquaredError(Image(3))
        >>> x = torch.linspace(-1, 1, 4 * 3 * 16 * 16).view(4, 3, 16, 16)
        >>> error.update(x, torch.zeros_like(x))
        >>> round(error.figures("test set")["mse_over_variance"]["value"], 6)
        1.0
    """

    names: ClassVar[Mapping[str, str]] = {"mse": "MSE", "mse_over_variance": "MSE / variance"}
    cards: ClassVar[Mapping[str, tuple[str, str]]] = {
        "mse": ("MSE of reconstructions", ""),
        "mse_over_variance": ("MSE / variance", "0 is perfect, 1 the mean of all values"),
    }

    def __init__(self, signal: Bounded) -> None:
        self.signal = signal
        self.values = 0
        self.sum = self.sum_of_squares = self.squared_error = 0.0
        self.first: float | None = None

    @torch.no_grad()
    def update(self, x: Tensor, x_hat: Tensor) -> None:
        """Adds a batch of x and x_hat, both (B, C, *size)."""
        self.values += x.numel()
        # Around a value of the set, so that the variance of equal values is exactly 0.
        self.first = x.flatten()[0].item() if self.first is None else self.first
        pieces = zip(x.flatten().split(AT_ONCE), x_hat.flatten().split(AT_ONCE), strict=True)
        for part, part_hat in pieces:
            around = part.double() - self.first
            self.sum += around.sum().item()
            self.sum_of_squares += around.square().sum().item()
            error = part.double() - self.signal.finish(part_hat).double()
            self.squared_error += error.square().sum().item()

    def figures(self, measured_on: str) -> dict[str, Figure]:
        """Returns MSE and MSE/variance.

        Arguments:
            measured_on: The set and its N, for the protocols.
        """
        mse = self.squared_error / self.values
        variance = self.sum_of_squares / self.values - (self.sum / self.values) ** 2
        measured_on += f", values in [{self.signal.low:g}, {self.signal.high:g}]"
        over = (
            f"{measured_on}; the MSE over the variance, {variance:.4f}, of all values of this set "
            f"around their one global mean"
        )
        return {
            "mse": figure(
                mse,
                "",
                f"{measured_on}, reconstructions clipped to it; mean over all values of all "
                f"{self.signal.plural}",
            ),
            "mse_over_variance": figure(mse / variance, "", over)
            if variance > 0
            else undefined_figure("", over, "all values are equal"),
        }

    def missing(self) -> dict[str, str]:
        """Returns an empty dictionary: all signals have these figures."""
        return {}

"""A small classifier of series.

x (B, C, T) ─▶ channels standardised, 0 in gaps, and beside them which values are there
            ─▶ three convolutions of 7, 5 and 3 steps, each of half as many steps, 32 to 64 channels
            ─▶ mean over steps ─▶ linear, ReLU: 64 features ─▶ linear: logits
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.modalities.base import Classifier

__all__ = ["SeriesClassifier"]


class SeriesClassifier(Classifier):
    """A small convolutional classifier of series.

    Arguments:
        channels: C.
        classes: The number of classes.
        features: F, the number of features before the last layer.
        width: Channels of the first convolution.
    """

    def __init__(self, channels: int, classes: int, features: int = 64, width: int = 32) -> None:
        super().__init__()
        self.standardised = _Standardised(channels)
        self.body = nn.Sequential(
            *_convolution(2 * channels, width, 7),
            *_convolution(width, 2 * width, 5),
            *_convolution(2 * width, 2 * width, 3),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(2 * width, features),
            nn.ReLU(),
        )
        self.head = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """Maps series (B, C, T) to features (B, F), the inputs of the last layer."""
        there = (~x.isnan()).to(x.dtype)
        return self.body(torch.cat([self.standardised(x), there], dim=1))


class _Standardised(nn.Module):
    """Standardises channels by the values that are there in all batches of training so far."""

    mean: Tensor
    squares: Tensor
    seen: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("mean", "squares", "seen"):
            self.register_buffer(name, torch.zeros(channels, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        there = ~x.isnan()
        if self.training:
            with torch.no_grad():
                values = torch.where(there, x, 0.0).double()
                count = there.sum((0, 2))
                share = count / (self.seen + count).clamp(min=1)
                mean = values.sum((0, 2)) / count.clamp(min=1)
                squares = values.square().sum((0, 2)) / count.clamp(min=1)
                self.mean += share * (mean - self.mean)
                self.squares += share * (squares - self.squares)
                self.seen += count
        deviation = (self.squares - self.mean.square()).clamp(min=1e-12).sqrt()
        y = (x - self.mean[:, None].to(x.dtype)) / deviation[:, None].to(x.dtype)
        return torch.where(there, y, 0.0)


def _convolution(channels: int, width: int, kernel: int) -> list[nn.Module]:
    return [
        nn.Conv1d(channels, width, kernel, stride=2, padding=kernel // 2, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
    ]

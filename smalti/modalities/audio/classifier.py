"""A small classifier of sounds, on the logarithm of their mel spectrograms.

x (B, C, T) ─▶ mean of channels, STFT, 40 mel bands, logarithm, each band standardised
            ─▶ three 2-D convolutions of 3×3, 24 to 48 channels, each halving bands and frames
            ─▶ mean and maximum over frames ─▶ linear, ReLU: 64 features ─▶ linear: logits
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from smalti.modalities.base import Classifier

__all__ = ["SoundClassifier", "mel_filters"]

BANDS = 40
WINDOW = 0.032  # s
FLOOR = 1e-5  # of the power, below which there is silence


class SoundClassifier(Classifier):
    """A small convolutional classifier of sounds.

    Arguments:
        rate: Samples per second.
        classes: The number of classes.
        features: F, the number of features before the last layer.
        width: Channels of the first convolution.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, rate: int, classes: int, features: int = 64, width: int = 24) -> None:
        super().__init__()
        self.length = 1 << max(5, round(math.log2(WINDOW * rate)))
        self.hop = self.length // 2
        self.register_buffer("window", torch.hann_window(self.length))
        self.register_buffer("filters", mel_filters(rate, self.length, BANDS))
        self.standardised = nn.BatchNorm1d(BANDS, affine=False)
        self.body = nn.Sequential(
            *_convolution(1, width),
            *_convolution(width, 2 * width),
            *_convolution(2 * width, 2 * width),
        )
        bands = math.ceil(math.ceil(math.ceil(BANDS / 2) / 2) / 2)
        self.features_of = nn.Sequential(nn.Linear(4 * width * bands, features), nn.ReLU())
        self.head = nn.Linear(features, classes)

    def log_mel(self, x: Tensor) -> Tensor:
        """Maps sounds (B, C, T) to the logarithms of their mel spectrograms (B, bands, frames)."""
        mono = x.mean(1)
        short = max(0, self.length - mono.shape[1])
        mono = nn.functional.pad(mono, (0, short))
        stft = torch.stft(
            mono.to(self.window.dtype),
            self.length,
            self.hop,
            window=self.window,
            return_complex=True,
            pad_mode="constant",
        )
        return (self.filters @ stft.abs().square() + FLOOR).log()

    def features(self, x: Tensor) -> Tensor:
        """Maps sounds (B, C, T) to features (B, F), the inputs of the last layer."""
        h = self.body(self.standardised(self.log_mel(x))[:, None])  # (B, width, bands, frames)
        pooled = torch.cat([h.mean(3), h.amax(3)], dim=1)
        return self.features_of(pooled.flatten(1))


def mel_filters(rate: int, length: int, bands: int) -> Tensor:
    """Returns triangular filters on the mel scale: (bands, length / 2 + 1).

    Each passes a weighted mean of the power around its middle; mel(f) = 2595 log₁₀(1 + f / 700).

    Example:
        >>> mel_filters(8000, 256, 40).shape
        torch.Size([40, 129])
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
    width = rate / length  # Hz from one value of the spectrum to the next
    places = torch.arange(length // 2 + 1, dtype=torch.float64) * width
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    # A filter is at least as wide as the spectrum is fine, or it would pass nothing.
    rise = (places - low) / (middle - low).clamp(min=width)
    fall = (high - places) / (high - middle).clamp(min=width)
    return torch.minimum(rise, fall).clamp(min=0).float()


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]

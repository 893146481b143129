"""Discriminators of waveforms: of their short-time spectra, and of every p-th sample.

What gives a reconstructed waveform away are buzzing and wrong phase, which losses of magnitudes do
not see. Two kinds of views show them:

    multi-scale STFT    real and imaginary parts of the spectrum, as channels of a picture over
                        time and frequency; a network of its own for each window
    multi-period        the waveform folded to rows of p samples, (B, C, T/p, p), of which columns
                        are judged one by one; a network of its own for each of several primes p

Both weigh as their papers do; widths are arguments, for they make most of the time of a training.

References:
    High Fidelity Neural Audio Compression, A. Défossez, J. Copet, G. Synnaeve and Y. Adi, 2022,
    arXiv 2210.13438, section 3.4.
    HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity Speech Synthesis, J.
    Kong, J. Kim and J. Bae, 2020, arXiv 2010.05646, section 2.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from smalti.errors import InputError
from smalti.networks.discriminator import Discriminator, Verdict
from smalti.nn.spectra import Spectra, window_lengths
from smalti.registry import registered
from smalti.signals import Signal

__all__ = ["MultiPeriodDiscriminator", "MultiScaleSTFTDiscriminator"]

DILATIONS = (1, 2, 4)  # over time, of the layers that halve the frequencies


@registered
class MultiScaleSTFTDiscriminator(Discriminator):
    """EnCodec's discriminator: convolutions over complex spectra at several resolutions.

    Windows are rounded to powers of two, in samples; hops are a quarter of them. At 24 kHz they are
    those of EnCodec, 128 to 2048.

    Arguments:
        signal: What it judges: waveforms with a rate, of any number of channels.
        hidden: Channels of each layer.
        windows: Lengths of the windows in milliseconds, one for each scale.

    Raises:
        InputError: If signals have no rate, or a window is shorter than 4 samples.
    """

    def __init__(
        self,
        signal: Signal,
        *,
        hidden: int = 32,
        windows: Sequence[float] = (5.0, 10.0, 20.0, 40.0, 80.0),
    ) -> None:
        super().__init__()
        rate = getattr(signal, "rate", None)
        if rate is None or signal.spatial_dims != 1:
            raise InputError(
                f"A {type(self).__name__} has windows in milliseconds, got {signal.plural} without "
                f"a rate: choose another discriminator."
            )
        lengths = [1 << round(math.log2(n)) for n in window_lengths(windows, rate)]
        self.scales = nn.ModuleList(_OfSpectra(signal.channels, hidden, n) for n in lengths)

    def forward(self, x: Tensor) -> Verdict:
        """Returns scores (B, 1, frames, bins) for each window, and the features of each layer."""
        return Verdict.joined([scale(x) for scale in self.scales])


class _OfSpectra(nn.Module):
    """The network of one window: (B, C, T) → scores (B, 1, frames, bins)."""

    def __init__(self, channels: int, hidden: int, window: int) -> None:
        super().__init__()
        self.spectra = Spectra(window, window, window // 4)
        layers = [nn.Conv2d(2 * channels, hidden, (3, 9), padding=(1, 4))]
        layers.extend(
            nn.Conv2d(hidden, hidden, (3, 9), (1, 2), padding=(d, 4), dilation=(d, 1))
            for d in DILATIONS
        )
        layers.append(nn.Conv2d(hidden, hidden, 3, padding=1))
        self.layers = nn.ModuleList(map(weight_norm, layers))
        self.score = weight_norm(nn.Conv2d(hidden, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Verdict:
        spectra = torch.view_as_real(self.spectra(x))
        h = rearrange(spectra, "b c bins frames part -> b (part c) frames bins")
        return _judge(h, self.layers, self.score)


@registered
class MultiPeriodDiscriminator(Discriminator):
    """HiFi-GAN's discriminator of periods: strided convolutions over every p-th sample.

    Channels grow fourfold from layer to layer, up to 32 times as many as in the first. A waveform
    that p does not divide is filled up with silence.

    Arguments:
        signal: What it judges: signals over one dimension.
        hidden: Channels of the first layer.
        periods: Each p.
        layers: Number of layers, all but the last of stride 3.

    Raises:
        InputError: If signals are not over one dimension, or a period is below 1.

    Example:
        >>> from smalti.networks import Features
        >>> judge = MultiPeriodDiscriminator(Features(1, spatial_dims=1), hidden=4, periods=[2, 3])
        >>> [tuple(scores.shape) for scores in judge(torch.zeros(2, 1, 1000)).scores]
        [(2, 1, 7, 2), (2, 1, 5, 3)]
    """

    def __init__(
        self,
        signal: Signal,
        *,
        hidden: int = 32,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        layers: int = 5,
    ) -> None:
        super().__init__()
        if signal.spatial_dims != 1:
            raise InputError(
                f"A MultiPeriodDiscriminator judges signals over one dimension, got "
                f"{signal.plural}: choose PatchDiscriminator."
            )
        if min(periods, default=0) < 1:
            raise InputError(f"Periods are samples from 1 on, got {list(periods)}: e.g. 2, 3, 5.")
        widths = [signal.channels, *(hidden * min(4**layer, 32) for layer in range(layers))]
        self.scales = nn.ModuleList(_OfPeriod(widths, period) for period in periods)

    def forward(self, x: Tensor) -> Verdict:
        """Returns scores (B, 1, rows, p) for each p, and the features of each layer."""
        return Verdict.joined([scale(x) for scale in self.scales])


class _OfPeriod(nn.Module):
    """The network of one period: (B, C, T) → scores (B, 1, rows, p)."""

    def __init__(self, widths: Sequence[int], period: int) -> None:
        super().__init__()
        self.period = period
        pairs = list(pairwise(widths))
        strides = [3] * (len(pairs) - 1) + [1]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, width, (5, 1), (stride, 1), padding=(2, 0)))
            for (before, width), stride in zip(pairs, strides, strict=True)
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor) -> Verdict:
        filled = F.pad(x, (0, -x.shape[-1] % self.period))
        h = rearrange(filled, "b c (rows p) -> b c rows p", p=self.period)
        return _judge(h, self.layers, self.score)


def _judge(h: Tensor, layers: nn.ModuleList, score: nn.Module) -> Verdict:
    """Returns the scores and the features of a stack of convolutions."""
    features = []
    h = h.to(score.bias.dtype)  # type: ignore[arg-type]
    for layer in layers:
        h = F.leaky_relu(layer(h), 0.2)
        features.append(h)
    return Verdict((score(h),), tuple(features))

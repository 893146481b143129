"""Alignment: finds by how many samples a codec returns a sound early or late, and undoes it.

Measures that compare samples take a constant delay for an error: speech that comes back eight
samples early at 16 kHz loses 13 dB of SI-SDR and more, though nobody hears the half millisecond. So
the lag l of the reconstruction x̂ is found first, the maximum of the cross-correlation

    l = argmax over |l| ≤ most of Σ_t x(t) x̂(t + l)        summed over channels

and both are cut to the samples that they share: x(t) beside x̂(t + l). The lag is a whole number,
and the search is bounded, because the correlation of a voice has a peak at every period. The delay
of a model is the same for all sounds: `find_joint_lag` has it from the mean of their correlations.

A codec of parameters alone, such as Codec2, keeps no waveform to correlate: its lag is one number
for all sounds, found through `envelope`, the energy over time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.arguments import as_whole_number
from smalti.errors import InputError
from smalti.modalities.audio.pairs import as_pair

__all__ = ["Aligned", "align", "correlate", "envelope", "find_joint_lag", "find_lag", "shift"]

ALIKE = 0.1  # the mean correlation from which on a peak is no chance


class Aligned(NamedTuple):
    """Sounds and their reconstructions, cut to the samples that they share.

    Attributes:
        x: (B, C, T'), or (T',) where one sound was given.
        x_hat: Likewise.
        lag: (B,), int64: by how many samples each reconstruction came late; negative if early.
    """

    x: Tensor
    x_hat: Tensor
    lag: Tensor


def correlate(x: Any, x_hat: Any, most: int) -> Tensor:
    """Computes the cross-correlation at all lags from -most to most: (B, 2·most + 1), float64.

    Each row is divided by the norms of both sounds; that of a silent one is 0.

    Arguments:
        x: (B, C, T), or (T,).
        x_hat: Likewise; it may be longer or shorter.
        most: The largest lag, in samples.

    Raises:
        InputError: See `as_pair`; or if `most` is no whole number from 0 on.
    """
    x, x_hat = as_pair(x, x_hat, same_length=False)
    most = as_whole_number(most, "The largest lag", 0)
    length = -(-(x.shape[-1] + x_hat.shape[-1] + most) // 256) * 256  # of small factors mostly
    spectrum = torch.fft.rfft(x, length).conj() * torch.fft.rfft(x_hat, length)
    product = torch.fft.irfft(spectrum, length).sum(1)  # at lag l mod length
    lags = torch.arange(-most, most + 1, device=x.device) % length
    norms = x.square().sum((1, 2)).sqrt() * x_hat.square().sum((1, 2)).sqrt()
    found = product[:, lags] / norms.clamp(min=1e-300)[:, None]
    return torch.where(norms[:, None] > 0, found, 0.0)


def find_lag(x: Any, x_hat: Any, most: int) -> Tensor:
    """Finds by how many samples reconstructions came late: (B,), int64, negative if early.

    Of equal peaks the smallest lag is taken, so that of a silent sound is 0. No lag is tried that
    is above a third of the shorter sound. Arguments and errors are those of `correlate`.

    Example:
        >>> x = torch.randn(4000, generator=torch.Generator().manual_seed(0))
        >>> find_lag(x, x[8:], most=20)  # eight samples early
        tensor([-8])
    """
    most = as_whole_number(most, "The largest lag", 0)
    shortest = min(sound.shape[-1] for sound in as_pair(x, x_hat, same_length=False))
    most = min(most, shortest // 3)
    found = correlate(x, x_hat, most)
    order = torch.arange(-most, most + 1).abs().argsort(stable=True)
    best = found[:, order.to(found.device)].argmax(1).cpu()
    return (order - most)[best]


def find_joint_lag(x: Any, x_hat: Any, most: int) -> int | None:
    """Finds the one lag by which all of several reconstructions came late, negative if early.

    Arguments:
        x: (B, C, T), or (T,).
        x_hat: Likewise; it may be longer or shorter.
        most: The largest lag that is tried, in samples; none is tried above a third of the sounds.

    Returns:
        The lag; `None` where the sounds do not correlate, so that a lag would be one by chance.

    Raises:
        InputError: See `correlate`.

    Example:
        >>> x = torch.randn(3, 1, 4000, generator=torch.Generator().manual_seed(0))
        >>> find_joint_lag(x, x.roll(-8, 2), most=20), find_joint_lag(x, x.flip(2), most=20)
        (-8, None)
    """
    shortest = min(sound.shape[-1] for sound in as_pair(x, x_hat, same_length=False))
    most = min(as_whole_number(most, "The largest lag", 0), shortest // 3)
    mean = correlate(x, x_hat, most).mean(0)
    return int(mean.argmax()) - most if float(mean.max()) >= ALIKE else None


def shift(x: Tensor, x_hat: Tensor, lag: Tensor) -> Aligned:
    """Cuts sounds and reconstructions to the samples that they share, given the lag of each.

    Arguments:
        x: (B, C, T), or (T,).
        x_hat: Likewise; it may be longer or shorter.
        lag: (B,), whole numbers; see `Aligned`.

    Raises:
        InputError: If the sounds share no sample then.
    """
    first = max(0, -int(lag.min()))
    end = min(x.shape[-1], x_hat.shape[-1] - max(0, int(lag.max())))
    if end <= first:
        raise InputError(
            f"Sounds of {x.shape[-1]} and {x_hat.shape[-1]} samples share none at lags of "
            f"{int(lag.min())} to {int(lag.max())}: give longer ones."
        )
    if x.ndim == 1:
        return Aligned(x[first:end], x_hat[first + int(lag) : end + int(lag)], lag)
    moved = [sound[:, first + n : end + n] for sound, n in zip(x_hat, lag.tolist(), strict=True)]
    return Aligned(x[..., first:end], torch.stack(moved), lag)


def align(x: Tensor, x_hat: Tensor, most: int) -> Aligned:
    """Aligns reconstructions with their sounds, each by the lag that fits best.

    Arguments:
        x: (B, C, T), or (T,).
        x_hat: Likewise; it may be longer or shorter.
        most: The largest lag that is tried, in samples, such as those of 20 ms.

    Raises:
        InputError: See `correlate`.

    Example:
        >>> x = torch.randn(2, 1, 4000, generator=torch.Generator().manual_seed(0))
        >>> aligned = align(x, F.pad(x, (5, 0)), most=20)
        >>> aligned.lag.tolist(), torch.equal(aligned.x, aligned.x_hat)
        ([5, 5], True)
    """
    return shift(x, x_hat, find_lag(x, x_hat, most))


def envelope(x: Tensor, hop: int) -> Tensor:
    """Computes the RMS of sounds over time, in dB, every `hop` samples: (B, C, T // hop).

    It is around its mean, and bounded 60 dB below the loudest, so that `correlate` compares its
    rises and falls.
    """
    power = F.avg_pool1d(x.double().square(), 4 * hop, hop, padding=2 * hop)
    level = 10 * power.clamp(min=1e-12).log10()
    level = level.maximum(level.amax(-1, keepdim=True) - 60)
    return level - level.mean(-1, keepdim=True)

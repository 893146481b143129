"""Spectral losses: distances of the short-time spectra of waveforms, at several resolutions.

An error in time says little of what is heard: a delay of half a period, which nobody hears, costs
more than silence. Magnitudes of short-time Fourier transforms (STFT) leave the phase out, and
several windows together leave no place to hide an error: short ones see when, long ones see which
frequency. With magnitudes S and Ŝ of x and x̂, the windows divided by their length in ℓ₂, so that
white noise of deviation σ has S ≈ σ whatever the window:

    multi-resolution STFT     mean over windows of  ‖S − Ŝ‖_F / ‖S‖_F  +  mean |ln S − ln Ŝ|

    mel distance              mean over windows of  mean |M − M̂| + mean over frames of rms(M − M̂)
                              M = log₁₀(A S)

The matrix A averages the frequencies in bands that are equally wide on the mel scale of HTK,
m = 2595 log₁₀(1 + f / 700), from 0 to half the rate. Its triangles sum to 1, and none is narrower
than the resolution, so that no band is empty. Logarithms are those of S + floor: silence is a value
like any other, and its gradient is finite. The default floor, 10⁻⁵, is at the noise of 16 bits, a
hundred decibels below full scale; what is much below the floor is not compared. Around a waveform
there is silence, so that any length goes.

All is computed in float32, also under autocast.

References:
    Parallel WaveGAN: A fast waveform generation model based on generative adversarial networks with
    multi-resolution spectrogram, R. Yamamoto, E. Song and J.-M. Kim, 2020, arXiv 1910.11480,
    equations 3 to 6.
    High Fidelity Neural Audio Compression, A. Défossez, J. Copet, G. Synnaeve and Y. Adi, 2022,
    arXiv 2210.13438, section 3.4.
    High-Fidelity Audio Compression with Improved RVQGAN, R. Kumar, P. Seetharaman, A. Luebs, I.
    Kumar and K. Kumar, 2023, arXiv 2306.06546, section 3.4.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.losses.reconstruction import ReconstructionLoss
from smalti.nn.precision import KeepsFloat32
from smalti.nn.spectra import Spectra, window_lengths

__all__ = ["MelDistance", "MultiResolutionSTFT", "mel_filters"]

FLOOR = 1e-5
QUIET = 1e-3  # the least root mean square of S that differences are divided by
TINY = 1e-12  # under roots, whose gradient at 0 is infinite


class SpectralLoss(KeepsFloat32, ReconstructionLoss):
    """Abstract: a mean over several resolutions of a distance of magnitudes.

    Arguments:
        spectra: The magnitudes at each resolution.
        floor: What is added to magnitudes before their logarithm.

    Raises:
        InputError: If the floor is not above 0.
    """

    def __init__(self, spectra: Sequence[Spectra], floor: float) -> None:
        super().__init__()
        if not 0 < floor < math.inf:
            raise InputError(f"The floor of magnitudes is above 0, got {floor}: e.g. 1e-5.")
        self.spectra, self.floor = nn.ModuleList(spectra), floor

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Returns the scalar loss between x_hat and x, both (B, C, T)."""
        with torch.autocast(x.device.type, enabled=False):
            distances = [
                self.distance(number, spectra(x_hat).abs(), spectra(x).abs())
                for number, spectra in enumerate(self.spectra)
            ]
            return torch.stack(distances).mean()

    @abstractmethod
    def distance(self, number: int, made: Tensor, wanted: Tensor) -> Tensor:
        """Returns the distance of magnitudes (B, C, bins, frames) at a resolution, a scalar."""


class MultiResolutionSTFT(SpectralLoss):
    """Spectral convergence and the L1 distance of log-magnitudes, at several resolutions.

    Hops are a fifth of the windows. Of a batch that is nearly silent, what spectral convergence
    divides by is at least that of noise at −60 dB.

    Arguments:
        rate: Samples per second.
        windows: Lengths of the windows in milliseconds.
        floor: What is added to magnitudes before their logarithm.

    Raises:
        InputError: If a number is out of range, or a window is shorter than 4 samples.

    Example:
        >>> x = torch.sin(torch.arange(4000) / 3)[None, None]
        >>> loss = MultiResolutionSTFT(8000)
        >>> loss(x, x), loss(-x, x), loss(0.5 * x, x) > 0.5
        (tensor(0.), tensor(0.), tensor(True))
    """

    def __init__(
        self,
        rate: float,
        *,
        windows: Sequence[float] = (10.0, 25.0, 50.0),
        floor: float = FLOOR,
    ) -> None:
        lengths = window_lengths(windows, rate)
        super().__init__(
            [Spectra(n, 1 << (n - 1).bit_length(), max(1, round(n / 5))) for n in lengths], floor
        )

    def distance(self, number: int, made: Tensor, wanted: Tensor) -> Tensor:
        """See `SpectralLoss.distance`."""
        error = ((made - wanted).square().mean() + TINY).sqrt() - math.sqrt(TINY)
        convergence = error / wanted.square().mean().sqrt().clamp_min(QUIET)
        logs = ((made + self.floor).log() - (wanted + self.floor).log()).abs().mean()
        return convergence + logs


class MelDistance(SpectralLoss):
    """L1 and L2 distance of log-mel spectrograms with several windows.

    Windows are rounded to powers of two, in samples; hops are a quarter of them. A window of n
    samples has 5n/32 bands, but no more than `bands`.

    Arguments:
        rate: Samples per second.
        windows: Lengths of the windows in milliseconds.
        bands: Most bands of a spectrogram.
        floor: What is added to magnitudes before their logarithm.

    Raises:
        InputError: If a number is out of range, or a window is shorter than 4 samples.

    Example:
        >>> x = torch.sin(torch.arange(4000) / 3)[None, None]
        >>> loss = MelDistance(8000)
        >>> loss(x, x), loss(0.1 * x, x) > 0.5
        (tensor(0.), tensor(True))
    """

    def __init__(
        self,
        rate: float,
        *,
        windows: Sequence[float] = (4.0, 8.0, 16.0, 32.0, 64.0),
        bands: int = 80,
        floor: float = FLOOR,
    ) -> None:
        lengths = [1 << round(math.log2(n)) for n in window_lengths(windows, rate)]
        super().__init__([Spectra(n, n, n // 4) for n in lengths], floor)
        self.in_float32 = tuple(f"filters_{number}" for number in range(len(lengths)))
        for name, n in zip(self.in_float32, lengths, strict=True):
            filters = mel_filters(rate, n, max(1, min(bands, 5 * n // 32)))
            self.register_buffer(name, filters, persistent=False)

    def distance(self, number: int, made: Tensor, wanted: Tensor) -> Tensor:
        """See `SpectralLoss.distance`."""
        filters: Tensor = getattr(self, f"filters_{number}")
        logs = [(filters @ magnitudes + self.floor).log10() for magnitudes in (made, wanted)]
        difference = logs[0] - logs[1]
        rms = (difference.square().mean(-2) + TINY).sqrt() - math.sqrt(TINY)
        return difference.abs().mean() + rms.mean()


def mel_filters(rate: float, size: int, bands: int) -> Tensor:
    """Returns the matrix A that averages the bins of a spectrum in bands, float32.

    The bands are triangles between points that are equally far on HTK's mel scale, from 0 to
    rate / 2. None is narrower than one bin to either side. Rows sum to 1.

    Arguments:
        rate: Samples per second.
        size: Length of the transform in samples.
        bands: Number of bands.

    Returns:
        (bands, size/2 + 1).

    Example:
        >>> mel_filters(8000, 256, 20).sum(1).allclose(torch.ones(20))
        True
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    mels = torch.linspace(0, top, bands + 2, dtype=torch.float64)
    points = 700 * (10 ** (mels / 2595) - 1)
    bin_width = rate / size
    frequencies = torch.arange(size // 2 + 1, dtype=torch.float64) * bin_width
    below, centre, above = points[:-2, None], points[1:-1, None], points[2:, None]
    rising = (frequencies - centre) / (centre - below).clamp_min(bin_width) + 1
    falling = (centre - frequencies) / (above - centre).clamp_min(bin_width) + 1
    filters = torch.minimum(rising, falling).clamp_min(0)
    return (filters / filters.sum(1, keepdim=True)).float()

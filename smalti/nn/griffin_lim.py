"""Waveforms as magnitudes of a short-time Fourier transform, and back without phases.

    magnitudes     v = g (|X| / ‖w‖)^p          X: frames of n_fft samples, hop apart, window w
    Griffin-Lim    X_0 = M                      M = max(v / g, 0)^(1/p), all phases 0
                   Y_i = STFT(inverse STFT(X_i))
                   X_{i+1} = M e^{i φ},  φ the phases of Y_i + α (Y_i − Y_{i−1})

A codec that need not keep phases spends no bits on them. What is heard lies in magnitudes, and
where frames overlap by three quarters a waveform follows from them but for its sign: each of
Griffin and Lim's iterations takes the phases of the waveform that fits best so far. With α = 0.99
they need few (Perraudin et al.). The power p, below 1, makes quiet frequencies count, as the ear
does. And g² falls as the mel scale does, as 1 / (1 + f / 700 Hz), so that a squared error of v
counts equal steps of pitch alike. Of a signal without a rate g is 1.

All phases are 0 at first, wherever a frame lies. So a sample depends on frames near it alone, and
long waveforms can be made in tiles.

References:
    Signal Estimation from Modified Short-Time Fourier Transform, D. W. Griffin and J. S. Lim, IEEE
    Transactions on Acoustics, Speech and Signal Processing 32, 1984.
    A fast Griffin-Lim algorithm, N. Perraudin, P. Balazs and P. L. Søndergaard, WASPAA 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.nn.inverse_stft import InverseSTFT
from smalti.nn.precision import KeepsFloat32

__all__ = ["GriffinLim", "Magnitudes"]

MOMENTUM = 0.99  # α
MEL = 700.0  # hertz, below which the mel scale is nearly that of frequencies
SMALLEST = 1e-12  # below, a spectrum has no phase
SILENCE = 1e-20  # below, the gradient of a power is none


class Frames(KeepsFloat32):
    """The frames that magnitudes are of: `together` of them lie at a position of the grid.

    Arguments:
        channels: C.
        n_fft: Samples of a frame.
        hop: Samples from a frame to the next.
        together: Frames of a position of the grid, r.
        power: p.
        rate: Samples per second; `None` if they have none.

    Attributes:
        values: Channels of the magnitudes of a position, r · C · (n_fft // 2 + 1).
    """

    in_float32 = ("gains",)
    gains: Tensor

    def __init__(
        self,
        channels: int,
        n_fft: int,
        hop: int,
        together: int,
        power: float,
        rate: float | None = None,
    ) -> None:
        super().__init__()
        self.transform = InverseSTFT(channels, n_fft, hop)
        self.channels, self.together, self.power = channels, together, power
        self.values = together * channels * (n_fft // 2 + 1)
        frequencies = torch.arange(n_fft // 2 + 1) * (rate or 0.0) / n_fft
        self.register_buffer("gains", (1 + frequencies / MEL).rsqrt(), persistent=False)

    def magnitudes(self, x: Tensor) -> Tensor:
        """Maps waveforms x (B, C, L · r · hop) to v (B, r · C · bins, 1, L), in float32."""
        scale = torch.linalg.vector_norm(self.transform.window.float())
        size = (self.transform.analysis(x).abs() / scale).clamp(min=SILENCE)  # (B, C, L · r, bins)
        v = (self.gains * size**self.power).unflatten(2, (-1, self.together)).permute(0, 3, 1, 4, 2)
        return v.flatten(1, 3)[:, :, None]

    def spectra(self, v: Tensor) -> Tensor:
        """Maps v (B, r · C · bins, 1, L) to the |X| (B, C, L · r, bins) that it stands for."""
        v = v[:, :, 0].float().unflatten(1, (self.together, self.channels, -1))
        v = v.permute(0, 2, 4, 1, 3).flatten(2, 3)
        scale = torch.linalg.vector_norm(self.transform.window.float())
        return (v / self.gains).clamp(min=0) ** (1 / self.power) * scale


class Magnitudes(Frames):
    """Maps waveforms (B, C, 1, T) to magnitudes (B, values, 1, T / (r · hop)), in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, 1, T) to (B, values, 1, T / (r · hop))."""
        return self.magnitudes(x[:, :, 0])

    def needs(self, first: int, last: int) -> tuple[int, int]:
        """Returns the first and the last sample that the positions `first` … `last` depend on."""
        inverse = self.transform
        start = first * self.together * inverse.hop - inverse.early
        return start, ((last + 1) * self.together - 1) * inverse.hop - inverse.early + (
            inverse.n_fft - 1
        )


class GriffinLim(Frames):
    """Maps magnitudes (B, values, 1, L) to waveforms (B, C, 1, L · r · hop), in float32.

    Arguments:
        iterations: Of Griffin and Lim's algorithm, at least 1.
        Others: see `Frames`.
    """

    def __init__(
        self,
        channels: int,
        n_fft: int,
        hop: int,
        together: int,
        power: float,
        rate: float | None = None,
        *,
        iterations: int,
    ) -> None:
        super().__init__(channels, n_fft, hop, together, power, rate)
        self.iterations = iterations

    def forward(self, v: Tensor) -> Tensor:
        """Maps (B, values, 1, L) to (B, C, 1, L · r · hop); phases have no gradient."""
        size, transform = self.spectra(v), self.transform
        weights = transform.weights(size.shape[-2])
        with torch.no_grad():
            spectrum = before = size.to(torch.complex64)
            for number in range(self.iterations):
                found = transform.analysis(transform.synthesis(spectrum, weights))
                moved = found + MOMENTUM * (found - before) if number else found
                before, spectrum = found, size * _directions(moved)
        return transform.synthesis(size * _directions(spectrum), weights)[:, :, None]

    def with_phases_of(self, v: Tensor, x: Tensor) -> Tensor:
        """Maps v (B, values, 1, L) to waveforms (B, C, L · r · hop) with the phases of x."""
        return self.transform.synthesis(self.spectra(v) * _directions(self.transform.analysis(x)))

    def needs(self, first: int, last: int) -> tuple[int, int]:
        """Returns the first and the last position that the samples `first` … `last` depend on."""
        inverse = self.transform
        first, last = inverse.needs(first, last)
        beside = -(-inverse.n_fft // inverse.hop) - 1  # frames that overlap with one, either side
        reach = self.iterations * beside
        return (first - reach) // self.together, (last + reach) // self.together


def _directions(spectrum: Tensor) -> Tensor:
    """Returns e^{i φ} of a spectrum; 1 where it is 0."""
    size = spectrum.abs()
    return torch.where(size > SMALLEST, spectrum / size.clamp(min=SMALLEST), 1.0)

"""Short-time spectra of waveforms, of any length.

    X[k, t] = Σ_n w[n] x[t · hop + n] exp(−2πi k n / size)        with  Σ_n w[n]² = 1

w is a Hann window. So scaled, white noise of deviation σ has E |X|² = σ² whatever the window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.errors import InputError
from smalti.nn.precision import KeepsFloat32

__all__ = ["Spectra", "window_lengths"]


class Spectra(KeepsFloat32):
    """The complex spectra of waveforms with one window, in float32, also under autocast.

    Around a waveform there is silence, so that any length goes. Its buffers are not part of a
    state, for they follow from the arguments.

    Arguments:
        window: Length of the window in samples.
        size: Length of the transform in samples, from `window` on.
        hop: Samples between two frames.

    Example:
        >>> Spectra(256, 512, 64)(torch.zeros(2, 1, 1000)).shape
        torch.Size([2, 1, 257, 16])
    """

    in_float32 = ("window",)
    window: Tensor

    def __init__(self, window: int, size: int, hop: int) -> None:
        super().__init__()
        hann = torch.hann_window(window, dtype=torch.float64)
        hann = (hann / hann.square().sum().sqrt()).float()
        self.size, self.hop = size, hop
        self.register_buffer("window", hann, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, T) to spectra (B, C, size/2 + 1, 1 + T // hop), complex64."""
        with torch.autocast(x.device.type, enabled=False):
            # The padding of torch.stft itself needs a waveform longer than half a window.
            padded = F.pad(x.float().flatten(0, 1), (self.size // 2, self.size // 2))
            spectra = torch.stft(
                padded,
                self.size,
                self.hop,
                len(self.window),
                self.window,
                center=False,
                return_complex=True,
            )
            return spectra.unflatten(0, x.shape[:2])


def window_lengths(windows: Sequence[float], rate: float) -> list[int]:
    """Returns the lengths in samples of windows given in milliseconds.

    Raises:
        InputError: If the rate is not above 0, or a window has less than 4 samples.

    Example:
        >>> window_lengths([10, 25], rate=16_000)
        [160, 400]
    """
    if not 0 < rate < math.inf:
        raise InputError(
            f"The rate is above 0 samples per second, got {rate}: give that of the signals."
        )
    lengths = [round(window * rate / 1000) for window in windows]
    for window, length in zip(windows, lengths, strict=True):
        if length < 4:
            raise InputError(
                f"A window has at least 4 samples, got {window:g} ms at {rate:g} Hz: give longer "
                f"ones."
            )
    return lengths

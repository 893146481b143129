"""The inverse short-time Fourier transform as the last layer of a network.

    frame_t = window · irfft(exp(m_t) · e^{i p_t})           of n_fft samples, hop apart
    y       = Σ_t frame_t, laid at its place and added up

m_t is the logarithm of magnitudes, p_t the phase, of n_fft / 2 + 1 frequencies.

**Centred.** Frame t lies about the middle of samples t · hop … (t + 1) · hop − 1. The window is
Hann's, and the sum is divided by that of the squared windows.

**Causal.** Frame t begins at sample t · hop and lasts beyond (t + 1) · hop by n_fft − hop samples,
in which it fades out as the next one fades in: the window rises as sin², is 1, and falls as cos².
So windows add up to 1, and a sample depends on the frame of its time and the one before.

References:
    Vocos: Closing the gap between time-domain and Fourier-based neural vocoders for high-quality
    audio synthesis, H. Siuzdak, 2023, arXiv 2306.00814.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.errors import InputError

__all__ = ["InverseSTFT"]

LOUDEST = math.log(100.0)  # of the logarithm of a magnitude, so that none explodes early


class InverseSTFT(nn.Module):
    """Maps log-magnitudes and phases to samples: (B, bins · 2 · C, 1, L) → (B, C, 1, L · hop).

    Arguments:
        channels: C.
        n_fft: Samples of a frame.
        hop: Samples from a frame to the next.
        causal: Whether a sample depends on no later frame.

    Attributes:
        inputs: Channels of its input, C · 2 · (n_fft // 2 + 1).

    Raises:
        InputError: If frames are too short to overlap, or causal ones are longer than two hops.
    """

    window: Tensor

    def __init__(self, channels: int, n_fft: int, hop: int, causal: bool = False) -> None:
        super().__init__()
        least, most = (hop + 1, 2 * hop) if causal else (2 * hop, 16 * hop)
        if not least <= n_fft <= most:
            raise InputError(
                f"The n_fft of {'causal' if causal else 'centred'} frames {hop} samples apart lies "
                f"between {least} and {most}, got {n_fft}: leave it out for a good one."
            )
        self.channels, self.n_fft, self.hop, self.causal = channels, n_fft, hop, causal
        self.inputs = channels * 2 * (n_fft // 2 + 1)
        self.early = 0 if causal else (n_fft - hop) // 2  # samples of frame 0 before the first
        window = _fades(n_fft, hop) if causal else torch.hann_window(n_fft)
        self.register_buffer("window", window, persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, inputs, 1, L) to (B, C, 1, L · hop), in float32."""
        return self.synthesis(self._spectrum(h))[:, :, None]

    def synthesis(self, spectrum: Tensor, weights: Tensor | None = None) -> Tensor:
        """Maps complex spectra (B, C, L, bins) to (B, C, L · hop), in float32.

        `weights` are those of `weights(L)`, if it is called for as many frames many times.
        """
        y, frames = self._added(self._frames(spectrum)), spectrum.shape[-2]
        if not self.causal:
            y = y / (self.weights(frames) if weights is None else weights)
        return y[..., self.early : self.early + frames * self.hop]

    def weights(self, frames: int) -> Tensor:
        """Returns the sum of the squared windows of so many centred frames."""
        squares = self.window.square().float().expand(1, frames, -1)
        return self._added(squares).clamp(min=1e-6)

    def analysis(self, y: Tensor) -> Tensor:
        """Maps y (B, C, L · hop) to the spectra (B, C, L, bins) that `synthesis` makes y of.

        Frames are centred, and silence stands for what lies beyond either end.
        """
        padded = F.pad(y.float(), (self.early, self.n_fft - self.hop - self.early))
        frames = padded.unfold(-1, self.n_fft, self.hop)
        return torch.fft.rfft(frames * self.window.float(), dim=-1)

    def stream(self, h: Tensor, tail: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the samples of the next frames h (B, inputs, 1, L), and what the last of them
        adds to later samples: the tail (B, C, n_fft − hop) that the next call takes.
        """
        y, length = self._added(self._frames(self._spectrum(h))), h.shape[-1] * self.hop
        if tail is not None:
            y = torch.cat([y[..., : tail.shape[-1]] + tail, y[..., tail.shape[-1] :]], -1)
        return y[:, :, None, :length], y[..., length : length + self.n_fft - self.hop]

    def needs(self, first: int, last: int) -> tuple[int, int]:
        """Returns the first and the last frame that the samples `first` … `last` depend on."""
        beyond = self.n_fft - 1 - self.early
        return -((beyond - first) // self.hop), (last + self.early) // self.hop

    def _spectrum(self, h: Tensor) -> Tensor:
        """Returns the complex spectra (B, C, L, bins) of log-magnitudes and phases."""
        h = h[:, :, 0].transpose(1, 2).unflatten(-1, (self.channels, 2, -1)).float()
        m, p = h.transpose(1, 2).unbind(-2)  # (B, C, L, bins) each
        size = m.clamp(max=LOUDEST).exp()
        return torch.complex(size * p.cos(), size * p.sin())

    def _frames(self, spectrum: Tensor) -> Tensor:
        """Returns the windowed frames (B, C, L, n_fft)."""
        return torch.fft.irfft(spectrum, n=self.n_fft, dim=-1) * self.window

    def _added(self, frames: Tensor) -> Tensor:
        """Adds up frames (..., L, n_fft), hop apart, to (..., (L + r − 1) · hop) of r hops each."""
        hops = -(-self.n_fft // self.hop)
        parts = F.pad(frames, (0, hops * self.hop - self.n_fft)).unflatten(-1, (hops, self.hop))
        laid = [
            F.pad(part, (0, 0, number, hops - 1 - number))
            for number, part in enumerate(parts.unbind(-2))
        ]
        return sum(laid[1:], laid[0]).flatten(-2)


def _fades(n_fft: int, hop: int) -> Tensor:
    """Returns a window of n_fft that falls from `hop` on as that of the next frame rises."""
    fade = n_fft - hop
    rise = torch.sin(torch.pi / 2 * (torch.arange(fade) + 0.5) / fade).square()
    return torch.cat([rise, torch.ones(hop - fade), 1 - rise])

"""Vocos: a decoder whose networks run at the rate of the grid, and an inverse STFT does the rest.

    z_q (B, D, L) → conv → [ConvNeXt block] × layers → linear → log-magnitude and phase
        → inverse STFT with a hop of `downsampling` → x_hat (B, C, L · downsampling)

Nothing runs at the rate of the signal but the Fourier transform, so that it is several times as
fast as a SEANetDecoder on a CPU; docs/sound.md has the figures.

References:
    Vocos: Closing the gap between time-domain and Fourier-based neural vocoders for high-quality
    audio synthesis, H. Siuzdak, 2023, arXiv 2306.00814.
"""

from __future__ import annotations

from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.networks.network import Decoder
from smalti.nn.convnext import KERNEL, convnext_block
from smalti.nn.inverse_stft import InverseSTFT
from smalti.nn.padded_convolutions import PaddedConv1d, as_rows, from_rows
from smalti.nn.streaming import Chain, EachPlace, State, stream_rows
from smalti.signals import Signal

__all__ = ["VocosDecoder"]


@registered
class VocosDecoder(Decoder):
    """The decoder of Vocos: maps z_q (B, D, L) to x_hat (B, C, L · downsampling).

    Arguments:
        signal: What it gives, with a grid of one dimension; any length fits.
        dim: D, channels of its input.
        hidden: Channels inside.
        layers: ConvNeXt blocks.
        downsampling: Signal positions per grid position, as of the encoder: the hop; in a hierarchy
            that of the finest level, whatever is given.
        n_fft: Positions of a frame of the inverse STFT. `None` is 4 · downsampling, and of a causal
            one 5/4 · downsampling, where at most 2 · downsampling goes.
        causal: Whether a value depends on no later position of the grid.

    Raises:
        InputError: If signals have no grid of one dimension, or `n_fft` does not go with the
            downsampling.

    Example:
        >>> import torch
        >>> from smalti.networks import Features
        >>> decoder = VocosDecoder(Features(2, spatial_dims=1), 8, hidden=16, downsampling=30)
        >>> decoder(torch.zeros(3, 8, 7)).shape
        torch.Size([3, 2, 210])
    """

    gives_features = False  # an inverse STFT gives waveforms

    def __init__(
        self,
        signal: Signal,
        dim: int,
        *,
        hidden: int = 256,
        layers: int = 4,
        downsampling: int = 320,
        n_fft: int | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__()
        if signal.spatial_dims != 1:
            raise InputError(
                f"A VocosDecoder gives signals with a grid of one dimension, got {signal.plural} "
                f"with {signal.spatial_dims}: choose ResNetDecoder."
            )
        if n_fft is None:
            n_fft = downsampling + -(-downsampling // 4) if causal else 4 * downsampling
        self.dim, self.channels, self.downsampling = dim, signal.channels, downsampling
        transform = InverseSTFT(signal.channels, n_fft, downsampling, causal)
        self.layers = Chain(
            PaddedConv1d(dim, hidden, KERNEL, causal=causal),
            EachPlace(nn.LayerNorm(hidden, eps=1e-6)),
            *(convnext_block(hidden, 1 / layers, causal) for _ in range(layers)),
            EachPlace(nn.LayerNorm(hidden, eps=1e-6), nn.Linear(hidden, transform.inputs)),
            transform,
        )
        first, self.ahead = self.layers.needs(0, downsampling - 1)
        self.margin = max(-first, self.ahead)

    @property
    def last_weight(self) -> Tensor:
        """See `Decoder.last_weight`."""
        return self.layers[-2][-1].weight  # type: ignore[index]

    def forward(self, z: Tensor) -> Tensor:
        """Maps z_q (B, D, L) to x_hat (B, C, L · downsampling)."""
        return from_rows(self.layers(as_rows(z))).to(z.dtype)

    def stream(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """See `smalti.nn.streaming.Streamed`."""
        y, state = stream_rows(self.layers, x, state)
        return y.to(x.dtype), state

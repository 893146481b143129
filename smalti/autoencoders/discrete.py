"""The VQ-VAE: encoder, quantizer, decoder.

    z_e = encoder(x)              (B, D, *grid)
    z_q, indices, losses = quantizer(z_e)
    x_hat = decoder(z_q)

The encoder gives vectors, the quantizer replaces each by a codeword, the decoder reconstructs. It
is what language models call a tokenizer: `encode` turns a signal into a grid of integers, `decode`
turns such a grid back.

References:
    Neural Discrete Representation Learning (van den Oord et al., 2017), arXiv 1711.00937.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from smalti.artifacts import Pretrained, registered
from smalti.autoencoders.padding import crop, pad
from smalti.autoencoders.paths import line
from smalti.errors import InputError
from smalti.quantizers import Quantizer
from smalti.signals import Signal

__all__ = ["DiscreteAutoencoder", "Reconstruction"]


class Reconstruction(NamedTuple):
    """What a forward pass gives.

    Attributes:
        x_hat: (B, C, *size), the reconstruction.
        indices: (B, *grid), or (B, *grid, Q) of a composed quantizer, int64.
        losses: Unweighted scalars of the quantizer, such as "commitment".
    """

    x_hat: Tensor
    indices: Tensor
    losses: dict[str, Tensor]


@registered
class DiscreteAutoencoder(nn.Module, Pretrained):
    """A VQ-VAE assembled from an encoder, a quantizer and a decoder.

    Sizes that the downsampling does not divide are padded by reflection on the far side, and the
    reconstruction is cropped back.

    Arguments:
        encoder: (B, C, *size) → (B, D, *grid), with the attribute `downsampling`.
        quantizer: Acts on the last dimension, (B, *grid, D).
        decoder: (B, D, *grid) → (B, C, *grid · downsampling).
        signal: What the model is trained on. `encode` checks its input against it.

    Example:
        >>> from smalti.autoencoders import ConvDecoder, ConvEncoder
        >>> from smalti.quantizers import EMACodebook, VectorQuantizer
        >>> model = DiscreteAutoencoder(
        ...     ConvEncoder(3, 16, hidden=32),
        ...     VectorQuantizer(EMACodebook(64, 16)),
        ...     ConvDecoder(3, 16, hidden=32),
        ...     Signal("image", channels=3, size=(30, 20)),
        ... ).eval()
        >>> indices = model.encode(torch.zeros(2, 3, 30, 20))
        >>> indices.shape, model.decode(indices).shape
        (torch.Size([2, 8, 5]), torch.Size([2, 3, 30, 20]))
    """

    def __init__(
        self, encoder: nn.Module, quantizer: Quantizer, decoder: nn.Module, signal: Signal
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder
        self.signal = signal
        self.downsampling: int = encoder.downsampling  # type: ignore[assignment]

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the indices of one signal, without a trailing Q; empty if any size goes."""
        return tuple(-(-length // self.downsampling) for length in self.signal.size)

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstructs x (B, C, *size), with the quantizer's gradient and losses."""
        z_e = self._vectors(x)
        z_q, indices, losses = self.quantizer(z_e)
        return Reconstruction(self._signals(z_q, tuple(x.shape[2:])), indices, losses)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Signals x (B, C, *size) → indices (B, *grid) or (B, *grid, Q).

        Raises:
            InputError: If x is not a batch of the signal that the model was trained on.
        """
        self.signal.check(x)
        return self.quantizer.encode(self._vectors(x))

    @torch.no_grad()
    def decode(self, indices: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """Indices → signals (B, C, *size), clipped to the signal's range.

        Arguments:
            indices: (B, *grid) or (B, *grid, Q), int64, each below its codebook's size.
            size: What to crop to. Default: the signal's own size where the grid is that of the
                model, else the whole.

        Raises:
            InputError: If the indices have too few dimensions or are out of range.
        """
        dims = 1 + self.signal.spatial_dims
        several = len(self.quantizer.codebook_sizes) > 1
        if indices.ndim != dims + several:
            shape = ["B", *map(str, self.grid or ["*grid"]), *(["Q"] if several else [])]
            raise InputError(
                f"Indices have the shape ({', '.join(shape)}), got {tuple(indices.shape)}: "
                f"give as many for each position as there are codebooks."
            )
        grid = tuple(indices.shape[1:dims])
        if size is None and grid == self.grid:
            size = self.signal.size
        x_hat = self._signals(self.quantizer.decode(indices), size)
        return x_hat.clamp(self.signal.low, self.signal.high)

    @torch.no_grad()
    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int) -> Tensor:
        """The way from one signal to another: z_e is mixed, quantized, and decoded.

        Arguments:
            x_a: (C, *size).
            x_b: (C, *size).
            steps: Signals on the way, both ends included.

        Returns:
            (steps, C, *size): from the reconstruction of x_a to that of x_b.

        Raises:
            InputError: If the two are not signals that the model was trained on.
        """
        ends = torch.stack([x_a, x_b])
        self.signal.check(ends)
        z_a, z_b = self._vectors(ends)
        return self.decode(self.quantizer.encode(line(z_a, z_b, steps)))

    def _vectors(self, x: Tensor) -> Tensor:
        """x (B, C, *size) → z_e (B, *grid, D): the one place where the layout changes."""
        return rearrange(self.encoder(pad(x, self.downsampling)), "b d ... -> b ... d")

    def _signals(self, z_q: Tensor, size: tuple[int, ...] | None) -> Tensor:
        """z_q (B, *grid, D) → x_hat (B, C, *size)."""
        x_hat = self.decoder(rearrange(z_q, "b ... d -> b d ..."))
        return x_hat if size is None else crop(x_hat, size)

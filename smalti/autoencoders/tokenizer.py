"""Tokenizers: autoencoders that turn signals into one or several grids of indices, and back.

A tokenizer with one grid gives a tensor of indices, one with several a tuple of them, coarse to
fine. What stands above both kinds, and a prior, sees one tensor in both cases, the *tokens*: the
one grid (B, *grid), or several laid side by side as one row (B, L). The tokenizer's `Layout` makes
them of grids, and grids of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from smalti.autoencoders.base import Autoencoder
from smalti.autoencoders.padding import crop, pad
from smalti.autoencoders.tiles import SpatialAxes, apply_in_tiles, core_of, is_large
from smalti.layout import Layout
from smalti.quantizers import Quantizer

__all__ = ["Tokenizer"]


class Tokenizer(Autoencoder):
    """Abstract: an autoencoder whose latents are indices, in one grid or in several levels.

    A concrete one implements `layout`, `levels`, `encode_flat` and `decode_flat`, and what
    `Autoencoder` asks for.
    """

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Returns how the tokens of one signal are laid out."""

    @property
    @abstractmethod
    def levels(self) -> tuple[Quantizer, ...]:
        """Returns the quantizer of each grid, coarse to fine."""

    @property
    @abstractmethod
    def upsamplings(self) -> tuple[int, ...]:
        """Returns how many positions of each grid lie along one of the coarsest, per dimension."""

    @property
    @abstractmethod
    def margins(self) -> tuple[int, int] | None:
        """Returns how far encoding and decoding look around a position of the coarsest grid.

        `None` where that is not known, or where they see the whole.
        """

    @abstractmethod
    def quantized(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encodes signals, of sizes that the downsampling divides, to the indices of each level."""

    @abstractmethod
    def reconstructed(self, grids: Sequence[Tensor], size: tuple[int, ...] | None) -> Tensor:
        """Decodes checked indices of the first levels to x_hat of a size, or to the whole of it."""

    def encoded(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encodes signals of any size to the indices of each level, large ones in tiles."""
        x, margins = pad(x, self.downsampling), self.margins
        if margins is None or not is_large(x.shape[2:]):
            return self.quantized(x)
        unit = self.downsampling
        output_axes = [SpatialAxes(1, up) for up in self.upsamplings]
        size = [length // unit for length in x.shape[2:]]
        tile = margins[0], core_of(unit, margins[0], len(size))
        return tuple(
            apply_in_tiles(self.quantized, [x], [SpatialAxes(2, unit)], output_axes, size, *tile)
        )

    def decoded(self, grids: Sequence[Tensor], size: tuple[int, ...] | None) -> Tensor:
        """Decodes checked indices to signals (B, C, *size), large ones in tiles.

        Not in tiles where a position of the output depends on all others. Without a size the
        output is not cropped.
        """
        unit, margins = self.downsampling, self.margins
        units = grids[0].shape[1 : 1 + self.signal.spatial_dims]
        if self.likelihood is not None and self.likelihood.autoregressive:
            margins = None  # what it draws depends on all that it drew
        if margins is None or not is_large([length * unit for length in units]):
            return self.reconstructed(grids, size)
        input_axes = [SpatialAxes(1, up) for up in self.upsamplings[: len(grids)]]
        tile = margins[1], core_of(unit, margins[1], len(units))

        def apply(*parts: Tensor) -> list[Tensor]:
            return [self.reconstructed(parts, None)]

        (x_hat,) = apply_in_tiles(apply, grids, input_axes, [SpatialAxes(2, unit)], units, *tile)
        return x_hat if size is None else crop(x_hat, size)

    def update(self) -> None:
        """Updates the codebooks; to be called once after each step of the optimizer."""
        for quantizer in dict.fromkeys(self.levels):  # one that two levels share learns once
            quantizer.update()

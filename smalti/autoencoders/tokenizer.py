"""Tokenizers: models that turn signals into one or several grids of indices, and back.

A tokenizer with one grid gives a tensor of indices, one with several a tuple of them, coarse to
fine. What stands above both kinds, and a prior, sees one tensor in both cases, the *tokens*: the
one grid (B, *grid), or several laid side by side as one row (B, L). The tokenizer's `Layout` makes
them of grids, and grids of them.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from smalti.autoencoders.base import Autoencoder
from smalti.layout import Layout
from smalti.quantizers import Quantizer

__all__ = ["Tokenizer"]


class Tokenizer(Autoencoder):
    """Abstract: an autoencoder whose latents are indices."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Returns how the tokens of one signal are laid out."""

    @property
    @abstractmethod
    def levels(self) -> tuple[Quantizer, ...]:
        """Returns the quantizer of each grid, coarse to fine."""

    @abstractmethod
    def encode_flat(self, x: Tensor) -> Tensor:
        """Encodes signals x (B, C, *size) to one tensor of tokens, (B, *grid) or (B, P)."""

    @abstractmethod
    def decode_flat(self, tokens: Tensor) -> Tensor:
        """Decodes one tensor of tokens to signals (B, C, *size), clipped to their range."""

    def update(self) -> None:
        """Updates the codebooks; to be called once after each step of the optimizer."""
        for quantizer in dict.fromkeys(self.levels):  # one that two levels share learns once
            quantizer.update()

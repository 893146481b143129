"""Tokenizers: models that turn signals into one or several grids of indices, and back.

A tokenizer with one grid gives a tensor of indices, one with several a tuple of them, coarse to
fine. What stands above both kinds, and a prior, sees one tensor in both cases, the *tokens*: the
one grid (B, *grid), or several laid side by side as one row (B, L). The tokenizer's `Layout` makes
them of grids, and grids of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from smalti.artifacts import Pretrained
from smalti.autoencoders.inputs import as_batch, as_pair
from smalti.layout import Layout
from smalti.losses.likelihoods import Likelihood
from smalti.quantizers import Quantizer
from smalti.signals import Signal

__all__ = ["Tokenizer"]


class Tokenizer(nn.Module, Pretrained, ABC):
    """Abstract tokenizer: encodes signals to indices and decodes them.

    Attributes:
        signal: What it is trained on.
        downsampling: Signal positions per position of the coarsest grid, along each dimension.
        likelihood: p(x | h) of the decoder's output h, if it has one.
    """

    signal: Signal
    downsampling: int
    likelihood: Likelihood | None

    @property
    @abstractmethod
    def levels(self) -> tuple[Quantizer, ...]:
        """Returns the quantizer of each grid, coarse to fine."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Returns how the tokens of one signal are laid out."""

    @abstractmethod
    def encode(self, x: Tensor) -> Any:
        """Encodes signals x (B, C, *size) to indices (B, *grid), or a tuple, coarse to fine."""

    @abstractmethod
    def decode(self, indices: Any, size: tuple[int, ...] | None = None) -> Tensor:
        """Decodes indices, or of a hierarchy a prefix of the tuple, to signals (B, C, *size)."""

    @abstractmethod
    def encode_flat(self, x: Tensor) -> Tensor:
        """Encodes signals x (B, C, *size) to one tensor of tokens, (B, *grid) or (B, P)."""

    @abstractmethod
    def decode_flat(self, tokens: Tensor) -> Tensor:
        """Decodes one tensor of tokens to signals (B, C, *size), clipped to their range."""

    @abstractmethod
    def nll(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Computes −log p(x | tokens) in nats, summed over the dimensions of each signal, (B,).

        Arguments:
            x: (B, C, *size).
            tokens: Those of x, where they are known already.

        Raises:
            InputError: If the model has no likelihood, or x is not a batch of its signal.
        """

    @abstractmethod
    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int) -> Tensor:
        """Mixes the encoder outputs of two signals, quantizes the mixtures, and decodes them.

        Arguments:
            x_a: (C, *size).
            x_b: (C, *size).
            steps: Signals on the way, both ends included.

        Returns:
            (steps, C, *size): from the reconstruction of x_a to that of x_b.

        Raises:
            InputError: If the two are not signals that the model was trained on.
        """

    def as_batch(self, x: Any) -> Tensor:
        """Moves a batch of signals to the device and the type of the weights.

        Arguments:
            x: (B, C, *size), of any floating-point type: a tensor, an array or nested lists.

        Raises:
            InputError: If it is no batch of the signal that the model was trained on.
        """
        return as_batch(x, self.signal, self)

    def as_pair(self, x_a: Any, x_b: Any) -> Tensor:
        """Stacks two signals (C, *size) to one batch of two; see `as_batch`."""
        return as_pair(x_a, x_b, self.signal, self)

    def update(self) -> None:
        """Updates the codebooks; to be called once after each step of the optimizer."""
        for quantizer in dict.fromkeys(self.levels):  # one that two levels share learns once
            quantizer.update()

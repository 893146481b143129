"""Tokenizers: what turns signals into grids of indices, one or several, and back.

A tokenizer with one grid gives a tensor of indices, one with several a tuple of them, coarse to
fine. What stands above both kinds, and a prior, sees one tensor in both cases, the *tokens*: the
one grid (B, *grid), or several laid side by side as one row (B, P). `pack` makes them of grids,
`unpack` takes them apart again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smalti.artifacts import Pretrained
from smalti.autoencoders.inputs import as_batch, as_pair
from smalti.errors import InputError
from smalti.losses.likelihoods import Likelihood
from smalti.quantizers import Quantizer
from smalti.signals import Signal

__all__ = ["Tokenizer"]


class Tokenizer(nn.Module, Pretrained, ABC):
    """Abstract: signals → indices → signals.

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
        """The quantizer of each grid, coarse to fine."""

    @property
    @abstractmethod
    def grids(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the indices of one signal, coarse to fine, a trailing Q included."""

    @abstractmethod
    def encode(self, x: Tensor) -> Any:
        """Signals x (B, C, *size) → indices, (B, *grid) or a tuple of such, coarse to fine."""

    @abstractmethod
    def decode(self, indices: Any, size: tuple[int, ...] | None = None) -> Tensor:
        """Indices, or of a hierarchy a prefix of the tuple → signals (B, C, *size)."""

    @abstractmethod
    def encode_flat(self, x: Tensor) -> Tensor:
        """Signals x (B, C, *size) → their tokens, (B, *grid) or (B, P)."""

    @abstractmethod
    def decode_flat(self, tokens: Tensor) -> Tensor:
        """Tokens → signals (B, C, *size), clipped to their range."""

    @abstractmethod
    def nll(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        """−log p(x | tokens) in nats, summed over the dimensions of each signal, (B,).

        Arguments:
            x: (B, C, *size).
            tokens: Those of x, where they are known already.

        Raises:
            InputError: If the model has no likelihood, or x is not a batch of its signal.
        """

    @abstractmethod
    def interpolate(self, x_a: Tensor, x_b: Tensor, steps: int) -> Tensor:
        """The way from one signal to another: encoder outputs are mixed, quantized, and decoded.

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

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """K of all codebooks, level by level."""
        return tuple(size for quantizer in self.levels for size in quantizer.codebook_sizes)

    def update(self) -> None:
        """The codebooks' own updates, once after each step of the optimizer."""
        for quantizer in dict.fromkeys(self.levels):  # one that two levels share learns once
            quantizer.update()

    def pack(self, grids: Sequence[Tensor]) -> Tensor:
        """The grids of B signals → tokens: of one grid (B, *grid), of several (B, P)."""
        if len(grids) != len(self.levels):
            raise InputError(
                f"This model has {len(self.levels)} grid(s) of tokens, got {len(grids)}: give all, "
                f"coarse to fine."
            )
        if len(self.levels) == 1:
            return grids[0]
        return torch.cat([grid.flatten(1) for grid in grids], 1)

    def unpack(self, indices: Tensor) -> tuple[Tensor, ...]:
        """The inverse of `pack`, of signals of the model's size."""
        if len(self.levels) == 1:
            return (indices,)
        if indices.ndim != 2 or indices.shape[1] != sum(map(math.prod, self.grids)):
            raise InputError(
                f"Tokens of this model are rows (B, {sum(map(math.prod, self.grids))}), got the "
                f"shape {tuple(indices.shape)}: give what `encode_flat` or `pack` gave."
            )
        parts = indices.split([math.prod(grid) for grid in self.grids], 1)
        return tuple(part.unflatten(1, grid) for part, grid in zip(parts, self.grids, strict=True))

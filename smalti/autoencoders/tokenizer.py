"""Tokenizers: what turns signals into grids of indices, one or several, and back.

A tokenizer with one grid gives a tensor of indices, one with several a tuple of them, coarse to
fine. A prior sees one tensor in both cases: `join` lays several grids side by side as one row,
`split` takes them apart again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from smalti.artifacts import Pretrained
from smalti.quantizers import Quantizer
from smalti.signals import Signal

__all__ = ["Indices", "Tokenizer"]

Indices = Tensor | tuple[Tensor, ...]


class Tokenizer(nn.Module, Pretrained, ABC):
    """Abstract: signals → indices → signals.

    Attributes:
        signal: What it is trained on.
        downsampling: Signal positions a position of the coarsest grid, along each dimension.
    """

    signal: Signal
    downsampling: int

    @property
    @abstractmethod
    def levels(self) -> tuple[Quantizer, ...]:
        """The quantizer of each grid, coarse to fine."""

    @property
    @abstractmethod
    def grids(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the indices of one signal, coarse to fine, a trailing Q included."""

    def update(self) -> None:
        """The codebooks' own updates, once after each step of the optimizer."""
        for quantizer in dict.fromkeys(self.levels):  # one that two levels share learns once
            quantizer.update()

    def join(self, grids: Sequence[Tensor]) -> Tensor:
        """The grids of B signals as a prior sees them: one as it is, several as a row (B, P)."""
        if len(self.levels) == 1:
            (indices,) = grids
            return indices
        return torch.cat([grid.flatten(1) for grid in grids], 1)

    def split(self, indices: Tensor) -> tuple[Tensor, ...]:
        """The inverse of `join`, of signals of the model's size."""
        if len(self.levels) == 1:
            return (indices,)
        parts = indices.split([math.prod(grid) for grid in self.grids], 1)
        return tuple(part.unflatten(1, grid) for part, grid in zip(parts, self.grids, strict=True))

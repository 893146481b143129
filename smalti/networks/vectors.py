"""Encodes each signal to one vector, with an encoder of grids and a linear map.

A `VectorEncoder` flattens the grid of vectors that an encoder gives and maps it linearly to z; a
`VectorDecoder` goes the other way.
"""

from __future__ import annotations

import math

from einops import rearrange
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.errors import InputError

__all__ = ["VectorDecoder", "VectorEncoder"]


@registered
class VectorEncoder(nn.Module):
    """Encodes each signal to one vector: an encoder of grids, then a linear map.

    Maps x (B, C, *size) to (B, dim).

    Arguments:
        inner: (B, C, *size) → (B, E, *grid), with the attributes `dim` (E) and `downsampling`.
        grid: The size of its grid for the signals.
        dim: Length of the vector: D, or 2 D for a mean and a log-variance each.
    """

    def __init__(self, inner: nn.Module, grid: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.inner, self.grid, self.dim = inner, tuple(grid), dim
        self.downsampling: int = inner.downsampling  # type: ignore[assignment]
        self.linear = nn.Linear(inner.dim * math.prod(grid), dim)  # type: ignore[arg-type, operator]

    def forward(self, x: Tensor) -> Tensor:
        """Maps x (B, C, *size) to (B, dim)."""
        return self.linear(rearrange(self.inner(x), "b e ... -> b (e ...)"))


@registered
class VectorDecoder(nn.Module):
    """Decodes one vector per signal, the mirror of `VectorEncoder`: z (B, D) → (B, C, *size).

    Arguments:
        inner: (B, E, *grid) → (B, C, *size), with the attribute `dim` (E).
        grid: The size of the grid that the linear map makes of z.
        dim: D.

    Raises:
        InputError: If the inner network compares signals itself, see `Decoder`.
    """

    def __init__(self, inner: nn.Module, grid: tuple[int, ...], dim: int) -> None:
        super().__init__()
        if getattr(inner, "compares", False):
            raise InputError(
                f"A {type(inner).__name__} has a loss of its own, which a latent vector has no use "
                f"for: choose another decoder, e.g. VocosDecoder."
            )
        self.inner, self.grid, self.dim = inner, tuple(grid), dim
        self.linear = nn.Linear(dim, inner.dim * math.prod(grid))  # type: ignore[arg-type, operator]

    @property
    def last_weight(self) -> Tensor | None:
        """See `Decoder.last_weight`."""
        return getattr(self.inner, "last_weight", None)

    def forward(self, z: Tensor) -> Tensor:
        """Maps z (B, D) to (B, C, *size)."""
        return self.inner(self.linear(z).unflatten(1, (-1, *self.grid)))

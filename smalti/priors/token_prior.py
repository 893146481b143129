"""Priors over tokens: distributions over grids of indices, p(q) or p(q | context).

Such a prior takes the place of the uniform distribution, under which an index costs log K nats:
what it saves is what there is to know about the grids. It sees integers and a codebook size.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smalti.arguments import as_integers, as_tensor
from smalti.conditions import Condition
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.priors.base import Prior

__all__ = ["TokenPrior", "TractablePrior", "layout_of_level"]

LARGEST_TABLE = 2**24  # codewords: 64 numbers for each take 4 GB


class TokenPrior(Prior):
    """Abstract: a distribution over grids of indices.

    Arguments:
        codebook_size: K; indices are in [0, K). Or that of each of the Q codebooks, which may
            differ: then the attribute is that of the largest.
        grid: Shape of one grid, (H, W) or (T,); of Q indices per position, (H, W, Q) or (T, Q).
        condition: The condition, such as a label; None for an unconditional prior.

    Attributes:
        layout: The layout of the indices.
        tabular: Whether it has weights for each of the K indices, such as an embedding.
        per_codebook: Whether it is made of the size of each codebook where there are several.
        across_levels: Whether it can be made of the grids and codebook sizes of several levels.
        over_vectors: Whether it is made of the tokenizer's quantizer in place of codebook sizes.

    Raises:
        InputError: If the codebook is empty, or too large to be tabular, or the grid has no
            positions.
    """

    tabular: bool = False
    per_codebook: bool = False
    across_levels: bool = False
    over_vectors: bool = False

    def __init__(
        self,
        codebook_size: int | Sequence[int],
        grid: Sequence[int],
        condition: Condition | None = None,
    ) -> None:
        super().__init__(condition)
        sizes = (codebook_size,) if isinstance(codebook_size, int) else tuple(codebook_size)
        if len(sizes) > 1 and tuple(grid)[-1:] != (len(sizes),):
            raise InputError(
                f"A grid of {len(sizes)} codebooks has as many indices per position, its last "
                f"length, got {tuple(grid)}: give the grid of the tokenizer."
            )
        codebook_size = max(sizes, default=0) if min(sizes, default=0) > 0 else 0
        if codebook_size < 1:
            raise InputError(
                f"codebook_size must be at least 1, got {codebook_size}: give the tokenizer's."
            )
        if not grid or any(length < 1 for length in grid):
            raise InputError(
                f"The grid must have at least one position along each dimension, "
                f"got {tuple(grid)}: give the grid of the tokenizer, e.g. (8, 8)."
            )
        if self.tabular and codebook_size > LARGEST_TABLE:
            raise InputError(
                f"A {type(self).__name__} holds weights for each codeword, of at most 2**24, got a "
                f"codebook of {codebook_size}: split it among several quantizers, or set --prior "
                f"null to learn the tokenizer alone."
            )
        self.codebook_size, self.grid = codebook_size, tuple(grid)
        self.layout = (
            Layout((self.grid[:-1],), (sizes,))
            if len(set(sizes)) > 1
            else Layout((self.grid,), ((codebook_size,),))
        )

    @property
    def positions(self) -> int:
        """Returns the number of indices in one grid."""
        return int(torch.Size(self.grid).numel())

    def _uniform_nats(self, n: int, mask: Tensor | None) -> Tensor:
        """Returns −log p of n grids if all indices are equally likely, (n,), float64.

        Arguments:
            n: The number of grids.
            mask: (n, *grid), bool, which indices count; all if not given.
        """
        if len(set(self.layout.sizes)) == 1:
            count = (
                torch.full((n,), self.positions) if mask is None else mask.cpu().flatten(1).sum(1)
            )
            return count.double() * math.log(self.codebook_size)
        nats = self.layout.sizes_of_tokens().double().log()
        return nats.sum().expand(n) if mask is None else mask.cpu().flatten(1).double() @ nats

    def _check_known(self, known: Any, n: int) -> Tensor:
        known = self._check_indices(known, "known", lowest=-1)
        if len(known) != n:
            raise InputError(
                f"known must have the shape ({n}, {_commas(self.grid)}) of what is drawn, "
                f"got {tuple(known.shape)}: give one grid per sample, with -1 where to fill in."
            )
        return known

    def _check_indices(self, indices: Any, name: str = "indices", lowest: int = 0) -> Tensor:
        """Returns the indices as int64 on the prior's device."""
        indices = as_integers(indices, name)
        if not indices.ndim or tuple(indices.shape[1:]) != self.grid:
            raise InputError(
                f"{name} must have the shape (B, {_commas(self.grid)}), "
                f"got {tuple(indices.shape)}: the prior was made for that grid."
            )
        if indices.numel():
            low, high = (int(bound) for bound in indices.aminmax())
            if low < lowest or high >= self.codebook_size:
                raise InputError(
                    f"{name} must be from {lowest} to {self.codebook_size - 1}, "
                    f"got values from {low} to {high}: take those of the prior's own tokenizer."
                )
        if len(set(self.layout.sizes)) > 1:
            above = indices.flatten(1) - self.layout.sizes_of_tokens().to(indices.device)
            if bool((above >= 0).any()):
                raise InputError(
                    f"{name} must be below the sizes of their codebooks, "
                    f"{', '.join(map(str, self.layout.sizes[:8]))}, got one that is "
                    f"{int(above.max())} above: take those of the prior's own tokenizer."
                )
        return indices.to(self.device)

    def _check_mask(self, indices: Any, mask: Any) -> tuple[Any, Tensor | None]:
        """Returns the indices, 0 where they do not count, and the mask on the prior's device."""
        if mask is None:
            return indices, None
        indices, mask = as_tensor(indices, "indices"), as_tensor(mask, "mask")
        if mask.dtype != torch.bool or mask.shape != indices.shape:
            raise InputError(
                f"mask must be bool of the shape {tuple(indices.shape)} of the indices, got "
                f"{mask.dtype} {tuple(mask.shape)}: True marks the indices that count."
            )
        return indices.masked_fill(~mask.to(indices.device), 0), mask.to(self.device)


class TractablePrior(TokenPrior):
    """Abstract: a prior whose likelihood can be computed; its loss is −log p in nats per index."""

    def log_prob(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Computes log p(indices | context) of each grid in nats, (B,).

        Arguments:
            indices: (B, *grid), integers in [0, K).
            context: (B, *shape) values of the condition, or None for an unconditional prior.

        Raises:
            InputError: If the indices or the context do not fit the prior.
        """
        indices = self._check_indices(indices)
        return self._log_prob(indices, self._check_context(context, len(indices)), None)

    def loss(
        self, latents: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Returns −log p(indices | context), the mean in nats per index that counts.

        See `Prior.loss`; latents and mask are (B, *grid).
        """
        latents, mask = self._check_mask(latents, mask)
        indices = self._check_indices(latents)
        context = self._check_context(context, len(indices))
        total = -self._log_prob(indices, context, mask).sum()
        return total / (max(indices.numel(), 1) if mask is None else mask.sum().clamp(min=1))

    @abstractmethod
    def _log_prob(self, indices: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        """Computes log p (B,) of the indices that count, with checked arguments.

        Where they do not count, indices are 0.
        """


def layout_of_level(owner: str, codebook_size: int | Sequence[int], grid: Sequence[int]) -> Layout:
    """Returns the layout of one level that the arguments of a prior describe.

    Arguments:
        owner: The name of the prior's class, for the message.
        codebook_size: K; or that of each of the Q codebooks of a position.
        grid: (H, W) or (T,); of Q indices per position (H, W, Q), or with Q sizes also (T, Q).

    Raises:
        InputError: If they do not fit each other.

    Example:
        >>> layout_of_level("MaskedPrior", (8, 4), (3, 2))
        Layout(grids=((3,),), codebook_sizes=((8, 4),))
    """
    grid = tuple(grid)
    if isinstance(codebook_size, int):
        sizes = (codebook_size,) * (grid[-1] if len(grid) == 3 else 1)
    else:
        sizes = tuple(codebook_size)
    several = len(sizes) > 1
    if several and grid[-1:] != (len(sizes),) or len(grid) - several > 2:
        raise InputError(
            f"A {owner} takes grids (H, W) or (T,), and of Q ≥ 2 indices per position (H, W, Q) or "
            f"(T, Q) with Q codebooks, got {grid} and {len(sizes)}: give those of the tokenizer."
        )
    return Layout((grid[:-1] if several else grid,), (sizes,))


def _commas(grid: tuple[int, ...]) -> str:
    return ", ".join(map(str, grid))

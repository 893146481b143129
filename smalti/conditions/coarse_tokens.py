"""The coarser token grids of a hierarchy, as the condition of the prior of a finer grid."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smalti.artifacts import registered
from smalti.conditions.base import (
    Condition,
    Context,
    ContextSizes,
    GridSpec,
    as_row,
    check_columns,
    from_columns,
    num_columns,
    to_columns,
)
from smalti.errors import InputError

__all__ = ["CoarseTokens"]


@registered
class CoarseTokens(Condition):
    """The coarser token grids of a hierarchy, on which the prior of a finer grid is conditioned.

    A value is one row of numbers: the indices of the grids, coarse to fine, each in reading order,
    and last the value of `base_condition`. `pack` makes such rows, and `unpack` takes them apart.
    The grids are the context's map, which a prior embeds; the rest is that of `base_condition`.

    Arguments:
        codebook_sizes: K of each grid above.
        grids: Shape of each grid above, (H, W) or (T,), or (H, W, Q) of Q indices per position.
        base_condition: The condition of the grids above themselves, such as a label; or None.

    Raises:
        InputError: If there is no grid, or not one codebook size for each.

    Example:
        >>> from smalti.conditions import Label
        >>> above = CoarseTokens([512, 256], [(1, 2), (2, 2)], Label(["cat", "dog"]))
        >>> grids = [torch.tensor([[[5, 7]]]), torch.tensor([[[1, 2], [3, 4]]])]
        >>> above.pack(grids, torch.tensor([1]))
        tensor([[5., 7., 1., 2., 3., 4., 1.]], dtype=torch.float64)
    """

    name = "grid above"
    dtype = torch.float64  # exact, of indices and of minutes alike

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        grids: Sequence[Sequence[int]],
        base_condition: Condition | None = None,
    ) -> None:
        super().__init__()
        self.codebook_sizes, self.grids = tuple(codebook_sizes), tuple(map(tuple, grids))
        numbers = [*self.codebook_sizes, *(length for grid in self.grids for length in grid)]
        if not self.grids or len(self.codebook_sizes) != len(self.grids) or min(numbers) < 1:
            raise InputError(
                f"There must be at least one grid above and a codebook size for each, got sizes "
                f"{self.codebook_sizes} and grids {self.grids}: give those of the levels above, "
                f"coarse to fine."
            )
        if not all(1 <= len(grid) <= 3 for grid in self.grids):
            raise InputError(
                f"Grids above are (H, W), (T,) or (H, W, Q), got {self.grids}: flatten the others."
            )
        if base_condition is not None and base_condition.sizes.map:
            raise InputError(
                "Grids above are not given others of their own: list all of them, coarse to fine."
            )
        self.base_condition = base_condition
        self._lengths = [math.prod(grid) for grid in self.grids]

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(self._columns),)

    @property
    def sizes(self) -> ContextSizes:
        levels = zip(self.codebook_sizes, self.grids, strict=True)
        base = ContextSizes() if self.base_condition is None else self.base_condition.sizes
        return base._replace(map=tuple(GridSpec(*level) for level in levels))

    @property
    def null(self) -> Tensor:
        grids = torch.full((sum(self._lengths),), -1.0, dtype=self.dtype)
        if self.base_condition is None:
            return grids
        return torch.cat([grids, to_columns(self.base_condition.null[None])[0]])

    @property
    def optional(self) -> bool:
        """Returns whether the base condition may be left out; the grids never are."""
        return self.base_condition is not None and self.base_condition.optional

    @property
    def help(self) -> str:
        return "the indices of the grids above"

    def parse(self, text: str) -> list[float]:
        n = sum(self._lengths)
        words = text.split(maxsplit=n)
        numbers = [word for word in words[:n] if re.fullmatch(r"-?[0-9]{1,18}", word)]
        if len(numbers) < n or (len(words) > n) != (self.base_condition is not None):
            then = "" if self.base_condition is None else f" and a {self.base_condition.name}"
            raise InputError(
                f"Grids above are {n} indices{then}, got {text[:40]!r}: separate them with spaces."
            )
        base = [] if self.base_condition is None else as_row(self.base_condition.parse(words[n]))
        return [*map(float, numbers), *map(float, base)]

    def format(self, value: Any) -> str:
        row, n = as_row(value), sum(self._lengths)
        words = [str(int(index)) for index in row[:n]]
        if self.base_condition is not None:
            rest = row[n:]
            words.append(self.base_condition.format(rest if self.base_condition.shape else rest[0]))
        return " ".join(words)

    def pack(self, grids: Sequence[Tensor], base: Tensor | None = None) -> Tensor:
        """Packs grids (B, *grid), coarse to fine, and a value each to values (B, *shape).

        Arguments:
            grids: (B, *grid) each, coarse to fine.
            base: The values (B, ...) of `base_condition`, if there is one.

        Raises:
            InputError: If there are more or fewer grids than levels, or they are of other shapes.
        """
        shapes = tuple(tuple(grid.shape[1:]) for grid in grids)
        if shapes != self.grids or (base is None) != (self.base_condition is None):
            wanted, got = (
                "no value" if each is None else "a value" for each in (self.base_condition, base)
            )
            raise InputError(
                f"The grids above have the shapes {self.grids} and are given {wanted}, got "
                f"{shapes} and {got}: give the grids of all levels, coarse to fine."
            )
        parts = [to_columns(grid.flatten(1)) for grid in grids]
        parts += [] if base is None else [to_columns(base).to(parts[0].device)]
        return torch.cat(parts, 1)

    def unpack(self, values: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Unpacks values (B, *shape) to grids (B, *grid), int64, and values of the base."""
        parts = values.split(self._columns, 1)
        grids = [
            part.long().unflatten(1, grid)
            for part, grid in zip(parts, self.grids, strict=False)  # the base comes after
        ]
        if self.base_condition is None:
            return grids, None
        return grids, from_columns(self.base_condition, parts[-1])

    def check(self, values: Tensor) -> None:
        if tuple(values.shape[1:]) != self.shape or values.dtype == torch.bool:
            raise InputError(
                f"Values of grids above are numbers (B, {self.shape[0]}), got {values.dtype} "
                f"{tuple(values.shape)}: make them with `pack`."
            )
        indices = values[:, : sum(self._lengths)]
        levels = zip(self._lengths, self.codebook_sizes, strict=True)
        sizes = values.new_tensor([size for n, size in levels for _ in range(n)])
        wrong = indices[~((indices >= 0) & (indices < sizes) & (indices == indices.floor()))]
        if len(wrong):
            raise InputError(
                f"Indices of grids above are whole numbers from 0 and below the codebook sizes "
                f"{self.codebook_sizes}, got {wrong[0].item():g}: take those of the same tokenizer."
            )
        if self.base_condition is not None:
            check_columns(self.base_condition, values[:, sum(self._lengths) :])

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        levels = zip(self.codebook_sizes, self.grids, strict=True)
        grids = [torch.randint(size, (n, *grid), generator=generator) for size, grid in levels]
        return self.pack(
            grids, None if self.base_condition is None else self.base_condition.draw(n, generator)
        )

    def distance(self, values: Tensor, others: Tensor) -> Tensor:
        return torch.where((values == others).all(1), 0.0, torch.inf)

    def matches(self, asked: Tensor, got: Tensor) -> Tensor:
        """See `Condition.matches`: all indices are equal, and the base condition matches."""
        n = sum(self._lengths)
        same = (asked[:, :n] == got[:, :n]).all(1)
        if self.base_condition is None:
            return same
        base, other = (from_columns(self.base_condition, each[:, n:]) for each in (asked, got))
        return same & self.base_condition.matches(base, other)

    def without(self, values: Tensor) -> Tensor:
        grids, base = self.unpack(values)
        if self.base_condition is None or base is None:
            return values
        return self.pack(grids, self.base_condition.without(base))

    def forward(self, values: Tensor) -> Context:
        grids, base = self.unpack(values)
        if self.base_condition is None:
            return Context(map=tuple(grids))
        return self.base_condition(base)._replace(map=tuple(grids))

    @property
    def _columns(self) -> list[int]:
        """Returns the widths of the grids and of the base condition in a row."""
        base = [] if self.base_condition is None else [num_columns(self.base_condition)]
        return [*self._lengths, *base]

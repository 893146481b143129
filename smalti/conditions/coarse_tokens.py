"""The coarser grids of a hierarchy, as the condition of the prior of a finer one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.conditions.base import Condition
from smalti.errors import InputError

__all__ = ["GridsAbove"]


@registered
@dataclass(frozen=True)
class GridsAbove(Condition):
    """The coarser grids of a hierarchy, and the value that those were given, if any.

    A value is one row of numbers: the indices of the grids, coarse to fine, each in reading order,
    and last the value of `given`. `join` makes such rows and `split` takes them apart.

    Arguments:
        codebook_sizes: K of each grid above.
        grids: Shape of each grid above, (H, W) or (T,), or (H, W, Q) of several indices a position.
        given: What the grids above are themselves conditioned on.

    Raises:
        InputError: If there is no grid, or not one codebook size for each.

    Example:
        >>> from smalti.conditions import Label
        >>> above = GridsAbove([512, 256], [(1, 2), (2, 2)], Label(["cat", "dog"]))
        >>> grids = [torch.tensor([[[5, 7]]]), torch.tensor([[[1, 2], [3, 4]]])]
        >>> above.join(grids, torch.tensor([1]))
        tensor([[5., 7., 1., 2., 3., 4., 1.]], dtype=torch.float64)
    """

    codebook_sizes: Sequence[int]
    grids: Sequence[Sequence[int]]
    given: Condition | None = None

    name: ClassVar[str] = "grid above"
    dtype: ClassVar[torch.dtype] = torch.float64  # exact, of indices and of minutes alike

    def __post_init__(self) -> None:
        sizes, grids = tuple(self.codebook_sizes), tuple(map(tuple, self.grids))
        lengths = [length for grid in grids for length in grid]
        if not grids or len(sizes) != len(grids) or min((*sizes, *lengths)) < 1:
            raise InputError(
                f"There must be at least one grid above and a codebook size for each, got sizes "
                f"{sizes} and grids {grids}: give those of the levels above, coarse to fine."
            )
        if not all(1 <= len(grid) <= 3 for grid in grids):
            raise InputError(
                f"Grids above are (H, W), (T,) or (H, W, Q), got {grids}: flatten the others."
            )
        if isinstance(self.given, GridsAbove):
            raise InputError(
                "Grids above are not given others of their own: list all of them, coarse to fine."
            )
        object.__setattr__(self, "codebook_sizes", sizes)
        object.__setattr__(self, "grids", grids)

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(self._positions) + (self.given is not None),)

    @property
    def dim(self) -> int:
        one_hot = sum(map(math.prod, zip(self._positions, self.codebook_sizes, strict=True)))
        return one_hot + (0 if self.given is None else self.given.dim)

    def parse(self, text: str) -> float:
        raise InputError(
            f"A grid above is drawn or encoded and has no text, got {text!r}: give the prior "
            f"tensors that `join` made."
        )

    def format(self, value: float) -> str:
        raise InputError("A grid above has no text: take its indices from what `split` gives.")

    def join(self, grids: Sequence[Tensor], given: Tensor | None = None) -> Tensor:
        """Grids (B, *grid), coarse to fine, and the values (B,) of `given` → values (B, *shape).

        Raises:
            InputError: If there are more or fewer grids than levels, or they are of other shapes.
        """
        shapes = tuple(tuple(grid.shape[1:]) for grid in grids)
        if shapes != self.grids or (given is None) != (self.given is None):
            wanted, got = (
                "no value" if each is None else "a value" for each in (self.given, given)
            )
            raise InputError(
                f"The grids above have the shapes {self.grids} and are given {wanted}, got "
                f"{shapes} and {got}: give the grids of all levels, coarse to fine."
            )
        parts = [grid.flatten(1) for grid in grids]
        parts += [] if given is None else [given[:, None].to(parts[0].device)]
        return torch.cat([part.to(self.dtype) for part in parts], 1)

    def split(self, values: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Values (B, *shape) → the grids (B, *grid), int64, and the values (B,) of `given`."""
        *flat, rest = values.split([*self._positions, int(self.given is not None)], 1)
        grids = [
            part.long().unflatten(1, grid) for part, grid in zip(flat, self.grids, strict=True)
        ]
        return grids, None if self.given is None else rest[:, 0].to(self.given.dtype)

    def check(self, values: Tensor) -> None:
        if tuple(values.shape[1:]) != self.shape or values.dtype == torch.bool:
            raise InputError(
                f"Values of grids above are numbers (B, {self.shape[0]}), got {values.dtype} "
                f"{tuple(values.shape)}: make them with `join`."
            )
        indices = values[:, : sum(self._positions)]
        levels = zip(self._positions, self.codebook_sizes, strict=True)
        sizes = values.new_tensor([size for n, size in levels for _ in range(n)])
        wrong = indices[~((indices >= 0) & (indices < sizes) & (indices == indices.floor()))]
        if len(wrong):
            raise InputError(
                f"Indices of grids above are whole numbers from 0 and below the codebook sizes "
                f"{self.codebook_sizes}, got {wrong[0].item():g}: take those of the same tokenizer."
            )
        if self.given is not None:
            raw = values[:, -1]
            given = raw.to(self.given.dtype)
            kept = self.given.dtype.is_floating_point or bool((given == raw).all())
            self.given.check(given if kept else raw)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        levels = zip(self.codebook_sizes, self.grids, strict=True)
        grids = [torch.randint(size, (n, *grid), generator=generator) for size, grid in levels]
        return self.join(grids, None if self.given is None else self.given.draw(n, generator))

    def __call__(self, values: Tensor) -> Tensor:
        grids, given = self.split(values)
        levels = zip(grids, self.codebook_sizes, strict=True)
        parts = [F.one_hot(grid, size).flatten(1).float() for grid, size in levels]
        if self.given is not None:
            assert given is not None
            parts.append(self.given(given))
        return torch.cat(parts, 1)

    @property
    def _positions(self) -> list[int]:
        return [math.prod(grid) for grid in self.grids]

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
from smalti.conditions.condition import Condition
from smalti.errors import InputError

__all__ = ["CoarseTokens"]


@registered
@dataclass(frozen=True)
class CoarseTokens(Condition):
    """The coarser grids of a hierarchy, and the value of their own condition, if they have one.

    A value is one row of numbers: the indices of the grids, coarse to fine, each in reading order,
    and last the value of `base_condition`. `pack` makes such rows and `unpack` takes them apart.

    Arguments:
        codebook_sizes: K of each grid above.
        grids: Shape of each grid above, (H, W) or (T,), or (H, W, Q) of Q indices per position.
        base_condition: What the grids above are themselves conditioned on.

    Raises:
        InputError: If there is no grid, or not one codebook size for each.

    Example:
        >>> from smalti.conditions import Label
        >>> above = CoarseTokens([512, 256], [(1, 2), (2, 2)], Label(["cat", "dog"]))
        >>> grids = [torch.tensor([[[5, 7]]]), torch.tensor([[[1, 2], [3, 4]]])]
        >>> above.pack(grids, torch.tensor([1]))
        tensor([[5., 7., 1., 2., 3., 4., 1.]], dtype=torch.float64)
    """

    codebook_sizes: Sequence[int]
    grids: Sequence[Sequence[int]]
    base_condition: Condition | None = None

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
        if isinstance(self.base_condition, CoarseTokens):
            raise InputError(
                "Grids above are not given others of their own: list all of them, coarse to fine."
            )
        object.__setattr__(self, "codebook_sizes", sizes)
        object.__setattr__(self, "grids", grids)

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(self._positions) + (self.base_condition is not None),)

    @property
    def dim(self) -> int:
        one_hot = sum(map(math.prod, zip(self._positions, self.codebook_sizes, strict=True)))
        return one_hot + (0 if self.base_condition is None else self.base_condition.dim)

    def parse(self, text: str) -> float:
        raise InputError(
            f"A grid above is drawn or encoded and has no text, got {text!r}: give the prior "
            f"tensors that `pack` made."
        )

    def format(self, value: float) -> str:
        raise InputError("A grid above has no text: take its indices from what `unpack` gives.")

    def pack(self, grids: Sequence[Tensor], base: Tensor | None = None) -> Tensor:
        """Packs grids (B, *grid), coarse to fine, and a value each to values (B, *shape).

        Arguments:
            grids: (B, *grid) each, coarse to fine.
            base: The values (B,) of `base_condition`, if there is one.

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
        parts = [grid.flatten(1) for grid in grids]
        parts += [] if base is None else [base[:, None].to(parts[0].device)]
        return torch.cat([part.to(self.dtype) for part in parts], 1)

    def unpack(self, values: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Unpacks values (B, *shape) to grids (B, *grid), int64, and values (B,) of the base."""
        *flat, rest = values.split([*self._positions, int(self.base_condition is not None)], 1)
        grids = [
            part.long().unflatten(1, grid) for part, grid in zip(flat, self.grids, strict=True)
        ]
        return grids, None if self.base_condition is None else rest[:, 0].to(
            self.base_condition.dtype
        )

    def check(self, values: Tensor) -> None:
        if tuple(values.shape[1:]) != self.shape or values.dtype == torch.bool:
            raise InputError(
                f"Values of grids above are numbers (B, {self.shape[0]}), got {values.dtype} "
                f"{tuple(values.shape)}: make them with `pack`."
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
        if self.base_condition is not None:
            raw = values[:, -1]
            base = raw.to(self.base_condition.dtype)
            kept = self.base_condition.dtype.is_floating_point or bool((base == raw).all())
            self.base_condition.check(base if kept else raw)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        levels = zip(self.codebook_sizes, self.grids, strict=True)
        grids = [torch.randint(size, (n, *grid), generator=generator) for size, grid in levels]
        return self.pack(
            grids, None if self.base_condition is None else self.base_condition.draw(n, generator)
        )

    def __call__(self, values: Tensor) -> Tensor:
        grids, base = self.unpack(values)
        levels = zip(grids, self.codebook_sizes, strict=True)
        parts = [F.one_hot(grid, size).flatten(1).float() for grid, size in levels]
        if self.base_condition is not None:
            assert base is not None
            parts.append(self.base_condition(base))
        return torch.cat(parts, 1)

    @property
    def _positions(self) -> list[int]:
        return [math.prod(grid) for grid in self.grids]

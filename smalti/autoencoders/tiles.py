"""Applies networks to large signals tile by tile, with the result of the whole.

Convolutions look no farther than a margin. A tile is encoded with so much of its surroundings, and
what comes of these is dropped: the rest is what it is in the whole, up to the rounding of sums. At
the edge of the signal a tile has no surroundings, as the whole has none.

Everything is counted in units: a unit is one position of the coarsest grid, and the patch of the
signal, or of a finer grid, that belongs to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["CORE", "SpatialAxes", "apply_in_tiles", "core_of", "is_large"]

CORE = 512  # signal positions along each side of a tile, without its surroundings
MARGINS = 8  # the least that a tile of one dimension is long, in margins: else it is mostly those


class SpatialAxes(NamedTuple):
    """Which dimensions of a tensor are spatial, and how fine it is along them.

    Tiles are measured in units, the positions of the coarsest token grid: along each spatial
    dimension a signal has as many positions per unit as the tokenizer downsamples.

    Attributes:
        first: Index of the first spatial dimension; all after it are spatial, too.
        per_unit: Positions of the tensor per unit, the same along each spatial dimension.
    """

    first: int
    per_unit: int


def apply_in_tiles(
    apply: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor],
    input_axes: Sequence[SpatialAxes],
    output_axes: Sequence[SpatialAxes],
    size: Sequence[int],
    margin: int,
    core: int,
) -> list[Tensor]:
    """Applies a function to overlapping tiles of tensors, and joins the results to the whole.

    Arguments:
        apply: Maps a tile of each input to that tile of each output.
        inputs: The input tensors.
        input_axes: The spatial dimensions of each input.
        output_axes: The spatial dimensions of each output.
        size: The number of units (see `SpatialAxes`) along each spatial dimension.
        margin: The radius of the function's receptive field, in units.
        core: Units along each side of a tile without its margin, at least 1.

    Returns:
        The outputs of the function for the whole tensors.
    """
    outputs: list[Tensor] = []
    tiles = ([(n, min(n + core, length)) for n in range(0, length, core)] for length in size)
    for tile in itertools.product(*tiles):
        wide = [
            (max(start - margin, 0), min(stop + margin, length))
            for (start, stop), length in zip(tile, size, strict=True)
        ]
        parts = apply(
            *(each[_part(grid, wide)] for each, grid in zip(inputs, input_axes, strict=True))
        )
        if not outputs:
            outputs = [
                _empty(part, grid, size) for part, grid in zip(parts, output_axes, strict=True)
            ]
        inner = [
            (start - low, stop - low) for (start, stop), (low, _) in zip(tile, wide, strict=True)
        ]
        for output, part, grid in zip(outputs, parts, output_axes, strict=True):
            output[_part(grid, tile)] = part[_part(grid, inner)]
    return outputs


def core_of(unit: int, margin: int, dims: int) -> int:
    """Returns the units along each side of a tile without its margin.

    Arguments:
        unit: Signal positions per unit.
        margin: Units around a tile that are computed with it, and dropped.
        dims: Spatial dimensions. Signals of one have few positions, so that tiles may be longer.

    Example:
        >>> core_of(8, 4, dims=2), core_of(320, 10, dims=1)
        (64, 80)
    """
    return max(CORE // unit, 1, MARGINS * margin if dims == 1 else 0)


def is_large(size: Sequence[int]) -> bool:
    """Returns whether signals of a size are processed in tiles."""
    return max(size, default=0) > 2 * CORE


def _part(grid: SpatialAxes, units: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    """Returns the place of a box of units."""
    every = [slice(None)] * grid.first
    return (*every, *(slice(a * grid.per_unit, b * grid.per_unit) for a, b in units))


def _empty(part: Tensor, grid: SpatialAxes, size: Sequence[int]) -> Tensor:
    """Makes room for the whole output that a part is of."""
    after = part.shape[grid.first + len(size) :]
    lengths = (length * grid.per_unit for length in size)
    return torch.empty(
        *part.shape[: grid.first], *lengths, *after, dtype=part.dtype, device=part.device
    )

"""The codebook in tiles and groups, which both searches on the CPU go over."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["GROUP", "TILE", "Tile", "first_place", "in_tiles"]

GROUP = 64
TILE = 512  # T, codewords


class Tile(NamedTuple):
    """Some of the codewords, with padding that makes them a multiple of GROUP.

    Attributes:
        start: The index of the first.
        offset: −½‖e‖² (T,), −∞ for padding.
        codewords: e (T, D).
    """

    start: int
    offset: Tensor
    codewords: Tensor


def in_tiles(codewords: Tensor, start: int, size: int = TILE) -> Iterator[Tile]:
    """Codewords (K, D), of which the first has the index `start`, tile by tile of `size` ≥ 1."""
    for tile in codewords.split(size):
        offset = tile.square().sum(1).mul(-0.5)  # (T,)
        missing = -len(tile) % GROUP
        if missing:
            # Padding is never the nearest.
            tile = F.pad(tile, (0, 0, 0, missing))
            offset = F.pad(offset, (0, missing), value=-torch.inf)
        yield Tile(start, offset, tile)
        start += size


def first_place(scores: Tensor, best: Tensor) -> Tensor:
    """Where each row (R, GROUP) first equals its maximum (R,), or GROUP; overwrites the rows."""
    falling = torch.arange(GROUP, 0, -1, device=best.device, dtype=best.dtype)
    return (GROUP - scores.eq_(best[:, None]).mul_(falling).amax(1)).long()

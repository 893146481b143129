"""Fills a masked part of a signal smoothly from the rest, by the pull-push algorithm.

Pull: means of the given values are taken over ever larger blocks, until each block has one. Push:
from the largest blocks on, means are interpolated into the smaller blocks that have none. So the
filling continues the signal near the rim, and tends to its mean further inside.

References:
    The Lumigraph, S. J. Gortler, R. Grzeszczuk, R. Szeliski and M. F. Cohen, 1996, section 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.autoencoders.padding import crop

__all__ = ["fill_smoothly"]


def fill_smoothly(x: Tensor, mask: Tensor) -> Tensor:
    """Fills x (C, *size) where a mask (*size) is True, from the values outside of the mask alone.

    Missing values (NaN) outside of the mask stay missing and are not used. A channel without any
    value outside of the mask becomes 0 in it.

    Example:
        >>> x = torch.tensor([[1.0, 9.0, 9.0, 3.0]])
        >>> fill_smoothly(x, torch.tensor([False, True, True, False]))
        tensor([[1.0000, 1.5000, 2.5000, 3.0000]])
    """
    there = ~(mask | x.isnan())
    values = torch.where(there, x, 0.0)[None]
    return torch.where(mask, _pulled(values, there[None].to(x.dtype))[0], x)


def _pulled(sums: Tensor, weights: Tensor) -> Tensor:
    """Returns means (1, C, *size) of sums and weights, of a coarser grid where a weight is 0."""
    there = weights > 0
    means = torch.where(there, sums / weights.where(there, 1.0), 0.0)
    size = sums.shape[2:]
    if bool(there.all()) or max(size) == 1:
        return means
    two = len(size) == 2
    sides = [side for length in reversed(size) for side in (0, length % 2)]
    pool = F.avg_pool2d if two else F.avg_pool1d
    coarse = _pulled(*(pool(F.pad(part, sides), 2) for part in (sums, weights)))
    even = [length + length % 2 for length in size]
    fine = F.interpolate(coarse, size=even, mode="bilinear" if two else "linear")
    return torch.where(there, means, crop(fine, tuple(size)))

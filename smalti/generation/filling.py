"""Fills a part of a signal with something smooth, made of the rest alone.

Means over ever larger blocks of what is given are taken until each block has some (pull), and from
the largest on they are interpolated into the smaller ones where those have none (push). So near the
rim the filling goes on as the signal ends there, and further inside it tends to the mean.

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
    """Replaces x (C, *size) where a mask (*size) is True; of what was there nothing is left.

    Missing values (NaN) outside of the mask stay, and count for nothing. A channel that has no
    value outside of it becomes 0 there.

    Example:
        >>> x = torch.tensor([[1.0, 9.0, 9.0, 3.0]])
        >>> fill_smoothly(x, torch.tensor([False, True, True, False]))
        tensor([[1.0000, 1.5000, 2.5000, 3.0000]])
    """
    there = ~(mask | x.isnan())
    values = torch.where(there, x, 0.0)[None]
    return torch.where(mask, _pulled(values, there[None].to(x.dtype))[0], x)


def _pulled(sums: Tensor, weights: Tensor) -> Tensor:
    """Returns means (1, C, *size) of sums and weights, coarser ones where a weight is 0."""
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

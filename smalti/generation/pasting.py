"""Pastes the original back around the part that was drawn anew, with a smooth seam.

    y = w x + (1 − w) x̂          w = 0 in the mask, t² (3 − 2 t) with t = d / (N + 1) at a distance
                                 d ≤ N from it, 1 farther away

This is alpha compositing with a smoothstep as alpha: x is the original, x̂ the edited signal, and
N the width of the seam. Where w is 1, y equals x bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.arguments import as_whole_number

__all__ = ["paste_back", "seam_weights"]


def paste_back(made: Tensor, x: Tensor, mask: Tensor, blend: int) -> Tensor:
    """Pastes the original over edited signals outside of a mask: (n, C, *size).

    Arguments:
        made: The edited signals, (n, C, *size).
        x: The original, (C, *size). Where it has gaps (NaN) in the seam, the edited signal stays.
        mask: (*size), bool, True where the edited signal stays.
        blend: N, the width of the seam in values, from 0 to the longest side of the mask.

    Raises:
        InputError: If the width is no such number.
    """
    x, weights = x.to(made), seam_weights(mask, blend).to(made)
    mixed = torch.lerp(made, torch.where(x.isnan(), made, x), weights)
    return torch.where(weights == 1, x, mixed)


def seam_weights(mask: Tensor, blend: int) -> Tensor:
    """Returns the weights (*size) of the original: 0 in the mask, 1 beyond the seam.

    Example:
        >>> seam_weights(torch.tensor([True, False, False, False]), 1)
        tensor([0.0000, 0.5000, 1.0000, 1.0000])
    """
    blend = as_whole_number(blend, "blend", 0, max(mask.shape))
    distance = _distance(mask, blend)
    t = distance / (blend + 1)
    return torch.where(distance <= blend, t * t * (3 - 2 * t), 1.0)


def _distance(mask: Tensor, most: int) -> Tensor:
    """Returns the Euclidean distance of each place to the nearest marked one.

    It is exact up to `most`, and some larger number beyond.
    """
    squared = torch.where(mask, 0.0, torch.inf)
    for dim, length in enumerate(mask.shape):  # one dimension after another: exact
        before, squared = squared, squared.clone()
        for step in range(1, min(most + 1, length)):
            reached = length - step
            for start, end in ((0, step), (step, 0)):
                near = squared.narrow(dim, end, reached)
                near.copy_(near.minimum(before.narrow(dim, start, reached) + step * step))
    return squared.sqrt()

"""Augmentation of sounds: random shifts in time."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["shift_randomly"]


def shift_randomly(x: Tensor, reach: float) -> Tensor:
    """Moves each sound of a batch by a random number of samples, uniform up to `reach`.

    What is moved in is silence. Draws from torch's global generator.

    Arguments:
        x: (B, C, T).
        reach: The largest shift, as a share of the length, in [0, 1).

    Example:
        >>> shift_randomly(torch.ones(1, 1, 4), 0.0)
        tensor([[[1., 1., 1., 1.]]])
    """
    most = int(reach * x.shape[2])
    moved = torch.randint(-most, most + 1, (len(x), 1)).to(x.device)
    places = torch.arange(x.shape[2], device=x.device) - moved  # (B, T)
    there = (places >= 0) & (places < x.shape[2])
    index = places.clamp(0, x.shape[2] - 1)[:, None].expand_as(x)
    return torch.where(there[:, None], x.gather(2, index), 0.0)

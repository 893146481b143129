"""Rotary positions along several axes: attention that depends on how far apart two places are.

The channels of a head are pairs, each a point in the plane. Of queries and keys pair m is rotated
by the angle θ_m x, with x the coordinate of its axis: so their product depends on x − x' alone.
Each axis has its share of the pairs, with speeds from 1 down to nearly 1/BASE, in geometric steps.

References:
    RoFormer: Enhanced Transformer with Rotary Position Embedding, J. Su et al., 2021, arXiv
    2104.09864.
    Rotary Position Embedding for Vision Transformer, B. Heo, S. Park, D. Han and S. Yun, 2024,
    arXiv 2403.13298 (axes that share the pairs, and the base).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rotary_tables"]

BASE = 100.0


def rotary_tables(places: Tensor, head_dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns cosine and sine of each pair's angle, (2, S, head_dim); pairs are d/2 apart.

    Arguments:
        places: The coordinates of S places along A axes, (S, A), any numbers; A may be 0.
        head_dim: d, even.
        dtype: What they are computed in.

    Example:
        >>> rotary_tables(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), 4)[0]
        tensor([[1.0000, 1.0000, 1.0000, 1.0000],
                [0.5403, 1.0000, 0.5403, 1.0000]])
    """
    pairs, axes = head_dim // 2, places.shape[1]
    if not axes:
        angles = torch.zeros(len(places), pairs, dtype=dtype)
    else:
        shares = [pairs // axes + (axis < pairs % axes) for axis in range(axes)]
        speeds = [BASE ** -(torch.arange(share, dtype=dtype) / max(share, 1)) for share in shares]
        columns = zip(places.to(dtype).unbind(1), speeds, strict=True)
        angles = torch.cat([column[:, None] * speed for column, speed in columns], 1)
    angles = torch.cat([angles, angles], 1)
    return torch.stack([angles.cos(), angles.sin()])

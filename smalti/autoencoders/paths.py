"""Straight paths through a latent space.

    z(t) = (1 − t) z_a + t z_b,   t = 0, …, 1

The straight line between two latents, z_a and z_b included.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.arguments import as_whole_number
from smalti.errors import InputError

__all__ = ["linear_path"]


def linear_path(z_a: Tensor, z_b: Tensor, steps: int) -> Tensor:
    """Interpolates linearly from z_a to z_b, both (*shape), in `steps` points: (steps, *shape).

    Raises:
        InputError: If there are fewer than two steps.

    Example:
        >>> linear_path(torch.zeros(1), torch.ones(1), 3).flatten()
        tensor([0.0000, 0.5000, 1.0000])
    """
    if as_whole_number(steps, "steps") < 2:
        raise InputError(f"An interpolation has at least its two ends, got steps={steps}: take 8.")
    t = torch.linspace(0, 1, steps, device=z_a.device).view(-1, *[1] * z_a.ndim)
    return torch.lerp(z_a[None], z_b[None], t.to(z_a.dtype))

"""Where the randomness of samples comes from."""

from __future__ import annotations

import torch

from smalti.errors import InputError

__all__ = ["generator_of"]


def generator_of(n: int, seed: int | None) -> torch.Generator:
    """The generator of n samples: fresh without a seed.

    Raises:
        InputError: If there is nothing to draw, or the seed is out of range.
    """
    if n < 1:
        raise InputError(f"The number of samples must be at least 1, got {n}.")
    generator = torch.Generator()
    if seed is None:
        generator.seed()
        return generator
    if not 0 <= seed < 2**63:
        raise InputError(f"A seed lies between 0 and 2⁶³ − 1, got {seed}: choose another.")
    return generator.manual_seed(seed)

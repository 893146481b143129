"""What samples are made from: their number, the room they take, and where randomness comes from."""

from __future__ import annotations

from typing import Any

import torch

from smalti.arguments import a_seed, a_whole_number
from smalti.errors import InputError
from smalti.memory import check_memory

__all__ = ["check_room", "generator_of"]


def generator_of(n: Any, seed: Any) -> torch.Generator:
    """The generator of n samples: fresh without a seed.

    Raises:
        InputError: If there is nothing to draw, or n or the seed is no such number.
    """
    if a_whole_number(n, "The number of samples") < 1:
        raise InputError(f"The number of samples must be at least 1, got {n}: give 1 or more.")
    generator = torch.Generator()
    if seed is None:
        generator.seed()
        return generator
    return generator.manual_seed(a_seed(seed))


def check_room(n: int, values: int, what: str) -> None:
    """Raises `InputError` where n signals of so many values are more than the machine can hold.

    Arguments:
        n: How many.
        values: Of each, in float32.
        what: They are, in the plural.
    """
    check_memory(4 * n * values, f"The {n} {what} that are asked for", "make fewer at a time")

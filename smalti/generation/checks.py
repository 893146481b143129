"""Checks what a model is given: number of samples, memory, seed; splits batches in pieces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from smalti.arguments import a_seed, a_whole_number, as_tensor
from smalti.errors import InputError
from smalti.memory import check_memory

__all__ = ["BATCH", "check_room", "generator_of", "keep_given", "pieces"]

BATCH = 256  # signals at a time


def generator_of(n: Any, seed: Any) -> torch.Generator:
    """Returns the generator of n samples: fresh without a seed.

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
    check_memory(4 * n * values, f"A batch of {n:,} {what}", "make fewer at a time")


def keep_given(indices: Tensor, given: Tensor) -> Tensor:
    """Puts -1 in the place of the indices whose patch is not wholly given.

    Arguments:
        indices: (B, *grid), or (B, *grid, Q).
        given: (B, *size), bool, of a size that the grid divides.

    Example:
        >>> keep_given(torch.tensor([[5, 6]]), torch.tensor([[True, True, True, False]]))
        tensor([[ 5, -1]])
    """
    grid = indices.shape[1 : given.ndim]
    patches = [n for g, length in zip(grid, given.shape[1:], strict=True) for n in (g, length // g)]
    whole = given.reshape(len(given), *patches)
    for dim in reversed(range(2, whole.ndim, 2)):
        whole = whole.all(dim)
    return torch.where(whole.reshape(*whole.shape, *[1] * (indices.ndim - whole.ndim)), indices, -1)


def pieces(batch: Any, what: str) -> tuple[Tensor, ...]:
    """Splits a batch into at least one piece of at most 256; the model checks each.

    Arguments:
        batch: (B, ...), a tensor, an array or nested lists.
        what: Its name, as the subject of a sentence.
    """
    tensor = as_tensor(batch, what)
    return tensor.split(BATCH) if tensor.ndim else (tensor,)

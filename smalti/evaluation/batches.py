"""Chooses the examples that are measured, and gives them in batches.

Where a set is larger than what is measured of it, the examples are drawn without replacement,
because files often lie sorted by class. The draw depends on the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from smalti.data.source import Batch, Examples

__all__ = ["batches", "choose_examples", "split_in_pieces"]


def choose_examples(examples: Examples, limit: int | None, seed: int) -> list[int]:
    """Draws the indices of at most `limit` examples; all, in order, if there are no more."""
    if limit is None or limit >= len(examples):
        return list(range(len(examples)))
    if examples.endless:  # as random in order as in any other
        return list(range(limit))
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(examples), generator=generator)[:limit].sort().values.tolist()


def batches(
    examples: Examples, chosen: Sequence[int], batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """Yields the chosen examples in batches on `device`."""
    for start in range(0, len(chosen), batch_size):
        x, condition = examples.__getitems__(chosen[start : start + batch_size])
        yield Batch(x.to(device), None if condition is None else condition.to(device))


def split_in_pieces(*tensors: Tensor | None, size: int) -> Iterator[tuple[Tensor | None, ...]]:
    """Splits tensors of equal length into pieces of at most `size`; `None` stays `None`.

    Example:
        >>> [len(a) for a, b in split_in_pieces(torch.zeros(5), None, size=2)]
        [2, 2, 1]
    """
    length = next(len(tensor) for tensor in tensors if tensor is not None)
    for start in range(0, length, size):
        yield tuple(None if tensor is None else tensor[start : start + size] for tensor in tensors)

"""Examples that are held in memory as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from smalti.data.source import Batch, StoredExamples
from smalti.errors import InputError

__all__ = ["TensorExamples"]


class TensorExamples(StoredExamples):
    """Examples that are held in memory as one tensor.

    Arguments:
        x: (N, C, *size), the signals in their range.
        values: The conditions (N,), or None.

    Raises:
        InputError: If there are more or fewer conditions than examples.

    Example:
        >>> examples = TensorExamples(torch.zeros(3, 1, 8), torch.tensor([0, 1, 1]))
        >>> len(examples), examples.__getitems__([2, 0]).condition
        (3, tensor([1, 0]))
    """

    def __init__(self, x: Tensor, values: Tensor | None = None) -> None:
        if values is not None and len(values) != len(x):
            raise InputError(
                f"Each example has one condition, got {len(values)} of {len(x)}: give as many."
            )
        self.x, self.values = x, values

    def __len__(self) -> int:
        return len(self.x)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return Batch(self.x[rows], self.conditions_at(indices))

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return None if self.values is None else self.values[rows]

    def take(self, indices: Tensor) -> Self:
        """Returns the examples with these indices (K,), int64."""
        return type(self)(self.x[indices], None if self.values is None else self.values[indices])

"""Examples that are vectors in an array, which may be memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from smalti.data.source import Batch, StoredExamples

__all__ = ["StoredVectors"]


class StoredVectors(StoredExamples):
    """Examples that are rows of an array, which may be memory-mapped.

    Arguments:
        stored: (M, d) array, of any type of numbers.
        values: The conditions (M,), or None.
        rows: (N,), int64: the examples, as rows of the array; None for all.

    Example:
        >>> examples = StoredVectors(np.eye(3, dtype=np.float16), None).take(torch.tensor([2]))
        >>> examples[0].x
        tensor([[0., 0., 1.]])
    """

    def __init__(
        self, stored: np.ndarray, values: Tensor | None, rows: Tensor | None = None
    ) -> None:
        self.stored, self.values = stored, values
        self.rows = torch.arange(len(stored)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = self.rows[torch.as_tensor(indices, dtype=torch.int64)]
        x = np.asarray(self.stored[rows.numpy()]).astype(np.float32, copy=False)
        return Batch(torch.from_numpy(x), self.conditions_at(indices))

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        if self.values is None:
            return None
        return self.values[self.rows[torch.as_tensor(indices, dtype=torch.int64)]]

    def take(self, indices: Tensor) -> StoredVectors:
        """Returns the examples with these indices (K,), int64; the vectors are shared."""
        return StoredVectors(self.stored, self.values, self.rows[indices])

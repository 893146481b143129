"""Examples that are windows of series, cut out when a batch is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from smalti.data.source import Batch, StoredExamples

__all__ = ["StoredWindows"]


class StoredWindows(StoredExamples):
    """Examples that are windows of series, cut out of one array of all steps.

    Arguments:
        steps: All series one after another, (steps, C), float32; may be memory-mapped.
        starts: (N,), int64: the first step of each window.
        lengths: (N,), int64: the number of its steps; the rest of a window is NaN.
        size: Steps of a window.
        values: The conditions (N,), or None.

    Example:
        >>> steps = np.arange(8, dtype=np.float32).reshape(4, 2)
        >>> StoredWindows(steps, np.array([1]), np.array([2]), 3)[0].x
        tensor([[[2., 4., nan],
                 [3., 5., nan]]])
    """

    def __init__(
        self,
        steps: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        size: int,
        values: Tensor | None = None,
    ) -> None:
        self.steps, self.starts, self.lengths = steps, starts, lengths
        self.size, self.values = size, values

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = np.asarray(indices, dtype=np.int64)
        within = np.arange(self.size)
        there = within < self.lengths[rows, None]  # (B, T)
        places = np.where(there, self.starts[rows, None] + within, 0)
        x = self.steps[places]  # (B, T, C)
        x[~there] = np.nan
        return Batch(
            torch.from_numpy(np.ascontiguousarray(x.transpose(0, 2, 1))),
            self.conditions_at(indices),
        )

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return None if self.values is None else self.values[rows]

    def take(self, indices: Tensor) -> StoredWindows:
        """Returns the examples with these indices (K,), int64; the steps are shared."""
        rows = indices.numpy()
        values = None if self.values is None else self.values[indices]
        return StoredWindows(self.steps, self.starts[rows], self.lengths[rows], self.size, values)

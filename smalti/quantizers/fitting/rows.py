"""Rows: a set of vectors (N, D) that is read in chunks, so that it may be larger than memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.errors import InputError

__all__ = ["CHUNK", "Rows", "TensorRows", "rows_at_once"]

CHUNK = 65_536  # rows
NUMBERS = CHUNK << 7  # of a chunk: 32 MB


def rows_at_once(dim: int) -> int:
    """Returns the number of rows per chunk, which is smaller for more dimensions.

    Example:
        >>> rows_at_once(50), rows_at_once(1536)
        (65536, 5461)
    """
    return max(1, min(CHUNK, NUMBERS // dim))


class Rows(ABC):
    """Abstract: a set of N vectors of D dimensions, which is read in chunks.

    Attributes:
        dim: D.
    """

    dim: int

    @abstractmethod
    def __len__(self) -> int:
        """Returns N."""

    @abstractmethod
    def chunks(self, size: int | None = None, first: int = 0, step: int = 1) -> Iterator[Tensor]:
        """Yields all rows in order, in chunks (n, D), float32, which are the same each time.

        Arguments:
            size: About how many rows a chunk has, n; the last one has fewer. Default:
                `rows_at_once(D)`.
            first: The number of the chunk to begin with, from 0.
            step: How many chunks on the next one is: each of P processes takes every P-th.
        """

    @abstractmethod
    def at(self, indices: Tensor) -> Tensor:
        """Returns the rows with these indices (n,), int64, in their order: (n, D), float32."""


class TensorRows(Rows):
    """The rows of a tensor or an array, which may be memory-mapped; it is never copied whole.

    Arguments:
        x: (N, D) numbers of any floating-point type.

    Raises:
        InputError: If x is not two-dimensional or not floating-point, or has no rows.

    Example:
        >>> rows = TensorRows(np.arange(6.0).reshape(3, 2))
        >>> len(rows), rows.dim, [tuple(chunk.shape) for chunk in rows.chunks(2)]
        (3, 2, [(2, 2), (1, 2)])
        >>> rows.at(torch.tensor([2, 0]))
        tensor([[4., 5.],
                [0., 1.]])
    """

    def __init__(self, x: Tensor | np.ndarray) -> None:
        floats = x.is_floating_point() if isinstance(x, Tensor) else _is_floats(x)
        if not floats or x.ndim != 2 or not x.shape[0] or not x.shape[1]:
            got = f"{tuple(x.shape)} of {x.dtype}" if hasattr(x, "shape") else type(x).__name__
            raise InputError(
                f"Rows are a tensor or an array (N, D) of floating-point numbers, got {got}: give "
                f"one row for each vector, e.g. x.float()."
            )
        self.x, self.dim = x, int(x.shape[1])

    def __len__(self) -> int:
        return len(self.x)

    def chunks(self, size: int | None = None, first: int = 0, step: int = 1) -> Iterator[Tensor]:
        """See `Rows.chunks`."""
        size = size or rows_at_once(self.dim)
        for start in range(first * size, len(self), step * size):
            yield _as_floats(self.x[start : start + size])

    def at(self, indices: Tensor) -> Tensor:
        """See `Rows.at`."""
        if isinstance(self.x, Tensor):
            return _as_floats(self.x[indices.to(self.x.device)])
        # In the order of the file, which is read from its beginning to its end.
        order = indices.argsort()
        found = _as_floats(self.x[indices[order].numpy()])
        return torch.empty_like(found).index_copy_(0, order, found)


def _is_floats(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _as_floats(part: Tensor | np.ndarray) -> Tensor:
    """Returns a part as float32; that of an array is a copy, for a mapped file is only read."""
    if isinstance(part, Tensor):
        return part.detach().float()
    return torch.from_numpy(np.array(part, dtype=np.float32))

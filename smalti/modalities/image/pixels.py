"""Decoded images that are held as bytes, in one array (N, C, H, W).

    byte b ∈ {0, …, 255}  →  value v = b / 127.5 − 1 ∈ [-1, 1]

Bytes take a quarter of the room of floats, and a set that is too large for memory all the same can
lie in a file that is mapped into it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.data.source import Batch, StoredExamples

__all__ = ["Pixels", "to_float"]


def to_float(pixels: Tensor) -> Tensor:
    """Scales bytes to values in [-1, 1], float32, in the same shape.

    Example:
        >>> to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([-1.0000, -0.6000,  1.0000])
    """
    return pixels.float().div_(127.5).sub_(1)


class Pixels(StoredExamples):
    """Examples of decoded images, held as bytes; batches are float32 in [-1, 1].

    Arguments:
        pixels: (M, C, H, W), uint8.
        values: The conditions of the images (M,), or None.
        rows: (N,), int64: for each example the index of its image; None for all.
    """

    def __init__(self, pixels: Tensor, values: Tensor | None, rows: Tensor | None = None) -> None:
        self.pixels, self.values = pixels, values
        self.rows = torch.arange(len(pixels)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = self.rows[torch.as_tensor(indices, dtype=torch.int64)]
        return Batch(to_float(self.pixels[rows]), self.conditions_at(indices))

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        rows = self.rows[torch.as_tensor(indices, dtype=torch.int64)]
        return None if self.values is None else self.values[rows]

    def take(self, indices: Tensor) -> Pixels:
        """Returns the examples with these indices (K,), int64; the bytes are shared."""
        return Pixels(self.pixels, self.values, self.rows[indices])

"""Pixels held as bytes: a whole data set as one array of (N, C, H, W), and [-1, 1] only a batch at
a time.

    byte b ∈ {0, …, 255}  →  value v = b / 127.5 − 1 ∈ [-1, 1]

Bytes take a quarter of the room of floats, and a set that is too large for memory all the same can
lie in a file that is mapped into it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from smalti.data.base import Batch, Examples

__all__ = ["Pixels", "to_float"]


def to_float(pixels: Tensor) -> Tensor:
    """Turns bytes into values in [-1, 1], float32, in the same shape.

    Example:
        >>> to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
        tensor([-1.0000, -0.6000,  1.0000])
    """
    return pixels.float().div_(127.5).sub_(1)


class Pixels(Examples):
    """Examples that are all there, as bytes.

    Arguments:
        pixels: (N, C, H, W), uint8.
        values: The conditions (N,), or None.
    """

    def __init__(self, pixels: Tensor, values: Tensor | None) -> None:
        self.pixels, self.values = pixels, values

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        x = to_float(self.pixels[torch.as_tensor(indices, dtype=torch.int64)])
        return Batch(x, self.conditions_at(indices))

    def conditions_at(self, indices: Sequence[int]) -> Tensor | None:
        if self.values is None:
            return None
        return self.values[torch.as_tensor(indices, dtype=torch.int64)]

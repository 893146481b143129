"""A fit holds one chunk of the rows at a time, however many there are."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch

from smalti.quantizers import (
    EMACodebook,
    ProductQuantizer,
    ResidualQuantizer,
    RotatedQuantizer,
    VectorQuantizer,
)
from smalti.quantizers.fitting import OptimizedProduct, ProductKMeans, ResidualKMeans, Rows


class CountedRows(Rows):
    """Rows of clumps, made chunk by chunk, that count how many chunks are held at a time."""

    def __init__(self, n: int, dim: int) -> None:
        self.n, self.dim, self.most = n, dim, 0
        self.chunk_size = 500
        self.held: list[weakref.ref] = []

    def __len__(self) -> int:
        return self.n

    def made(self, numbers: np.ndarray) -> np.ndarray:
        shifted = np.sin(np.outer(numbers + 1, np.arange(1, self.dim + 1)) * 12.9898) * 43758.5453
        return (shifted - np.floor(shifted) + 4 * (numbers % 7)[:, None]).astype(np.float32)

    def chunks(self, size=None, first=0, step=1):
        for start in range(first * self.chunk_size, self.n, step * self.chunk_size):
            held = [other for other in self.held if other() is not None]
            array = self.made(np.arange(start, min(start + self.chunk_size, self.n)))
            self.held = [*held, weakref.ref(array)]
            self.most = max(self.most, len(self.held))
            tensor = torch.from_numpy(array)  # which holds the array
            del array
            yield tensor
            del tensor

    def at(self, indices):
        return torch.from_numpy(self.made(indices.numpy()))


@pytest.mark.parametrize("given", [{}, {"mixing": 0.0}, {"capacity": 1.5, "refine": 2}])
def test_one_chunk_is_held_at_a_time(given):
    rows = CountedRows(3000, 4)
    stages = [VectorQuantizer(EMACodebook(codebook_size=k, dim=4)) for k in (16, 64, 8)]
    quantizer = ResidualQuantizer(stages, beam=2)
    ResidualKMeans(**{"iterations": 3, "refine": 4, **given}).fit(quantizer, rows, seed=0)
    assert rows.most == 1


@pytest.mark.parametrize("rotated", [False, True])
def test_one_chunk_is_held_at_a_time_of_a_product(rotated):
    rows = CountedRows(3000, 4)
    parts = [VectorQuantizer(EMACodebook(codebook_size=16, dim=2)) for _ in range(2)]
    product = ProductQuantizer(parts)
    fitting = OptimizedProduct(2) if rotated else ProductKMeans(2)
    fitting.fit(RotatedQuantizer(product) if rotated else product, rows, seed=0)
    assert rows.most == 1

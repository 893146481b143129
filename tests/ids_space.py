"""Spaces of codes for tests: sums of codewords, and such as depend on the prefix."""

from __future__ import annotations

import numpy as np
import torch

from smalti.ids import CodeSpace

__all__ = ["clumped", "decoder", "residual_codes"]


def decoder(sizes, dim=4, seed=0, implicit=False):
    """Decodes the first codes of IDs to sums of random codewords, each level half as long."""
    generator = torch.Generator().manual_seed(seed)
    books = [
        torch.randn(size, dim, generator=generator) / 2**level for level, size in enumerate(sizes)
    ]

    def decode(codes):
        y = torch.zeros(len(codes), dim)
        for level in range(codes.shape[1]):
            step = books[level][codes[:, level]]
            y = y + (step * (1 + y.roll(1, -1)) if implicit and level else step)
        return y

    return decode


def residual_codes(x, sizes, decode):
    """Greedy codes of vectors: level by level the nearest."""
    codes = torch.zeros(len(x), 0, dtype=torch.int64)
    for size in sizes:
        options = torch.arange(size)
        tables = torch.stack(
            [decode(torch.cat([codes, option.expand(len(x), 1)], 1)) for option in options], 1
        )
        nearest = (tables - x[:, None]).square().sum(2).argmin(1)
        codes = torch.cat([codes, nearest[:, None]], 1)
    return codes.numpy()


def clumped(n, sizes, dim=4, seed=0, implicit=False):
    """Vectors of which many share codes: the vectors, the codes, their space."""
    generator = torch.Generator().manual_seed(seed + 1)
    centres = torch.randn(max(2, n // 8), dim, generator=generator)
    x = centres[torch.randint(len(centres), (n,), generator=generator)]
    x = x + 0.05 * torch.randn(n, dim, generator=generator)
    decode = decoder(sizes, dim, seed, implicit)
    codes = residual_codes(x, sizes, decode).astype(np.int64)
    return x, codes, CodeSpace(decode, lambda rows: x[rows])

"""Finds nearest codewords in up to 16 dimensions by compiled C++ code.

In few dimensions a matrix product is not what takes the time: that goes into scores which are
written, read once for their maximum, and forgotten. `native.cpp` keeps them in registers. It orders
the codewords into groups of 64 that lie close together, and passes over a group whose bounding box
is further away than the best codeword so far, so that in 8 dimensions most groups are never looked
at. Distances are taken directly, and in float64 wherever two come near each other: what is found is
what the search in `smalti.quantizers.search` finds, only sooner.

It is compiled at the first search that is worth it: `smalti.quantizers.compiled`. Where it cannot
be, all searches are those of torch.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.quantizers.compiled import as_int64, compiled_library, data_pointer
from smalti.quantizers.tiles import GROUP

__all__ = ["native_nearest"]

MOST_DIM = 16
STEP = 4  # dimensions are filled up to a multiple of this
WORTH = 2**24  # multiplications from which on it is used
LARGEST = 1e15  # numbers whose squares, and 1e18 beside them, have room in float32
SMALLEST = 1e-12  # codewords none of which is larger would all seem equal to float32
ROWS = 1024  # that a thread takes at a time
LANES = 16

Spread = Callable[[int, Callable[[Iterator[int]], None]], None]
Alone = Callable[[Callable[[], Any]], Any]


def native_nearest(z: Tensor, codebook: Tensor, alone: Alone, spread: Spread) -> Tensor | None:
    """Finds nearest codewords by compiled C++ code: indices (N,); None where that is not faster.

    It is None also without a compiler, and for devices, dtypes and values that the code does not
    take.

    Arguments:
        z: Vectors (N, D).
        codebook: Codewords (K, D).
        alone: Runs a function in one thread; see `search_threads.run_in_one_thread`.
        spread: Runs a function over numbers in threads; see `search_threads.run_in_threads`.
    """
    n, dim = z.shape
    if dim > MOST_DIM or n * codebook.numel() < WORTH or len(codebook) >= 2**31 - GROUP:
        return None
    if z.device.type != "cpu" or torch.float64 in (z.dtype, codebook.dtype):
        return None
    library = compiled_library()
    if library is None or not alone(lambda: _fit(z, codebook)):
        return None
    codewords = alone(lambda: _filled(codebook))
    groups = -(-len(codewords) // GROUP)
    order = torch.empty(groups, GROUP, dtype=torch.int32)
    turned = torch.empty(groups, codewords.shape[1], GROUP)
    low, high = torch.empty(2, groups, codewords.shape[1]).unbind()
    alone(partial(_prepare, library, codewords, order, turned, low, high))
    index = torch.empty(n, dtype=torch.int64)

    def work(numbers: Iterator[int]) -> None:
        away = torch.empty(groups, LANES)
        for number in numbers:
            rows = slice(number * ROWS, (number + 1) * ROWS)
            block, found = _filled(z[rows]), index[rows]
            library.smalti_nearest(
                *(data_pointer(block), as_int64(len(block)), as_int64(block.shape[1])),
                *(
                    data_pointer(order),
                    data_pointer(turned),
                    data_pointer(low),
                    data_pointer(high),
                    as_int64(groups),
                ),
                *(data_pointer(away), data_pointer(found)),
            )

    spread(-(-n // ROWS), work)
    return index


def _prepare(library: ctypes.CDLL, codewords: Tensor, *made: Tensor) -> None:
    sizes = (as_int64(length) for length in codewords.shape)
    library.smalti_prepare(
        data_pointer(codewords), *sizes, *(data_pointer(tensor) for tensor in made)
    )


def _filled(x: Tensor) -> Tensor:
    """Copies vectors (N, D) to float32 side by side, zeros up to a multiple of STEP."""
    return F.pad(x.float(), (0, -x.shape[1] % STEP)).contiguous()


def _fit(z: Tensor, codebook: Tensor) -> bool:
    """Returns whether distances in float32 keep their precision."""
    return SMALLEST < _largest(codebook) < LARGEST and _largest(z) < LARGEST


def _largest(x: Tensor) -> float:
    """Returns the largest magnitude; ∞ if a square would overflow or a number is not finite."""
    low, high = x.aminmax()
    largest = max(-float(low), float(high))
    return largest if largest < LARGEST and float(low) > -LARGEST else math.inf

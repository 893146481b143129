"""k-means in which no cluster takes more than so many times the average number of vectors.

    minimise Σ_i c_{i k(i)}     where at most m vectors go to each codeword,    c_ik = ‖x_i − e_k‖²

Its dual has a price λ_k ≥ 0 for each codeword, and each vector goes where c_ik + λ_k is smallest.
The prices are found on a sample, with a little entropy (`smalti.quantizers.prices`), and serve for
all vectors, in whatever order they come. That the capacity holds exactly is then a matter of those
few that come when their codeword is full: each asks for the codeword that costs it the least of
those with room, and where too many ask, those get it that would have to pay the most elsewhere.

References:
    Constrained K-Means Clustering, P. S. Bradley, K. P. Bennett and A. Demiriz, 2000, Microsoft
    Research MSR-TR-2000-65.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.quantizers.prices import sinkhorn_prices

__all__ = ["CapacityLimit", "check_capacity"]

COSTS = 2**22  # of a block: 16 MB of float32
PRICED = 2**24  # costs that prices are found on
FIRST = 40  # iterations for the first prices
FURTHER = 8  # those of the next centroids begin with them
SHARP = 0.02  # the last T, in mean squared distances to the nearest


def check_capacity(capacity: float | None) -> None:
    """Raises `InputError` unless a capacity is None or at least 1."""
    if capacity is not None and not 1 <= capacity < math.inf:
        raise InputError(
            f"capacity is at least 1, got {capacity}: 1.2 lets a codeword take a fifth more rows "
            f"than the average one."
        )


class CapacityLimit:
    """Assigns vectors to near codewords, none of which takes many more than the others.

    Arguments:
        capacity: c ≥ 1; each of K codewords takes at most ⌈c N / K⌉ vectors.
        count: N.
        sample: Vectors (S, D) that prices are found on, drawn from all.

    Example:
        >>> x, codewords = torch.tensor([[0.0], [0.1], [0.2], [0.3]]), torch.tensor([[0.0], [1.0]])
        >>> limit = CapacityLimit(1.0, 4, x)
        >>> limit.begin(codewords)
        >>> limit.assign(x)
        tensor([0, 0, 1, 1])
    """

    def __init__(self, capacity: float, count: int, sample: Tensor) -> None:
        self.capacity, self.count, self.sample = capacity, count, sample
        self.prices: Tensor | None = None

    def begin(self, codewords: Tensor) -> None:
        """Makes room in codewords (K, D), which all N vectors are then assigned to.

        Those of before are taken to be near.
        """
        size = len(codewords)
        self.codewords = codewords
        most = math.ceil(self.capacity * self.count / size - 1e-9)
        self.room = torch.full((size,), most, device=codewords.device)
        step = max(len(self.sample) * size // PRICED, 1)
        costs = _Costs(self.sample[::step], codewords)
        least = sum(float(block.amin(1).sum()) for block in costs) / len(costs.x)
        if self.prices is None:
            self.prices = codewords.new_zeros(size)
            falling = [SHARP ** (step / FIRST) for step in range(1, FIRST + 1)]
        else:
            falling = [SHARP] * FURTHER
        temperatures: Sequence[float] = [least * part for part in falling]
        if temperatures[-1] > 0:
            share = self.capacity * len(costs.x) / size
            self.prices = sinkhorn_prices(costs, temperatures, share, self.prices, least=0.0)

    def assign(self, x: Tensor) -> Tensor:
        """Returns the codewords of vectors (n, D): (n,), int64."""
        assert self.prices is not None
        found = [self._in_rounds(costs + self.prices) for costs in _Costs(x, self.codewords)]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device=x.device)

    def _in_rounds(self, costs: Tensor) -> Tensor:
        """Assigns vectors by costs (n, K) to codewords that have room."""
        n, size = costs.shape
        index = torch.zeros(n, dtype=torch.int64, device=costs.device)
        waiting = torch.arange(n, device=costs.device)
        while len(waiting):
            asked = costs[waiting].masked_fill(self.room == 0, torch.inf)
            values, wishes = asked.topk(min(2, size), dim=1, largest=False)
            regret, wish = values[:, -1] - values[:, 0], wishes[:, 0]
            # By codeword, and of those who ask for it first who would lose the most.
            order = torch.argsort(regret, descending=True, stable=True)
            order = order[torch.argsort(wish[order], stable=True)]
            wished = wish[order]
            first = torch.searchsorted(wished, torch.arange(size, device=costs.device))
            gets = (
                torch.arange(len(wished), device=costs.device) - first[wished] < self.room[wished]
            )
            if not bool(gets.any()):
                break  # what is left is not finite, as its error will say
            index[waiting[order[gets]]] = wished[gets]
            self.room -= torch.bincount(wished[gets], minlength=size)
            waiting = waiting[order[~gets]].sort().values
        return index


class _Costs:
    """Squared distances of vectors (N, D) and codewords (K, D), block by block (n, K)."""

    def __init__(self, x: Tensor, codewords: Tensor) -> None:
        self.x, self.codewords = x, codewords

    def __iter__(self) -> Iterator[Tensor]:
        for block in self.x.split(max(COSTS // len(self.codewords), 1)):
            yield torch.cdist(block, self.codewords).square()

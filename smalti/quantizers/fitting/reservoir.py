"""Weighted reservoir sampling of vectors that come in chunks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F

from smalti.quantizers.collectives import process_count

__all__ = ["Reservoir"]


class Reservoir:
    """Draws n distinct vectors in proportion to weights, in one pass (reservoir sampling).

    The first arrivals of Poisson processes whose rates are the weights are such draws.

    Arguments:
        count: n.
        like: A tensor (K, D) of the dtype, device and D of the vectors.
    """

    def __init__(self, count: int, like: Tensor) -> None:
        self.count = count
        self.keys, self.vectors = like.new_zeros(0), like.new_zeros(0, like.shape[1])

    def add(self, x: Tensor, weights: Tensor, generator: torch.Generator) -> None:
        """Takes in vectors x (n, D) with their weights (n,) ≥ 0."""
        noise = torch.empty(len(x)).exponential_(generator=generator).to(x.device)
        keys, best = (weights / noise.clamp(min=1e-30)).topk(min(self.count, len(x)))
        keys = torch.cat([self.keys, keys])
        self.keys, order = keys.topk(min(self.count, len(keys)))
        self.vectors = torch.cat([self.vectors, x[best]])[order]

    def gathered(self, together: bool = True) -> Tensor:
        """Returns what was drawn, fewer than n where weights are 0: (R, D).

        Arguments:
            together: Whether of all that the processes were given, or of this one's alone.
        """
        keys, vectors = self.keys, self.vectors
        if together and process_count() > 1:
            missing = self.count - len(keys)
            mine = F.pad(torch.cat([keys[:, None], vectors], 1), (0, 0, 0, missing)).contiguous()
            theirs = [torch.empty_like(mine) for _ in range(process_count())]
            dist.all_gather(theirs, mine)
            whole = torch.cat(theirs)
            keys, best = whole[:, 0].topk(self.count)
            vectors = whole[best, 1:]
        return vectors[keys > 0]

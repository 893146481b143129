"""The nats of tokens under a prior: the mean of −log p, or of a bound on it."""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.evaluation.batches import split_in_pieces
from smalti.priors import BoundedPrior, TractablePrior

__all__ = ["DRAWS", "mean_nats"]

DRAWS = 4  # of the masks of each grid, by which a bound is estimated


@torch.no_grad()
def mean_nats(
    prior: TractablePrior | BoundedPrior,
    indices: Tensor,
    context: Tensor | None = None,
    batch_size: int = 256,
) -> float:
    """Computes the mean of −ln p(grid) over grids of tokens, or of a bound on it.

    Arguments:
        prior: The prior; the context is ignored if it is unconditional.
        indices: (N, *grid).
        context: (N,), the condition of each signal.
        batch_size: Grids at a time.
    """
    context = context if prior.condition is not None else None
    total = 0.0
    for piece, condition in split_in_pieces(indices, context, size=batch_size):
        assert piece is not None
        if isinstance(prior, BoundedPrior):
            total += prior.bound(piece, condition, draws=DRAWS).double().sum().item()
        else:
            total -= prior.log_prob(piece, condition).double().sum().item()
    return total / len(indices)

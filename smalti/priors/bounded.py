"""Priors whose likelihood is not known, but a bound on it."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from smalti.arguments import as_generator, as_whole_number
from smalti.priors.token_prior import TokenPrior

__all__ = ["BoundedPrior"]


class BoundedPrior(TokenPrior):
    """Abstract: a prior that knows at most how large −log p is; its loss is that bound."""

    def bound(
        self,
        indices: Tensor,
        context: Tensor | None = None,
        *,
        draws: int = 8,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Estimates an upper bound of −log p(indices | context) of each grid in nats, (B,).

        The estimate is unbiased: means over many grids, or many draws, tend to the bound.

        Arguments:
            indices: (B, *grid), integers in [0, K).
            context: (B, *shape) values of the condition, or None for an unconditional prior.
            draws: Passes over each grid, at least 1.
            generator: Source of randomness, on any device; torch's global one if there is none.

        Raises:
            InputError: If the indices or the context do not fit the prior, or draws is below 1.
        """
        draws, generator = as_whole_number(draws, "draws", 1), as_generator(generator)
        indices = self._check_indices(indices)
        context = self._check_context(context, len(indices))
        return self._bound(indices, context, draws, generator)

    @abstractmethod
    def _bound(
        self,
        indices: Tensor,
        context: Tensor | None,
        draws: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Estimates the bound (B,) with checked arguments."""

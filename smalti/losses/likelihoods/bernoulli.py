"""The Bernoulli likelihood of binary signals: each value is −1 or 1.

    t = (x + 1) / 2 ∈ {0, 1}        p(t = 1) = σ(h)        nll = −Σ t log σ(h) + (1 − t) log σ(−h)

For a value t between 0 and 1 the same formula is the expected nll of the signal that is made
binary at random, black or white with the probability t. Its bits are those of one binary value a
dimension, and must not be set beside those of 8-bit values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.artifacts import registered
from smalti.losses.likelihoods.likelihood import Likelihood, LikelihoodOutput, uniform_noise

__all__ = ["Bernoulli"]


@registered
class Bernoulli(Likelihood):
    """The Bernoulli likelihood of binary values −1 and 1; h is the logit of 1.

    Example:
        >>> white = torch.ones(1, 1, 2, 2)
        >>> Bernoulli()(torch.zeros_like(white), white).nll  # 4 log 2
        tensor([2.7726])
    """

    num_values = 2

    def channels(self, c: int) -> int:
        """Returns c, one logit per value."""
        return c

    def forward(self, h: Tensor, x: Tensor) -> LikelihoodOutput:
        """See `Likelihood.forward`; grey values are scored as random black and white."""
        self._check(h, x)
        h, t = h.float(), ((x.float() + 1) / 2).clamp(0, 1)
        nll = F.softplus(h) - t * h
        return LikelihoodOutput(nll.flatten(1).sum(1), self.point_estimate(h))

    def point_estimate(self, h: Tensor) -> Tensor:
        """See `Likelihood.point_estimate`: 2σ(h) − 1."""
        return torch.tanh(h.float() / 2)

    @torch.no_grad()
    def sample(self, h: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Likelihood.sample`: values −1 and 1."""
        return torch.where(uniform_noise(h, generator) < h.float().sigmoid(), 1.0, -1.0)

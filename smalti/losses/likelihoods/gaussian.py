"""The Gaussian likelihood: a normal density around each value.

    x_d ~ N(h_d, σ²)        nll = Σ_d (x_d − h_d)² / 2σ² + log σ + ½ log 2π

With a fixed σ this is the squared error up to constants, and σ² sets its weight against whatever
else is in the objective. With a learned σ, one number for all dimensions, the optimum is σ² = mean
squared error, and no weight is left to be chosen.

References:
    Simple and Effective VAE Training with Calibrated Decoders, O. Rybkin, K. Daniilidis and S.
    Levine, 2021, arXiv 2006.13202.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.losses.likelihoods.likelihood import Likelihood, LikelihoodOutput

__all__ = ["Gaussian"]


@registered
class Gaussian(Likelihood):
    """The Gaussian likelihood N(h, σ²) in each dimension, a density; h is the mean.

    Arguments:
        scale: σ; its initial value if it is learned.
        learned: Whether σ is a parameter.

    Raises:
        InputError: If `scale` is not above 0.

    Example:
        >>> likelihood = Gaussian()
        >>> likelihood(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)).nll  # 12 · ½ log 2π
        tensor([11.0273])
    """

    gaps = True

    def __init__(self, scale: float = 1.0, *, learned: bool = False) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise InputError(
                f"scale must be above 0 and finite, got {scale}: 1 is half the range of values."
            )
        log_scale = torch.tensor(math.log(scale))
        if learned:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale, persistent=False)

    def channels(self, c: int) -> int:
        """Returns c, one mean per value."""
        return c

    def forward(self, h: Tensor, x: Tensor, observed: Tensor | None = None) -> LikelihoodOutput:
        """See `Likelihood.forward`.

        Arguments:
            h: (B, C, *size).
            x: (B, C, *size).
            observed: (B, C, *size), bool: the values that are there; all if None. Others, whatever
                they hold, add no nats.
        """
        self._check(h, x)
        h, log_scale = h.float(), self.log_scale.float()
        x = x.float() if observed is None else torch.where(observed, x.float(), 0.0)
        z = (x - h) * torch.exp(-log_scale)
        nll = z.square() / 2 + log_scale + math.log(2 * math.pi) / 2
        if observed is not None:
            nll = torch.where(observed, nll, 0.0)
        return LikelihoodOutput(nll.flatten(1).sum(1), h)

    def point_estimate(self, h: Tensor) -> Tensor:
        """See `Likelihood.point_estimate`."""
        return h.float()

    @torch.no_grad()
    def sample(self, h: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """See `Likelihood.sample`; the values are not clipped."""
        where = h.device if generator is None else generator.device
        noise = torch.randn(h.shape, generator=generator, device=where).to(h.device)
        return h.float() + self.log_scale.float().exp() * noise

"""The Gaussian prior over latent vectors.

    p(z) = N(mean, covariance)

It is what new latents of a continuous autoencoder are drawn from: N(0, I) of a VAE, which was
trained towards it, and that of the latents of training data of a plain autoencoder. A draw is

    z = mean + temperature · V √Λ ε,        covariance = V Λ Vᵀ,   ε ~ N(0, I)
"""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor

from smalti.arguments import as_floats, as_whole_number, check_result
from smalti.artifacts import registered
from smalti.errors import InputError
from smalti.nn.precision import KeepsFloat32
from smalti.priors.base import Prior
from smalti.priors.sampling import SamplingConfig

__all__ = ["GaussianPrior"]


@registered
class GaussianPrior(KeepsFloat32, Prior):
    """The prior N(mean, covariance) over latent vectors (B, D); at first N(0, I).

    Arguments:
        dim: D.

    Attributes:
        mean: (D,).
        covariance: (D, D).

    Example:
        >>> GaussianPrior(3).sample(2, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3])
        >>> GaussianPrior(2).log_prob(torch.zeros(1, 2)).exp() * 2 * math.pi
        tensor([1.0000])
    """

    in_float32 = ("mean", "covariance")
    mean: Tensor
    covariance: Tensor
    takes = frozenset({"temperature"})

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = as_whole_number(dim, "The dim of a Gaussian", 1)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("covariance", torch.eye(dim))

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor) -> Self:
        """Returns the Gaussian of a mean (D,) and a covariance (D, D)."""
        made = cls(len(mean)).to(mean.device)
        made.mean.copy_(mean)
        made.covariance.copy_(covariance)
        return made.eval()

    @property
    def deviation(self) -> Tensor:
        """Returns (D,), the standard deviation of each dimension."""
        return self.covariance.diagonal().sqrt()

    def loss(
        self, latents: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Computes −log p(z) in nats per dimension, a scalar: the mean over latents (B, D).

        See `Prior.loss`. All dimensions of a latent count.
        """
        if mask is not None:
            raise InputError(
                "A GaussianPrior counts all dimensions of a latent, got a mask: leave it out."
            )
        return -self.log_prob(latents, context).sum() / max(latents.numel(), 1)

    def log_prob(self, latents: Tensor, context: Tensor | None = None) -> Tensor:
        """Computes log p(z) of latents (B, D) in nats, (B,).

        Raises:
            InputError: If they have another shape, a context is given, or the covariance has no
                inverse.
        """
        self._check_context(context, len(latents))
        z = as_floats(latents, "Latents").to(self.mean)
        if z.ndim != 2 or z.shape[1] != self.dim:
            raise InputError(
                f"Latents have the shape (B, {self.dim}), got {tuple(z.shape)}: give one vector "
                f"per signal."
            )
        factor, info = torch.linalg.cholesky_ex(self.covariance)
        if int(info):
            raise InputError(
                "The latents of training data lie in fewer dimensions than they have, so that "
                "they have no density: train the autoencoder with fewer dimensions."
            )
        standard = torch.linalg.solve_triangular(factor, (z - self.mean).T, upper=False)
        volume = factor.diagonal().log().sum() + self.dim / 2 * math.log(2 * math.pi)
        return -standard.square().sum(0) / 2 - volume

    def _sample(
        self,
        n: int,
        context: Tensor | None,
        known: Tensor | None,
        config: SamplingConfig,
        generator: torch.Generator | None,
    ) -> Tensor:
        where = "cpu" if generator is None else generator.device
        noise = torch.randn(n, self.dim, generator=generator, device=where).to(self.mean)
        covariance = check_result(self.covariance, "The spread of the latents")
        if not torch.equal(covariance, torch.eye(self.dim).to(covariance)):
            values, vectors = torch.linalg.eigh(covariance)
            noise = noise * values.clamp_min(0).sqrt() @ vectors.T
        z = self.mean + noise
        return self.mean + config.temperature * (z - self.mean)

    def _check_known(self, known: Any, n: int) -> Tensor:
        raise InputError(
            "A GaussianPrior draws whole latents, got known ones: keep tokens with a tokenizer."
        )

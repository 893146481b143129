"""The variational autoencoder (VAE), with its bounds on the log-likelihood.

The model draws a latent vector z and then a signal, p(x) = ∫ p(z) p(x | z) dz with p(z) = N(0, I).
Its likelihood p(x | z) is what the decoder's output h says about x. The encoder gives a posterior,

    q(z | x) = N(mean, diag(exp(log_variance)))

with which the likelihood of x is bounded from below (evidence lower bound):

    log p(x) ≥ ELBO(x) = E_q log p(x | z) − KL(q(z | x) ‖ p(z))
    KL = Σ_d ½ (mean_d² + exp(log_variance_d) − 1 − log_variance_d)

The gap is KL(q(z | x) ‖ p(z | x)): none where q is the true posterior. The expectation is estimated
with one draw, written as a function of noise that does not depend on the encoder, so that gradients
pass through it (reparameterisation):

    z = mean + exp(½ log_variance) · ε,   ε ~ N(0, I)

Many draws give a tighter bound, which rises to log p(x) with their number K (importance weighting):

    log p(x) ≥ E log 1/K Σ_k p(x, z_k) / q(z_k | x)

References:
    Auto-Encoding Variational Bayes, D. P. Kingma and M. Welling, 2013, arXiv 1312.6114.
    Importance Weighted Autoencoders, Y. Burda, R. Grosse and R. Salakhutdinov, 2015, arXiv
    1509.00519.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from smalti.arguments import check_result
from smalti.artifacts import registered
from smalti.autoencoders.base import Reconstruction
from smalti.autoencoders.continuous import ContinuousAutoencoder
from smalti.counting import counted
from smalti.errors import InputError
from smalti.losses.likelihoods import Likelihood
from smalti.networks import Normalization
from smalti.signals import Signal

__all__ = ["Posterior", "VariationalAutoencoder", "kl_to_normal"]


class Posterior(NamedTuple):
    """The Gaussian posterior of a VAE: q(z | x) = N(mean, diag(exp(log_variance))).

    Attributes:
        mean: (B, D).
        log_variance: (B, D).
    """

    mean: Tensor
    log_variance: Tensor


def kl_to_normal(posterior: Posterior) -> Tensor:
    """Computes KL(q(z_d | x) ‖ N(0, 1)) in nats, (B, D); the sum over d is that of q(z | x).

    Example:
        >>> kl_to_normal(Posterior(torch.ones(1, 1), torch.zeros(1, 1)))
        tensor([[0.5000]])
    """
    mean, log_variance = posterior
    # expm1: exp(v) − 1 − v would lose all digits near the prior, where v is small.
    return (mean.square() + torch.expm1(log_variance) - log_variance) / 2


@registered
class VariationalAutoencoder(ContinuousAutoencoder):
    """A VAE with a Gaussian posterior and the prior N(0, I).

    Beta, its warm-up and free bits belong to the objective: `smalti.training.ContinuousObjective`.

    Arguments:
        encoder: (B, C, *size) → (B, 2 D), mean and log-variance, with the attribute `downsampling`.
        decoder: (B, D) → (B, likelihood.channels(C), *size), with the attribute `dim` (D).
        likelihood: p(x | z) given the decoder's output.
        signal: The signal that it is trained on.
        normalization: Maps signals to what the networks see; no normalization if None.

    Raises:
        InputError: If the signal has no size.

    Example:
        >>> from smalti.networks import ConvEncoder, VectorDecoder, VectorEncoder
        >>> from smalti.losses.likelihoods import Gaussian
        >>> from smalti.modalities.image import Image
        >>> signal, grid, dim = Image(channels=1, size=(28, 28)), (7, 7), 16
        >>> inner = ConvEncoder(signal, 4, hidden=8)
        >>> model = VariationalAutoencoder(
        ...     VectorEncoder(inner, grid, 2 * dim),
        ...     VectorDecoder(inner.mirror(signal, 4), grid, dim),
        ...     Gaussian(),
        ...     signal,
        ... ).eval()
        >>> x = torch.zeros(2, 1, 28, 28)
        >>> model.encode(x).shape, model.elbo(x).shape
        (torch.Size([2, 16]), torch.Size([2]))
    """

    likelihood: Likelihood

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        signal: Signal,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__(encoder, decoder, signal)
        self.likelihood = likelihood
        self._take_normalization(normalization)

    @property
    def dims(self) -> int:
        """Returns C · H · W, the number of values of one signal."""
        return self.signal.channels * math.prod(self.signal.size)

    def posterior(self, x: Tensor) -> Posterior:
        """Returns q(z | x) of signals x (B, C, *size).

        Raises:
            InputError: If the encoder gives another number of values than 2 D.
        """
        return self._posterior(self.normalize(x))

    def _posterior(self, y: Tensor) -> Posterior:
        """Returns q(z | y) of signals as `normalize` gives them; see `posterior`."""
        encoded = self._encoded(y)
        if encoded.shape[1] != 2 * self.dim:
            raise InputError(
                f"The posterior of {counted(self.dim, 'latent dimension')} takes {2 * self.dim} "
                "numbers, got "
                f"an encoder that gives {encoded.shape[1]}: give it two for each dimension."
            )
        return Posterior(*encoded.chunk(2, dim=1))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Reconstruction:
        """Reconstructs x (B, C, *size) from one draw of its posterior; see `Autoencoder.forward`.

        Returns:
            `losses` are "reconstruction" = −log p(x | z) and "kl", the two terms of the negative
            ELBO, in nats per dimension of the signal.
        """
        self._refuse(mask)
        posterior = self._posterior(x)
        z = _draw(posterior)
        nll, x_hat = self._likelihood_of(self._decoded(z), x)
        kl = kl_to_normal(posterior).mean(0)
        losses = {"reconstruction": nll.mean() / self.dims, "kl": kl.sum() / self.dims}
        return Reconstruction(x_hat, z, losses, kl, self._last_weight(self.decoder))

    @torch.no_grad()
    def encode(self, x: Any, any_size: bool = False) -> Tensor:
        """See `Autoencoder.encode`; the latents are the means of the posteriors, (B, D)."""
        return check_result(self.posterior(self.as_batch(x, any_size)).mean, "The encoder")

    @torch.no_grad()
    def describe(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `ContinuousAutoencoder.describe`."""
        posterior = self.posterior(x)
        return posterior.mean, kl_to_normal(posterior)

    @property
    def latent_distribution(self) -> tuple[Tensor, Tensor]:
        """Returns 0 and the identity: the prior is N(0, I)."""
        return torch.zeros_like(self.latent_mean), torch.eye(self.dim).to(self.latent_mean)

    @property
    def order(self) -> Tensor:
        """Returns the latent dimensions, the one with the largest KL first."""
        return self.latent_kl.argsort(descending=True)

    def elbo(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Computes the lower bound of log p(x), (B,) nats, with one draw for the expectation.

        Arguments:
            x: (B, C, *size).
            generator: On the CPU; torch's global one if there is none.
        """
        posterior = self.posterior(x)
        nll = self._nats(self._decoded(_draw(posterior, generator)), x)
        return -nll - kl_to_normal(posterior).sum(1)

    @torch.no_grad()
    def log_likelihood(
        self, x: Tensor, samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Computes the importance-weighted lower bound of log p(x), (B,) nats.

        Arguments:
            x: (B, C, *size).
            samples: K. The bound is tighter with more, and exact in the limit.
            generator: On the CPU; torch's global one if there is none.

        Raises:
            InputError: If there is no sample.
        """
        if samples < 1:
            raise InputError(f"A bound takes at least one sample, got {samples}: take 100.")
        posterior = self.posterior(x)
        log_weights = []
        for _ in range(samples):
            z = _draw(posterior, generator)
            nll = self._nats(self._decoded(z), x)
            log_weights.append(_log_ratio(z, posterior) - nll)
        return torch.stack(log_weights).logsumexp(0) - math.log(samples)


def _draw(posterior: Posterior, generator: torch.Generator | None = None) -> Tensor:
    """Draws z = mean + exp(½ log_variance) · ε, (B, D)."""
    mean, log_variance = posterior
    if generator is None:
        noise = torch.randn_like(mean)
    else:
        noise = torch.randn(mean.shape, generator=generator).to(mean)
    return mean + torch.exp(log_variance / 2) * noise


def _log_ratio(z: Tensor, posterior: Posterior) -> Tensor:
    """Computes log p(z) − log q(z | x), (B,)."""
    mean, log_variance = posterior
    standardised = (z - mean) * torch.exp(-log_variance / 2)
    return (standardised.square() + log_variance - z.square()).sum(1) / 2

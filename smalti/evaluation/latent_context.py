"""What is measured of latent vectors: bounds of the likelihood, and what each dimension holds.

    ELBO          E_q log p(x | z) − KL(q(z | x) ‖ N(0, I))           one draw an image
    importance    log 1/K Σ_k p(x, z_k) / q(z_k | x)                  K draws per image
    active units  dimensions whose posterior mean moves with the data
    information   I(x; z), how much a draw of z says about which image it was

All are means over test images, in nats. Bits per dimension of 8-bit images follow from both bounds;
they may be compared with those of tokens (`rate`, with the likelihood of a tokenizer), for they are
bounds of the same. The terms of the ELBO are told apart: −log p(x | z) is what the decoder leaves
unsaid, the KL what is said by the latents. A dimension whose KL is 0 says nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from smalti.autoencoders import ContinuousAutoencoder, VariationalAutoencoder
from smalti.autoencoders.variational import Posterior, kl_to_normal
from smalti.data import Splits
from smalti.errors import InputError
from smalti.evaluation.bits import bits_figure
from smalti.evaluation.evaluation_context import EvaluationContext, Limits
from smalti.evaluation.representation import active_units, gaussian_information
from smalti.evaluation.samples import device_of
from smalti.modalities.image.metrics import ReconstructionQuality
from smalti.priors import GaussianPrior
from smalti.reporting.figures import Figure, figure, number

__all__ = ["EncodedLatents", "LatentEvaluationContext", "bound_figures", "latent_figures"]

logger = logging.getLogger(__name__)

INFORMED = 2000  # images whose posteriors are compared with each other
INACTIVE = 0.01  # variance of a posterior mean up to which a dimension counts as unused


class EncodedLatents(NamedTuple):
    """The test set after its way through the autoencoder.

    Attributes:
        quality: Of its reconstructions.
        mean: (N, D), the latents, on the CPU; of a VAE the means of the posteriors.
        log_variance: (N, D), of a VAE.
        nll: (N,), −log p(x | z) for one draw of z, of a VAE.
        conditions: (N,), on the CPU, or `None`.
    """

    quality: ReconstructionQuality
    mean: Tensor
    log_variance: Tensor | None
    nll: Tensor | None
    conditions: Tensor | None


class LatentEvaluationContext(EvaluationContext):
    """The subject of a continuous autoencoder.

    Arguments:
        autoencoder: Expected in evaluation mode.
        splits: The data.
        limits: How much is measured.
        seed: Of every draw.
    """

    def __init__(
        self, autoencoder: ContinuousAutoencoder, splits: Splits, limits: Limits, seed: int
    ) -> None:
        super().__init__(splits, limits, seed, device_of(autoencoder))
        self.autoencoder = autoencoder

    @property
    def conditional(self) -> list[str]:
        """See `EvaluationContext.conditional`: none, for these models know no conditions."""
        return []

    def reconstructed(self, chosen: Tensor) -> Iterator[Tensor]:
        """See `EvaluationContext.reconstructed`: from the latents that `encode` gives."""
        return self.decoded(self.encoded.mean[chosen])

    def sampled_sets(self) -> dict[str, Callable[[], Iterator[Tensor]]]:
        """See `EvaluationContext.sampled_sets`: draws from the model's own prior."""
        return {"prior": lambda: self.decoded(self.drawn[: self.compared])}

    def decoded(self, z: Tensor) -> Iterator[Tensor]:
        """Images of latents (N, D), in batches."""
        for part in z.split(self.limits.batch_size):
            yield self.autoencoder.decode(part.to(self.device))

    @property
    def drawn(self) -> Tensor:
        """Latents of samples, (n, D): to show, or to compare."""

        def draw() -> Tensor:
            generator = torch.Generator().manual_seed(self.seed)
            prior = GaussianPrior.of(*self.autoencoder.latent_distribution)
            return prior.sample(self.drawn_of_each, generator=generator).cpu()

        return self.kept("drawn", draw)

    @property
    def encoded(self) -> EncodedLatents:
        """The test set, encoded and reconstructed in one pass."""
        return self.kept("encoded", self._encoded)

    def _encoded(self) -> EncodedLatents:
        self.check_test()
        logger.info("reconstructing %d test images", len(self.test))
        generator = torch.Generator().manual_seed(self.seed)
        quality = ReconstructionQuality()
        mean, log_variance, nll, conditions = [], [], [], []
        for x, condition in self.images(self.splits.test, self.test):
            mean.append(self.autoencoder.encode(x))
            quality.update(x, self.autoencoder.decode(mean[-1]))
            conditions += [] if condition is None else [condition.cpu()]
            if isinstance(self.autoencoder, VariationalAutoencoder):
                posterior = self.autoencoder.posterior(x)
                log_variance.append(posterior.log_variance)
                elbo = self.autoencoder.elbo(x, generator)
                nll.append(-elbo - kl_to_normal(posterior).sum(1))
        return EncodedLatents(
            quality,
            torch.cat(mean).cpu(),
            torch.cat(log_variance).cpu() if log_variance else None,
            torch.cat(nll).cpu() if nll else None,
            torch.cat(conditions) if conditions else None,
        )

    @property
    def kl(self) -> Tensor | None:
        """Nats of each latent dimension, (D,), the mean over the test set; of a VAE."""
        mean, log_variance = self.encoded.mean, self.encoded.log_variance
        if log_variance is None:
            return None
        return kl_to_normal(Posterior(mean, log_variance)).mean(0)


def bound_figures(
    subject: LatentEvaluationContext, model: VariationalAutoencoder
) -> dict[str, Figure]:
    """Both bounds of the likelihood in nats and bits per dimension, and the terms of the ELBO."""
    encoded, kl = subject.encoded, subject.kl
    assert encoded.nll is not None
    assert kl is not None
    nll, held = encoded.nll.double().mean().item(), kl.double().sum().item()
    one = f"{subject.test_set}, one draw an image; mean over images of"
    chosen = subject.order[: subject.limits.bounded]
    draws = subject.limits.importance
    logger.info("weighing %d draws for each of %d test images", draws, len(chosen))
    generator = torch.Generator().manual_seed(subject.seed)
    weighted = -torch.cat(
        [
            model.log_likelihood(subject.test_images(part), draws, generator).cpu()
            for part in chosen.split(subject.limits.batch_size)
        ]
    )
    many = (
        f"N = {number(len(chosen))} of the test set, drawn at random, {draws} draws per image; "
        f"mean over images of the importance-weighted bound of −log p(x)"
    )
    tightest = weighted.double().mean().item()

    def bits(nats: float, protocol: str) -> Figure:
        return bits_figure(nats, model.likelihood, model.dims, protocol)

    of = "" if model.likelihood.discrete else " (of a density, which has no zero)"
    return {
        "negative_elbo": figure(nll + held, "nats", f"{one} −ELBO = −log p(x | z) + KL{of}"),
        "reconstruction": figure(nll, "nats", f"{one} −log p(x | z){of}"),
        "kl": figure(held, "nats", f"{subject.test_set}; mean over images of KL(q(z | x) ‖ p(z))"),
        "importance": figure(tightest, "nats", f"{many}{of}"),
        "negative_elbo_bits": bits(nll + held, f"{one} −ELBO"),
        "importance_bits": bits(tightest, many),
    }


def latent_figures(subject: LatentEvaluationContext) -> dict[str, Figure]:
    """How many dimensions are used, and how much they say."""
    mean, log_variance = subject.encoded.mean, subject.encoded.log_variance
    if len(mean) < 2:
        raise InputError("what latents say of images shows on two test images at least.")
    figures = {
        "active_units": figure(
            active_units(mean, INACTIVE),
            "dimensions",
            f"{subject.test_set}; of {mean.shape[1]} latent dimensions those whose value has a "
            f"variance above {INACTIVE} over the set",
        )
    }
    if log_variance is None:
        return figures
    chosen = subject.order[:INFORMED]
    generator = torch.Generator().manual_seed(subject.seed)
    figures["information"] = figure(
        gaussian_information(mean[chosen], log_variance[chosen], generator=generator),
        "nats",
        f"N = {number(len(chosen))} of the test set, drawn at random; I(x; z) of images and one "
        f"draw each, which cannot be more than log N",
    )
    return figures

"""Training a continuous autoencoder.

    loss = reconstruction + beta(step) · Σ_d max(kl_d, λ) / dims

For a VAE the reconstruction is −log p(x | z) and kl_d are the nats that latent dimension d holds,
both per dimension of the signal (of which there are `dims`); with beta = 1 and λ = 0 the loss is
then the negative ELBO. Other weights make the beta-VAE: above 1, latents are pressed to be
independent and to hold little; beta may also rise linearly from 0 (warm-up), so that latents are of
use to the decoder before they are paid for. Free bits leave the first λ nats of each latent
dimension unpaid and without gradient, on the mean over the batch. Without beta nothing but the
weight of one term changes: beta-VAE is an objective and not a model.

A plain autoencoder has no KL: its loss is −log p(x | z), or without a likelihood that between x_hat
and x.

References:
    beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, I. Higgins et
    al., 2017.
    Generating Sentences from a Continuous Space, S. R. Bowman et al., 2015, arXiv 1511.06349, on
    the warm-up.
    Improved Variational Inference with Inverse Autoregressive Flow, D. P. Kingma et al., 2016,
    arXiv 1606.04934, appendix C.8, on free bits.
"""

from __future__ import annotations

import math

from torch import Tensor

from smalti.autoencoders import ContinuousAutoencoder, Reconstruction
from smalti.data import Batch
from smalti.errors import InputError
from smalti.losses import MSE, ReconstructionLoss
from smalti.training.signal_stage import SignalStage

__all__ = ["ContinuousObjective", "ContinuousStage"]


class ContinuousObjective:
    """The weights of the loss terms, as a function of the optimizer step.

    Arguments:
        beta: Weight of the KL: 1 for the VAE.
        beta_warmup: Optimizer steps over which beta rises linearly from 0.
        free_bits: λ in bits, λ = free_bits · log 2 nats: of each latent dimension, not paid for.
        reconstruction: Between x_hat and x, where the model has no likelihood.

    Raises:
        InputError: If a weight is negative.
    """

    def __init__(
        self,
        beta: float = 1.0,
        beta_warmup: int = 0,
        free_bits: float = 0.0,
        reconstruction: ReconstructionLoss | None = None,
    ) -> None:
        if min(beta, beta_warmup, free_bits) < 0:
            raise InputError(
                f"beta, beta_warmup and free_bits are at least 0, got {beta}, {beta_warmup} and "
                f"{free_bits}."
            )
        self.last_beta, self.beta_warmup = beta, beta_warmup
        self.floor = free_bits * math.log(2)
        self.reconstruction = reconstruction or MSE()

    def beta(self, step: int) -> float:
        """The weight of the KL at optimizer step `step`."""
        if step >= self.beta_warmup:
            return self.last_beta
        return self.last_beta * step / self.beta_warmup

    def __call__(self, x: Tensor, found: Reconstruction, step: int) -> dict[str, Tensor]:
        """The terms by name, and their weighted sum as "loss"; "kl" is without free bits."""
        if found.kl is None:
            reconstruction = found.losses.get("reconstruction")
            if reconstruction is None:
                reconstruction = self.reconstruction(found.x_hat, x)
            return {"loss": reconstruction, "reconstruction": reconstruction}
        paid = found.kl.clamp_min(self.floor).sum() / x[0].numel()
        return {"loss": found.losses["reconstruction"] + self.beta(step) * paid, **found.losses}


class ContinuousStage(SignalStage[ContinuousAutoencoder, ContinuousObjective]):
    """Trains a `ContinuousAutoencoder`; for the arguments see `SignalStage`."""

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """See `Stage.objective`."""
        x = self.signals(batch)
        return self.terms(x, self.model(x), self.step_or(self.terms.beta_warmup))

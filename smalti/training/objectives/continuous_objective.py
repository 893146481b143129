"""The objective of continuous autoencoders: reconstruction and weighted KL.

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

from smalti.autoencoders import Reconstruction
from smalti.errors import InputError
from smalti.losses import MSE, ReconstructionLoss
from smalti.training.objectives.objective import Objective

__all__ = ["ContinuousObjective"]


class ContinuousObjective(Objective):
    """The loss of a continuous autoencoder: reconstruction plus beta times KL, with free bits.

    Arguments:
        beta: Weight of the KL: 1 for the VAE.
        beta_warmup: Optimizer steps over which beta rises linearly from 0.
        free_bits: Bits of KL per latent dimension that cost nothing: λ = free_bits · log 2 nats.
        reconstruction: The loss between x_hat and x, where the model has no likelihood.

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
        super().__init__()
        if min(beta, beta_warmup, free_bits) < 0:
            raise InputError(
                f"beta, beta_warmup and free_bits are at least 0, got {beta}, {beta_warmup} and "
                f"{free_bits}."
            )
        self.last_beta, self.beta_warmup = beta, beta_warmup
        self.floor = free_bits * math.log(2)
        self.reconstruction = reconstruction or MSE()

    def beta(self, step: int) -> float:
        """Returns the weight of the KL at optimizer step `step`."""
        if step >= self.beta_warmup:
            return self.last_beta
        return self.last_beta * step / self.beta_warmup

    @property
    def warmup(self) -> int:
        """Returns the steps over which beta rises."""
        return self.beta_warmup

    def forward(self, x: Tensor, output: Reconstruction, step: int) -> dict[str, Tensor]:
        """See `Objective.forward`; "kl" is without free bits."""
        if output.kl is None:
            reconstruction = output.losses.get("reconstruction")
            if reconstruction is None:
                reconstruction = self.reconstruction(output.x_hat, x)
            return {"loss": reconstruction, "reconstruction": reconstruction}
        paid = output.kl.clamp_min(self.floor).sum() / x[0].numel()
        return {"loss": output.losses["reconstruction"] + self.beta(step) * paid, **output.losses}

    def adversary(self, x: Tensor, output: Reconstruction, step: int) -> None:
        """See `Objective.adversary`: there is none."""

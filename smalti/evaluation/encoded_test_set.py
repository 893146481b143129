"""Encodes and reconstructs the test set in one pass, for all measurements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from smalti.autoencoders import Autoencoder, Tokenizer, VariationalAutoencoder
from smalti.autoencoders.variational import kl_to_normal
from smalti.data import Batch
from smalti.modalities.base import Metric

__all__ = ["EncodedTestSet", "encode_test_set"]


class EncodedTestSet(NamedTuple):
    """The latents of the test set, with the likelihoods and metrics of its reconstructions.

    Attributes:
        metrics: The metrics, updated with all reconstructions.
        latents: Tokens (N, *shape), or latent vectors (N, D), of a VAE the means of the posteriors;
            on the CPU.
        log_variance: The log variances (N, D) of a VAE's posteriors; `None` for other models.
        nll: −log p(x | latents) in nats, (N,), where the model has a likelihood; of a VAE for one
            draw of the latents.
        conditions: The condition of each example (N,), on the CPU; `None` where there is none.
    """

    metrics: Sequence[Metric]
    latents: Tensor
    log_variance: Tensor | None
    nll: Tensor | None
    conditions: Tensor | None


def encode_test_set(
    autoencoder: Autoencoder,
    batches: Iterable[Batch],
    metrics: Sequence[Metric],
    generator: torch.Generator,
) -> EncodedTestSet:
    """Encodes and reconstructs examples, and updates metrics with the reconstructions.

    Arguments:
        autoencoder: The model, in evaluation mode.
        batches: At least one batch, on the model's device.
        metrics: New metrics, which are updated.
        generator: Source of the draws of a VAE's latents.
    """
    parts: dict[str, list[Tensor]] = {}
    for x, condition in batches:
        latents = autoencoder.encode_flat(x)
        x_hat = autoencoder.decode_flat(latents)
        for metric in metrics:
            metric.update(x, x_hat)
        made = {
            "latents": latents,
            "conditions": condition,
            **_bounds(autoencoder, x, latents, generator),
        }
        for name, part in made.items():
            if part is not None:
                parts.setdefault(name, []).append(part.cpu())
    whole = {name: torch.cat(tensors) for name, tensors in parts.items()}
    return EncodedTestSet(
        metrics,
        whole["latents"],
        whole.get("log_variance"),
        whole.get("nll"),
        whole.get("conditions"),
    )


def _bounds(
    autoencoder: Autoencoder, x: Tensor, latents: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Returns the nats of signals given their latents, where the model knows them."""
    if isinstance(autoencoder, Tokenizer) and autoencoder.likelihood is not None:
        return {"nll": autoencoder.nll(x, latents)}
    if isinstance(autoencoder, VariationalAutoencoder):
        posterior = autoencoder.posterior(x)
        elbo = autoencoder.elbo(x, generator)
        nll = -elbo - kl_to_normal(posterior).sum(1)
        return {"nll": nll, "log_variance": posterior.log_variance}
    return {}

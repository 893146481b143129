"""Draws latents from a model's prior in batches, and reranks candidates where there are several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from smalti.generation.candidates import best_of
from smalti.generation.checks import BATCH
from smalti.priors import Prior, SamplingConfig

if TYPE_CHECKING:
    from smalti.generation.model import Model

__all__ = ["draw"]


def draw(
    model: Model,
    prior: Prior,
    context: Tensor | None,
    known: Tensor | None,
    config: SamplingConfig,
    generator: torch.Generator,
    *,
    n: int,
    candidates: int,
) -> Tensor:
    """Draws n latents from a prior: (n, *shape), int64 indices or, of a Gaussian, float vectors.

    Arguments:
        model: The model, which scores candidates.
        prior: The prior.
        context: (n, *shape) values of its condition, or None.
        known: (n, *shape), the tokens to keep, -1 where the prior fills in; None to draw all.
        config: Temperature, truncation, guidance and so on.
        generator: Source of randomness.
        n: The number of latents.
        candidates: How many candidates are drawn for each latent that is kept.
    """
    if candidates > 1:
        context = None if context is None else context.repeat_interleave(candidates, 0)
        known = None if known is None else known.repeat_interleave(candidates, 0)
    drawn, scores = [], []
    for start in range(0, n * candidates, BATCH):
        part = slice(start, min(start + BATCH, n * candidates))
        drawn.append(
            prior.sample(
                part.stop - start,
                None if context is None else context[part],
                known=None if known is None else known[part],
                config=config,
                generator=generator,
            )
        )
        if candidates > 1:
            assert context is not None
            scores.append(_scores(model, drawn[-1], context[part]))
    latents = torch.cat(drawn)
    if candidates > 1:
        assert context is not None
        return latents[best_of(torch.cat(scores), context, candidates)]
    return latents


@torch.no_grad()
def _scores(model: Model, latents: Tensor, values: Tensor) -> Tensor:
    """Returns how well samples of latents (B, ...) fit their captions (B, L): (B,), on the CPU."""
    assert model.reranker is not None
    x = model.autoencoder.decode_flat(latents.to(model.device))
    return model.reranker.eval().scores(x, values.to(model.device)).cpu()

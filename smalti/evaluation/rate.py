"""What an image costs in tokens: nats and bits per index, and bits per image, under each prior.

A prior p over token grids q (n indices of K codewords) is also a code: an ideal entropy coder
spends −log2 p(q) bits on the grid, up to two bits more in practice. On grids of images that no
part of the model was trained on,

    nats per index  = mean over images of − ln p(q) / n
    bits per index  = nats / ln 2
    bits per image  = n · bits per index          the uniform code needs n · log2 K

These are likelihoods of *tokens*. What the decoder makes of them is not the image, so alone they
bound no likelihood of pixels and must not be compared with bits/dim of models of pixels: for that a
tokenizer needs a likelihood of its own (see `bits`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from smalti.counting import counted
from smalti.evaluation.batches import pieces
from smalti.priors import Cascade, Histogram, Prior, TractablePrior
from smalti.reporting.figures import Figure, figure, number, undefined

__all__ = ["nats_per_image", "rate_figures"]

OF_TOKENS = "a likelihood of tokens, not of pixels"


@torch.no_grad()
def nats_per_image(
    prior: TractablePrior, indices: Tensor, context: Tensor | None = None, batch_size: int = 256
) -> float:
    """The mean of −ln p(q) over grids.

    Arguments:
        prior: Conditional or not; an unconditional one is not shown the context.
        indices: (N, *grid).
        context: (N,), the condition of each image.
        batch_size: Grids at a time.
    """
    context = context if prior.condition is not None else None
    total = 0.0
    for piece, condition in pieces(indices, context, size=batch_size):
        assert piece is not None
        total -= prior.log_prob(piece, condition).double().sum().item()
    return total / len(indices)


def rate_figures(
    priors: Mapping[str, Prior],
    indices: Tensor,
    context: Tensor | None,
    measured_on: str,
    batch_size: int = 256,
) -> dict[str, dict[str, Figure]]:
    """Measures each prior with a likelihood: nats and bits per index, bits per image, share."""
    positions = indices[0].numel()
    figures = {}
    for name, prior in priors.items():
        if not isinstance(prior, TractablePrior):
            continue
        nats = nats_per_image(prior, indices, context, batch_size)
        bits = nats / math.log(2)
        levels = prior.levels if isinstance(prior, Cascade) else (prior,)
        uniform = sum(level.positions * math.log2(level.codebook_size) for level in levels)
        given = f", given its {prior.condition.name}" if prior.condition is not None else ""
        replay = ""
        if isinstance(prior, Histogram):
            seen = int(prior.has_seen(indices).sum())
            replay = (
                f", mixed with uniform: it replays grids of the training set, and {number(seen)} "
                f"of these {number(len(indices))} are among them"
            )
        protocol = (
            f"{measured_on}, {counted(positions, 'index', 'indices')} per image, K = "
            f"{prior.codebook_size}{given}"
            f"{replay}; mean of −log p over images, {OF_TOKENS}"
        )
        figures[name] = {
            "nats_per_index": figure(nats / positions, "nats", protocol),
            "bits_per_index": figure(bits / positions, "bits", protocol),
            "bits_per_image": figure(bits, "bits", protocol),
            "nats_per_image": figure(nats, "nats", protocol),
            "share_of_uniform": figure(bits / uniform, "share", protocol)
            if uniform
            else undefined("share", protocol, "a codebook of one codeword costs no bits"),
        }
    return figures

"""Samples from three priors through the one decoder that they share.

    uniform      every index drawn evenly, apart from the others: what the decoder makes of noise
    histogram    a whole grid seen in training: what the tokenizer can do at best, but nothing new
    prior        the learned prior: new grids

All of them go through the same decoder, so what differs in the pictures is the prior alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from smalti.autoencoders import Tokenizer
from smalti.autoencoders.inputs import device_of
from smalti.evaluation.batches import pieces
from smalti.priors import Prior, uniform_like

__all__ = ["decoded", "device_of", "drawn", "priors_by_name"]


def priors_by_name(prior: Prior | None, histogram: Prior | None) -> dict[str, Prior]:
    """The priors to sample from, by name; none if there is no learned one to compare with."""
    if prior is None:
        return {}
    found: dict[str, Prior] = {"uniform": uniform_like(prior)}
    if histogram is not None:
        found["histogram"] = histogram
    return {**found, "prior": prior}


@torch.no_grad()
def drawn(
    prior: Prior,
    n: int,
    context: Tensor | None,
    generator: torch.Generator,
    batch_size: int,
    top_p: float | None = None,
) -> Tensor:
    """n token grids (n, *grid), int64 on the CPU, at temperature 1.

    Arguments:
        prior: A conditional prior gets the context, another does not.
        n: How many.
        context: (n,), or `None`.
        generator: Where randomness comes from.
        batch_size: Grids at a time.
        top_p: As of `Prior.sample`.
    """
    context = context if prior.condition is not None else None
    grids = []
    for numbers, condition in pieces(torch.arange(n), context, size=batch_size):
        assert numbers is not None
        shape = (len(numbers), *prior.grid)
        grids.append(prior.sample(shape, condition, top_p=top_p, generator=generator).cpu())
    return torch.cat(grids)


def decoded(tokenizer: Tokenizer, indices: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Images (B, C, H, W) in [-1, 1], on the tokenizer's device, of grids (N, *grid)."""
    device = device_of(tokenizer)
    for (piece,) in pieces(indices, size=batch_size):
        assert piece is not None
        yield tokenizer.decode_flat(piece.to(device))

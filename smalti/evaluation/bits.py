"""Bits per dimension of images: what they cost in all, to the last bit of every value.

A tokenizer whose decoder has a likelihood p(x | q), and a prior p(q) over its token grids, make a
code for images x of D = C·H·W values: first the grid q that the encoder gives, then x given q.

    nats      = −log p(q) − log p(x | q)         an upper bound of −log Σ_q p(q) p(x | q)
    bits/dim  = nats / (D · log 2)

Under the uniform prior −log p(q) is n · log K for n indices: the constant KL divergence of the
VQ-VAE. For a VAE the nats are the negative ELBO, from the same function. Both are bounds of what
the same data cost, and can be compared as far as both are of the same values: 8-bit ones, or
coarser.

References:
    Neural Discrete Representation Learning, A. van den Oord, O. Vinyals and K. Kavukcuoglu, 2017,
    arXiv 1711.00937.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from smalti.losses.likelihoods import Likelihood, bits_per_dim
from smalti.reporting.figures import Figure, figure

__all__ = ["bits_figure", "tokenizer_bits", "uniform_nats"]


def bits_figure(nats: float, likelihood: Likelihood, dims: int, protocol: str) -> Figure:
    """Bits per dimension, of the values that the likelihood is of.

    Arguments:
        nats: −log p(x) or a bound of it, the mean over images, as the likelihood gives them.
        likelihood: What the nats come from.
        dims: D, values of an image.
        protocol: Set, N, and what the nats are.

    Example:
        >>> from smalti.losses.likelihoods import Categorical
        >>> bits_figure(12 * math.log(256), Categorical(), 12, "test set")["value"]
        8.0
    """
    values = f"of {dims} dimensions of {likelihood.num_values} values"
    if likelihood.num_values is None:
        values = f"of {dims} 8-bit values, each with the probability density × 2/255"
    if likelihood.num_values == 2:
        values += ", grey ones as random black and white"
    value = bits_per_dim(likelihood.discretised(nats, dims), dims)
    return figure(value, "bits", f"{protocol}; {values}")


def uniform_nats(codebook_sizes: tuple[int, ...], positions: int) -> float:
    """−log p(q) under the uniform prior: n · Σ log K."""
    return positions * sum(math.log(size) for size in codebook_sizes)


def tokenizer_bits(
    rates: Mapping[str, float], nll: Tensor, likelihood: Likelihood, dims: int, measured_on: str
) -> dict[str, Figure]:
    """Bits per dimension under each prior, and those of the images given their tokens alone.

    Arguments:
        rates: By prior, the mean of −log p(q) over images, in nats.
        nll: −log p(x | q) of the images, (N,).
        likelihood: Of the tokenizer.
        dims: D, values of an image.
        measured_on: The set and its N, for the protocols.
    """
    mean = nll.double().mean().item()
    given = f"{measured_on}; mean over images of −log p(image | its tokens)"
    return {
        name: bits_figure(mean + nats, likelihood, dims, f"{given} − log p(tokens)")
        for name, nats in rates.items()
    } | {"reconstruction": bits_figure(mean, likelihood, dims, given)}

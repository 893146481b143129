"""Bits per dimension: the cost of coding signals without loss, prior and decoder together.

A tokenizer whose decoder has a likelihood p(x | q), and a prior p(q) over its token grids, make a
code for signals x of D values: first the grid q that the encoder gives, then x given q.

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
from typing import ClassVar

from torch import Tensor

from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.measurements.rate import nats_under_prior
from smalti.layout import Layout
from smalti.losses.likelihoods import Likelihood, bits_per_dim
from smalti.priors import BoundedPrior
from smalti.reporting import (
    Card,
    Figure,
    FigureTable,
    Measurement,
    Section,
    Text,
    display,
    figure,
)
from smalti.signals import Signal

__all__ = ["BitsPerDimension", "bits_figure", "tokenizer_bits", "uniform_nats"]


class BitsPerDimension(Measurement[EvaluationContext]):
    """Measures bits per dimension of tokenizers that have a likelihood p(x | tokens)."""

    key: ClassVar[str] = "bits_per_dim"
    title: ClassVar[str] = "Bits per dimension"
    chapter: ClassVar[str] = "Tokens"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        if subject.tokenizer is None or subject.tokenizer.likelihood is None:
            return "the model has no likelihood of signals given their tokens."
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, signal, tokenizer = self.section(), subject.splits.signal, subject.tokens
        nll, likelihood = subject.encoded.nll, tokenizer.likelihood
        assert nll is not None
        assert likelihood is not None
        rates = {"uniform": uniform_nats(tokenizer.layout)}
        for name in subject.priors:
            with section.attempt(f"Bits per dimension under the prior {name}", name):
                rates |= nats_under_prior(subject, name)
        found = tokenizer_bits(rates, nll, likelihood, signal, subject.test_set)
        if isinstance(subject.prior, BoundedPrior) and "prior" in found:
            found["prior"]["protocol"] += "; of log p(tokens) its bound"
        section.figures = dict(found)
        uniform = f"{display(found['uniform'])} under the uniform code"
        whole = found.get("prior", found["uniform"])
        section.cards = [Card(whole, f"per dimension, tokens and {signal.noun}", uniform)]
        section.blocks["introduction"] = Text(
            f"What one {signal.noun} costs to the last bit: its tokens under a prior, and then "
            f"every value given its tokens."
        )
        titles = {
            "prior": "Learned prior",
            "histogram": "Histogram",
            "uniform": "Uniform code",
            "reconstruction": f"{signal.noun.capitalize()} given its tokens, their cost left out",
        }
        section.blocks["table"] = FigureTable(
            {title: found[name] for name, title in titles.items() if name in found}
        )
        return section


def bits_figure(nats: float, likelihood: Likelihood, dims: int, protocol: str) -> Figure:
    """Makes the figure "bits per dimension" of nats per signal.

    Arguments:
        nats: The mean over signals of −log p(x), or of a bound on it.
        likelihood: The likelihood that gave the nats.
        dims: D, the number of values in a signal.
        protocol: The set, its N, and what the nats are.

    Example:
        >>> from smalti.losses.likelihoods import Categorical
        >>> bits_figure(12 * math.log(256), Categorical(), 12, "test set")["value"]
        8.0
    """
    values = f"of {dims} dimensions of {likelihood.num_values} values"
    if likelihood.num_values is None:
        values = f"of {dims} 8-bit values, each with the probability density × 2/255"
    if likelihood.num_values == 2:
        values += ", those in between as low or high at random"
    value = bits_per_dim(likelihood.discretised(nats, dims), dims)
    return figure(value, "bits", f"{protocol}; {values}")


def uniform_nats(layout: Layout) -> float:
    """Returns the nats of one grid of tokens under the uniform prior: Σ log K over all tokens.

    Example:
        >>> uniform_nats(Layout(((2, 2),), ((8,),))) == 4 * math.log(8)
        True
    """
    levels = zip(layout.shapes, layout.codebook_sizes, strict=True)
    return sum(
        math.prod(shape) // len(sizes) * sum(map(math.log, sizes)) for shape, sizes in levels
    )


def tokenizer_bits(
    rates: Mapping[str, float],
    nll: Tensor,
    likelihood: Likelihood,
    signal: Signal,
    measured_on: str,
) -> dict[str, Figure]:
    """Makes the figures of bits per dimension under each prior, and of signals given their tokens.

    Arguments:
        rates: For each prior, the mean of −log p(tokens) over signals, in nats.
        nll: −log p(x | tokens) of the signals, (N,), in nats.
        likelihood: The tokenizer's likelihood p(x | h).
        signal: The signal; it has a size.
        measured_on: The set and its N, for the protocols.
    """
    mean, dims = nll.double().mean().item(), math.prod(signal.shape)
    given = f"{measured_on}; mean over {signal.plural} of −log p({signal.noun} | its tokens)"
    return {
        name: bits_figure(mean + nats, likelihood, dims, f"{given} − log p(tokens)")
        for name, nats in rates.items()
    } | {"reconstruction": bits_figure(mean, likelihood, dims, given)}

"""The rate of tokens under each prior: nats and bits per index, and bits per signal.

A prior p over token grids q (n indices of K codewords) is also a code: an ideal entropy coder
spends −log2 p(q) bits on the grid, up to two bits more in practice. On grids of signals that no
part of the model was trained on,

    nats per index   = mean over signals of − ln p(q) / n
    bits per index   = nats / ln 2
    bits per signal  = n · bits per index          the uniform code needs n · log2 K

These are likelihoods of *tokens*. What the decoder makes of them is not the signal, so alone they
bound no likelihood of signals and must not be compared with bits/dim of models of these: for that a
tokenizer needs a likelihood of its own (see `bits`).
"""

from __future__ import annotations

import logging
import math
from typing import ClassVar

from torch import Tensor

from smalti.counting import counted
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.token_nats import DRAWS, mean_nats
from smalti.priors import BoundedPrior, Histogram, TokenPrior, TractablePrior
from smalti.reporting import Card, Figure, Measurement, Section, Table, Text, display, figure
from smalti.reporting.figures import number, undefined_figure
from smalti.signals import Signal

__all__ = ["DRAWS", "Rate", "mean_nats", "nats_under_prior", "rate_figures"]

logger = logging.getLogger(__name__)

WORDS = {"uniform": "uniform prior", "histogram": "histogram", "prior": "learned prior"}


class Rate(Measurement[EvaluationContext]):
    """Measures the rate: the cross-entropy of the test set's tokens under each prior."""

    key: ClassVar[str] = "rate"
    title: ClassVar[str] = "Rate"
    chapter: ClassVar[str] = "Tokens"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return None if subject.tokenizer is not None else "the latents of the model are no tokens."

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, signal = self.section(), subject.splits.signal
        if subject.prior is None:
            section.leave_out("Rate", "no prior was learned.", "")
            return section
        logger.info("measuring the rate of %d token grids", len(subject.test))
        for name, prior in subject.priors.items():
            with section.attempt(f"Rate of the {WORDS[name]}", name):
                for nats in nats_under_prior(subject, name).values():
                    section.figures[name] = rate_figures(
                        prior, nats, subject.encoded.latents, signal, subject.test_set
                    )
        if not isinstance(subject.prior, TractablePrior | BoundedPrior):
            why = "it has no likelihood in closed form."
            section.leave_out("Rate of the learned prior", why, "prior")
        titles, bound = dict(subject.titles), isinstance(subject.prior, BoundedPrior)
        if bound:
            titles["prior"] += ", at most"
        _show(section, signal, titles, bound)
        return section


def _show(section: Section, signal: Signal, titles: dict[str, str], bound: bool) -> None:
    """Adds the table, and the card of the learned prior, whose rate may be a bound."""
    found = section.figures
    if "prior" in found:
        hint = ""
        if "uniform" in found:
            hint = f"{display(found['uniform']['bits_per_index'])} uniform"
        words = (
            "per index at most, learned prior (a bound)" if bound else "per index, learned prior"
        )
        card = Card(found["prior"]["bits_per_index"], words, hint)
        section.cards.append(card)
    columns = {
        "nats_per_index": "nats per index",
        "bits_per_index": "bits per index",
        f"bits_per_{signal.noun}": f"bits per {signal.noun}",
        "share_of_uniform": "share of the uniform code",
    }
    section.blocks["introduction"] = Text(
        f"What one {signal.noun} costs in tokens under each prior, in nats and in bits."
    )
    section.blocks["table"] = Table(
        ("Prior", *columns.values()),
        {titles[name]: [figures[key] for key in columns] for name, figures in found.items()},
        titles["prior"],
        [f"{titles[name]}: {rate['nats_per_index']['protocol']}" for name, rate in found.items()],
        units=False,
    )


def nats_under_prior(subject: EvaluationContext, name: str) -> dict[str, float]:
    """Computes the mean nats per signal of the test set's tokens under the prior of a name.

    Returns {name: nats}, of a prior with a bound that; empty for one without a likelihood.
    """
    nats = subject.mean_nats(name)
    return {} if nats is None else {name: nats}


def rate_figures(
    prior: TokenPrior, nats: float, indices: Tensor, signal: Signal, measured_on: str
) -> dict[str, Figure]:
    """Makes the figures of a rate: nats and bits per index and per signal, and share of uniform.

    Arguments:
        prior: A prior with a likelihood, or a bound on it.
        nats: The mean nats per signal under it, see `mean_nats`.
        indices: (N, *grid), the measured tokens.
        signal: The signal that the tokens encode.
        measured_on: The set and its N, for the protocols.
    """
    positions, bits = indices[0].numel(), nats / math.log(2)
    uniform = prior.layout.sizes_of_tokens().double().log2().sum().item()
    given = f", given its {prior.condition.name}" if prior.condition is not None else ""
    replay = ""
    if isinstance(prior, Histogram):
        seen = int(prior.has_seen(indices).sum())
        replay = (
            f", mixed with uniform: it replays grids of the training set, and {number(seen)} "
            f"of these {number(len(indices))} are among them"
        )
    mean = f"mean of −log p over {signal.plural}, a likelihood"
    if isinstance(prior, BoundedPrior):
        mean = (
            f"mean over {signal.plural} of what −log p is at most, a bound, by {DRAWS} draws of "
            f"masks for each: of a likelihood"
        )
    protocol = (
        f"{measured_on}, {counted(positions, 'index', 'indices')} per {signal.noun}, K = "
        f"{prior.codebook_size}{given}{replay}; {mean} of tokens, not of {signal.plural}"
    )
    return {
        "nats_per_index": figure(nats / positions, "nats", protocol),
        "bits_per_index": figure(bits / positions, "bits", protocol),
        f"bits_per_{signal.noun}": figure(bits, "bits", protocol),
        f"nats_per_{signal.noun}": figure(nats, "nats", protocol),
        "share_of_uniform": figure(bits / uniform, "share", protocol)
        if uniform
        else undefined_figure("share", protocol, "a codebook of one codeword costs no bits"),
    }

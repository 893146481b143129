"""Bounds on the log-likelihood of a variational autoencoder, and the terms of its ELBO.

    ELBO          E_q log p(x | z) − KL(q(z | x) ‖ N(0, I))           one draw per signal
    importance    log 1/K Σ_k p(x, z_k) / q(z_k | x)                  K draws per signal

All are means over test signals, in nats. Bits per dimension of 8-bit values follow from both; they
may be compared with those of tokens (`bits`, with the likelihood of a tokenizer), for they are
bounds of the same. The terms of the ELBO are told apart: −log p(x | z) is what the decoder leaves
unsaid, the KL what is said by the latents. A dimension whose KL is 0 says nothing.
"""

from __future__ import annotations

import logging
from typing import ClassVar

import torch
from torch import Tensor

from smalti.autoencoders import VariationalAutoencoder
from smalti.autoencoders.variational import Posterior, kl_to_normal
from smalti.errors import InputError
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.measurements.bits import bits_figure
from smalti.reporting import Card, Figure, FigureTable, Measurement, Section, display, figure
from smalti.reporting.figures import number

__all__ = ["Bounds", "bound_figures", "kl_per_dimension"]

logger = logging.getLogger(__name__)

TITLES = {
    "negative_elbo": "−ELBO",
    "reconstruction": "of which reconstruction",
    "kl": "of which KL",
    "importance": "Importance-weighted −log p(x)",
    "negative_elbo_bits": "−ELBO per dimension",
    "importance_bits": "Importance-weighted, per dimension",
}


class Bounds(Measurement[EvaluationContext]):
    """Measures two bounds on a VAE's log-likelihood: the ELBO and the importance-weighted bound."""

    key: ClassVar[str] = "bounds"
    title: ClassVar[str] = "Likelihood"
    chapter: ClassVar[str] = "Latents"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return None if subject.tokenizer is None else "the latents of the model are tokens."

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        if not isinstance(subject.vectors, VariationalAutoencoder):
            raise InputError("a plain autoencoder is no model of the data's distribution.")
        section, noun = self.section(), subject.splits.signal.noun
        found = bound_figures(subject, subject.vectors)
        section.figures = dict(found)
        by_elbo = f"importance-weighted bound; {display(found['negative_elbo_bits'])} by the ELBO"
        card = Card(found["importance_bits"], f"per dimension of the {noun}", by_elbo)
        section.cards.append(card)
        section.blocks["table"] = FigureTable({TITLES[key]: f for key, f in found.items()})
        return section


def bound_figures(subject: EvaluationContext, model: VariationalAutoencoder) -> dict[str, Figure]:
    """Makes the figures of both bounds, in nats and bits per dimension, and of the ELBO."""
    nll, kl = subject.encoded.nll, kl_per_dimension(subject)
    noun, plural = subject.splits.signal.noun, subject.splits.signal.plural
    assert nll is not None
    assert kl is not None
    left, held = nll.double().mean().item(), kl.double().sum().item()
    one = f"{subject.test_set}, one draw per {noun}; mean over {plural} of"
    chosen, draws = subject.order[: subject.limits.bounded], subject.limits.importance
    logger.info("weighing %d draws for each of %d test %s", draws, len(chosen), plural)
    generator = torch.Generator().manual_seed(subject.seed)
    weighted = -torch.cat(
        [
            model.log_likelihood(subject.test_examples(part), draws, generator).cpu()
            for part in chosen.split(subject.limits.batch_size)
        ]
    )
    many = (
        f"N = {number(len(chosen))} of the test set, drawn at random, {draws} draws per {noun}; "
        f"mean over {plural} of the importance-weighted bound of −log p(x)"
    )
    tightest = weighted.double().mean().item()

    def bits(nats: float, protocol: str) -> Figure:
        return bits_figure(nats, model.likelihood, model.dims, protocol)

    of = "" if model.likelihood.discrete else " (of a density, which has no zero)"
    kls = f"{subject.test_set}; mean over {plural} of KL(q(z | x) ‖ p(z))"
    return {
        "negative_elbo": figure(left + held, "nats", f"{one} −ELBO = −log p(x | z) + KL{of}"),
        "reconstruction": figure(left, "nats", f"{one} −log p(x | z){of}"),
        "kl": figure(held, "nats", kls),
        "importance": figure(tightest, "nats", f"{many}{of}"),
        "negative_elbo_bits": bits(left + held, f"{one} −ELBO"),
        "importance_bits": bits(tightest, many),
    }


def kl_per_dimension(subject: EvaluationContext) -> Tensor | None:
    """Returns the mean KL of each latent dimension of a VAE over the test set, (D,), in nats."""
    encoded = subject.encoded
    if encoded.log_variance is None:
        return None
    return kl_to_normal(Posterior(encoded.latents, encoded.log_variance)).mean(0)

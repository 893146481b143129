"""Latent dimensions of a continuous model: their figures, interpolations and traversals.

active units  dimensions whose posterior mean moves with the data
information   I(x; z), how much a draw of z says about which signal it was
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.measurements.bounds import kl_per_dimension
from smalti.evaluation.plots import plot_dimensions
from smalti.evaluation.representation import active_units, gaussian_information
from smalti.generation.traversal import traverse
from smalti.reporting import (
    Card,
    Figure,
    FigureTable,
    Measurement,
    Plot,
    Section,
    Text,
    figure,
)
from smalti.reporting.figures import number

__all__ = ["LatentDimensions", "latent_figures"]

INFORMED = 2000  # test examples whose posteriors are compared with each other
INACTIVE = 0.01  # variance of a posterior mean up to which a dimension counts as unused
WAYS, STEPS = 6, 9  # interpolations shown, and signals of each; of each traversal, too
TRAVERSED = 10  # latent dimensions shown
REACH = 3.0  # of a traversal, in standard deviations

TITLES = {"active_units": "Active units", "information": "Information on the signal"}


class LatentDimensions(Measurement[EvaluationContext]):
    """Measures the information in each latent dimension; shows interpolations and traversals."""

    key: ClassVar[str] = "latents"
    title: ClassVar[str] = "What latents hold"
    chapter: ClassVar[str] = "Latents"
    file_names: ClassVar[str] = r"latents-(dimensions|interpolations|traversals)"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return None if subject.tokenizer is None else "the latents of the model are tokens."

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, plural = self.section(), subject.splits.signal.plural
        section.blocks["introduction"] = Text(
            f"What the latent dimensions hold, and what lies between and beyond the latents of "
            f"{plural}."
        )
        with section.attempt("What latents say of the data", ""):
            section.figures = dict(latent_figures(subject))
            section.cards.append(Card(section.figures["active_units"], "in use"))
            section.blocks["table"] = FigureTable(
                {TITLES[key]: measured for key, measured in section.figures.items()}
            )
        with section.attempt("Picture of the latent dimensions"):
            what = "variance" if subject.encoded.log_variance is None else "nats (KL)"
            caption = f"The {what} of each latent dimension on the test set, the largest first."
            plot = Plot(plot_dimensions(_held(subject), what), caption)
            section.blocks["latents/dimensions"] = plot
        with section.attempt("Picture of interpolations"):
            section.blocks["latents/interpolations"] = subject.modality.render(
                _ways(subject),
                f"Test {plural} at both ends of a row, and between them what the straight line "
                f"between their latents is decoded to.",
                columns=STEPS + 2,
                signal=subject.splits.signal,
            )
        with section.attempt("Picture of traversals"):
            (x,) = subject.test_examples(subject.order[:1])
            order = _held(subject).argsort(descending=True)[:TRAVERSED]
            section.blocks["latents/traversals"] = subject.modality.render(
                traverse(subject.vectors, subject.gaussian, x, order, STEPS, REACH).flatten(0, 1),
                f"One latent dimension a row, from −{REACH:g} to {REACH:g} standard deviations of "
                f"the prior, the others as of one test {subject.splits.signal.noun}. Dimensions "
                f"{', '.join(map(str, order.tolist()))}: the one that holds most first.",
                columns=STEPS,
                signal=subject.splits.signal,
            )
        return section


def latent_figures(subject: EvaluationContext) -> dict[str, Figure]:
    """Makes the figures of active units and of the mutual information I(x; z)."""
    mean, log_variance = subject.encoded.latents, subject.encoded.log_variance
    plural = subject.splits.signal.plural
    if len(mean) < 2:
        raise InputError(f"what latents say of {plural} shows on two test {plural} at least.")
    figures = {
        "active_units": figure(
            active_units(mean, INACTIVE),
            "dimensions",
            f"{subject.test_set}; of {mean.shape[1]} latent dimensions those whose value has a "
            f"variance above {INACTIVE} over the set",
        )
    }
    if log_variance is None:
        return figures
    chosen = subject.order[:INFORMED]
    generator = torch.Generator().manual_seed(subject.seed)
    figures["information"] = figure(
        gaussian_information(mean[chosen], log_variance[chosen], generator=generator),
        "nats",
        f"N = {number(len(chosen))} of the test set, drawn at random; I(x; z) of {plural} and one "
        f"draw each, which cannot be more than log N",
    )
    return figures


def _held(subject: EvaluationContext) -> Tensor:
    """Returns what each latent dimension holds, (D,): nats, or the variance of its values."""
    kl = kl_per_dimension(subject)
    if kl is not None:
        return kl
    latents = subject.encoded.latents
    return latents.var(0, correction=min(1, len(latents) - 1))


def _ways(subject: EvaluationContext) -> Tensor:
    """Interpolations between test signals, of different classes where they have any."""
    subject.check_test()
    order, conditions = subject.order, subject.conditions
    rows: list[Tensor] = []
    for a in order[:WAYS].tolist():
        others = order[order != a] if len(order) > 1 else order
        if conditions is not None and bool((conditions != conditions[a]).any()):
            others = order[conditions[order] != conditions[a]]
        b = others[(a + len(rows)) % len(others)].item()
        x_a, x_b = subject.test_examples(torch.tensor([a, b]))
        way = subject.vectors.interpolate(x_a, x_b, STEPS)
        rows.append(torch.cat([x_a[None], way, x_b[None]]))
    return torch.cat(rows)

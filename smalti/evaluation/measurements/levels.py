"""The levels of a hierarchy: reconstructions from the first n levels, and their rates.

A reconstruction from the first n levels shows what these say about the signal; what the next one
adds is the difference. The rate of a level is that of its indices given those of the levels above,
−log p(q_l | q_1 … q_{l−1}), under its own prior.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from smalti.autoencoders import Tokenizer
from smalti.autoencoders.inputs import device_of
from smalti.counting import counted
from smalti.evaluation.batches import split_in_pieces
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.measurements.rate import DRAWS
from smalti.priors import BoundedCascade, BoundedPrior, Cascade, LevelPriors
from smalti.reporting import Figure, Measurement, Section, Table, Text, figure
from smalti.reporting.figures import protocols

__all__ = ["Levels", "decode_first_levels"]

SHOWN, MEASURED = 8, 1000  # test examples


class Levels(Measurement[EvaluationContext]):
    """Measures and shows reconstructions from the first n levels of a hierarchical tokenizer."""

    key: ClassVar[str] = "levels"
    title: ClassVar[str] = "Levels"
    chapter: ClassVar[str] = "Levels"
    file_names: ClassVar[str] = r"levels"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        if subject.tokenizer is None or subject.tokenizer.layout.levels == 1:
            return "the model has no levels of tokens, or one alone."
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        section, count = self.section(), subject.tokens.layout.levels
        section.blocks["introduction"] = Text(
            "Reconstructions from the coarsest level alone, then from one more at a time, and what "
            "the indices of each cost given those of the levels above."
        )
        with section.attempt("Picture of the levels"):
            chosen = subject.order[:SHOWN]
            indices = subject.encoded.latents[chosen]
            rows = [subject.test_examples(chosen)]
            rows += [decode_first_levels(subject.tokens, indices, n + 1) for n in range(count)]
            section.blocks["levels"] = subject.modality.render(
                torch.cat(rows),
                f"Test {subject.splits.signal.plural} above; below them what is left of them in "
                f"the first level, in the first two, and so on.",
                columns=len(chosen),
                signal=subject.splits.signal,
            )
        columns: dict[str, str] = {}
        with section.attempt("What the levels hold", ""):
            for level in range(count):
                measured, titles = _quality(subject, level)
                section.figures[str(level)] = measured
                columns |= titles
        prior = subject.prior
        if isinstance(prior, Cascade | BoundedCascade) and section.figures:
            with section.attempt("Rates of the levels"):
                rates = _rates(subject, prior)
                for name, rate in rates.items():
                    section.figures[name] |= rate
                most = ", at most" if isinstance(prior, BoundedCascade) else ""
                per_signal = f"bits per {subject.splits.signal.noun}{most}"
                columns |= {"nats_per_index": f"nats per index{most}", _bits(subject): per_signal}
        elif isinstance(prior, LevelPriors):
            section.leave_out("Rates of the levels", "not all priors have a likelihood.", "")
        if section.figures:
            section.blocks["table"] = _table(section, columns)
        return section


@torch.no_grad()
def decode_first_levels(tokenizer: Tokenizer, tokens: Tensor, n: int) -> Tensor:
    """Decodes signals (B, C, *size) from the first n levels of tokens (B, L)."""
    device = device_of(tokenizer)
    return tokenizer.decode(tokenizer.layout.unpack(tokens.to(device))[:n])


def _table(section: Section, columns: dict[str, str]) -> Table:
    rows = {
        f"{level}{'' if int(level) else ', the coarsest'}": [figures.get(key) for key in columns]
        for level, figures in section.figures.items()
    }
    return Table(("Level", *columns.values()), rows, notes=protocols(section.figures), units=False)


def _quality(subject: EvaluationContext, level: int) -> tuple[dict[str, Figure], dict[str, str]]:
    """Measures how faithful reconstructions from the levels up to this one are; what the figures
    are.
    """
    subject.check_test()
    numbers = subject.order[:MEASURED]
    metrics = subject.modality.metrics(subject.splits.signal)
    for (piece,) in split_in_pieces(numbers, size=subject.limits.batch_size):
        assert piece is not None
        x_hat = decode_first_levels(subject.tokens, subject.encoded.latents[piece], level + 1)
        for metric in metrics:
            metric.update(subject.test_examples(piece), x_hat)
    shape = "×".join(map(str, subject.tokens.layout.shapes[level]))
    measured_on = (
        f"N = {len(numbers)} of the test set; level {level} ({shape}) and those above it decoded"
    )
    figures: dict[str, Figure] = {}
    titles: dict[str, str] = {}
    for metric in metrics:
        for key, measured in metric.figures(measured_on).items():
            if key in metric.cards:
                figures[key] = measured
                titles[key] = f"{metric.names[key]} down to it"
    return figures, titles


def _bits(subject: EvaluationContext) -> str:
    return f"bits_per_{subject.splits.signal.noun}"


def _rates(
    subject: EvaluationContext, prior: Cascade | BoundedCascade
) -> dict[str, dict[str, Figure]]:
    """Returns the nats per index, and bits per signal, of each level, or bounds on them."""
    indices, context = subject.encoded.latents, subject.conditions
    context = None if prior.condition is None else context
    signal = subject.splits.signal
    nats = torch.zeros(len(prior.levels), dtype=torch.float64)
    for piece, condition in split_in_pieces(indices, context, size=subject.limits.batch_size):
        assert piece is not None
        of_levels = (
            prior.bounds(piece, condition, draws=DRAWS)
            if isinstance(prior, BoundedCascade)
            else -prior.log_probs(piece, condition)
        )
        nats += of_levels.double().sum(0).cpu()
    rates = {}
    for level, (one_level, own) in enumerate(zip(prior.levels, nats.tolist(), strict=True)):
        given = f", given its {prior.condition.name}" if prior.condition is not None else ""
        bound = isinstance(one_level, BoundedPrior)
        what = "what −log p is at most" if bound else "−log p"
        kind = (
            f"a bound, by {DRAWS} draws of masks for each: of a likelihood"
            if bound
            else "a likelihood"
        )
        above = f"{given} and the levels above" if level else given
        protocol = (
            f"{subject.test_set}, {counted(one_level.positions, 'index', 'indices')} per "
            f"{signal.noun}, K = {one_level.codebook_size}{above}; mean of {what} over "
            f"{signal.plural}, {kind} of tokens, not of {signal.plural}"
        )
        each = own / len(indices)
        rates[str(level)] = {
            "nats_per_index": figure(each / one_level.positions, "nats", protocol),
            _bits(subject): figure(each / math.log(2), "bits", protocol),
        }
    return rates

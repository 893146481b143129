"""The whole evaluation of a model: from its tokenizer, its prior and its data to one report.

    test images ─▶ tokenizer ─▶ reconstructions       MSE, PSNR, SSIM                reconstruction
                       └──────▶ tokens                usage, perplexity              codebook
                                  └─ under a prior    nats, bits                     rate
                       └──────▶ likelihood            bits per dimension               bits
    each prior ─▶ tokens ─▶ decoder ─▶ samples        Fréchet distance, accuracy     fidelity
                                                      FID, KID                       inception
                                                      clocks read back               clocks

Everything is measured on the test split, in evaluation mode, and with draws that depend on the
seed alone. What cannot be measured is named in the report with the reason, and ends nothing.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from smalti.conditions import Label, TimeOfDay
from smalti.counting import counted
from smalti.data import Splits
from smalti.evaluation.bits import tokenizer_bits, uniform_nats
from smalti.evaluation.codebook import codebook_figures, codeword_counts
from smalti.evaluation.curves import plot_usage
from smalti.evaluation.evaluation_context import (
    Limits,
    TokenEvaluationContext,
    check_fits,
    measuring,
)
from smalti.evaluation.levels import levels
from smalti.evaluation.rate import rate_figures
from smalti.evaluation.rejection import rejection
from smalti.evaluation.report import Picture, Report
from smalti.evaluation.sections import (
    WORDS,
    data_facts,
    feature_distances,
    images_in_bits,
    inception,
    parameters,
    read_clocks,
    reconstructions,
    training_curves,
    within_tolerance,
)
from smalti.modalities.image.pictures import grid
from smalti.priors import Cascade, Prior, TractablePrior
from smalti.reporting.figures import figure
from smalti.synthetic.clock_reader import ClockReader
from smalti.synthetic.clock_reading import TOLERANCE, asked_times, framed, minutes_off

if TYPE_CHECKING:
    from smalti.generation import Model

__all__ = ["evaluate"]

logger = logging.getLogger(__name__)

LIKELY = 0.8  # top_p of the samples shown beside those at temperature 1
LABELS, PER_LABEL = 12, 10  # labels shown at most, and samples of each

RATED = {"uniform": "uniform prior", "histogram": "histogram", "prior": "learned prior"}
ACCURACY = "Accuracy of a classifier on conditional samples"


def evaluate(
    model: Model,
    splits: Splits,
    histogram: Prior | None = None,
    *,
    curves: Mapping[str, Path | Sequence[Path]] | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    title: str = "What was learned",
) -> Report:
    """Measures a model and gathers pictures of what it does.

    Arguments:
        model: The tokenizer, and the prior if there is one; without it only the tokenizer is
            measured.
        splits: The data that it was learned from.
        histogram: Fitted to the token grids of the training split, for the prior of that name.
        curves: Of each stage, the `metrics.csv` files of Lightning's CSV logger in the order of
            the starts.
        limits: How much is measured; default: `Limits()`.
        seed: Of every draw.
        title: Of the report.

    Returns:
        The report; its `save` writes it. What could not be measured is in `missing`, and where the
        program is at fault in `failed` too.

    Raises:
        InputError: If the data are not what the model was trained on.
    """
    check_fits(model.tokenizer.signal, splits)
    with measuring(seed, model.tokenizer, model.prior, histogram):
        subject = TokenEvaluationContext(model, splits, histogram, limits or Limits(), seed)
        report = Report(title)
        with report.attempt("Description"):
            _describe(subject, report)
        reconstructions(subject, report)
        _codebook(subject, report)
        levels(subject, report)
        if model.prior is None:
            report.missing |= dict.fromkeys(("Samples", "Rate"), "no prior was learned.")
        else:
            _rate(subject, report)
            _samples(subject, report)
        _bits(subject, report)
        feature_distances(subject, report)
        _accuracy(subject, report)
        rejection(subject, report)
        inception(subject, report)
        if isinstance(splits.condition, TimeOfDay):
            with report.attempt("Reading of clocks", "clocks"):
                _clocks(subject, report)
        training_curves(curves or {}, report)
    return report


def _describe(subject: TokenEvaluationContext, report: Report) -> None:
    """The summary and the facts."""
    splits, tokenizer, prior = subject.splits, subject.tokenizer, subject.prior
    positions = tokenizer.layout.positions
    grid_size = " + ".join("×".join(map(str, shape)) for shape in tokenizer.layout.shapes)
    sizes = set(tokenizer.layout.sizes)
    report.summary = (
        f"{images_in_bits(splits)}, become {grid_size} = {counted(positions, 'token')}"
        + ("." if len(sizes) > 1 else f" out of {counted(sizes.pop(), 'codeword')}.")
    )
    report.facts |= data_facts(splits)
    quantizers = [
        f"{type(quantizer).__name__} with codebooks of "
        f"{', '.join(map(str, quantizer.codebook_sizes))} × {quantizer.dim}"
        for quantizer in tokenizer.levels
    ]
    report.facts["Tokenizer"] = f"{parameters(tokenizer)}; {', then '.join(quantizers)}"
    if prior is not None:
        given = f", conditional on the {prior.condition.name}" if prior.condition else ""
        priors = prior.levels if isinstance(prior, Cascade) else (prior,)
        kinds = ", then ".join(type(one_level).__name__ for one_level in priors)
        report.facts["Prior"] = f"{kinds}, {parameters(prior)}{given}"
    report.facts["Seed of the evaluation"] = str(subject.seed)


def _codebook(subject: TokenEvaluationContext, report: Report) -> None:
    """How the codewords are used."""
    tokenizer = subject.tokenizer
    with report.attempt("Use of the codebook", "codebook"):
        grids = tokenizer.layout.unpack(subject.encoded.indices)
        used = [
            counts
            for indices, quantizer in zip(grids, tokenizer.levels, strict=True)
            for counts in codeword_counts(indices, quantizer.codebook_sizes)
        ]
        report.figures["codebook"] = codebook_figures(
            used, subject.test_set, tokenizer.layout.sizes
        )
        for place, (counts, size) in enumerate(zip(used, tokenizer.layout.sizes, strict=True)):
            of = f" of codebook {place}" if len(used) > 1 else ""
            with report.attempt(f"Picture of how codewords{of} are used"):
                report.pictures[f"codebook/{place}"] = Picture(
                    plot_usage(counts, size),
                    f"How often each codeword{of} was chosen in the test set.",
                )


def _rate(subject: TokenEvaluationContext, report: Report) -> None:
    """What an image costs in tokens."""
    logger.info("measuring the rate of %d token grids", len(subject.test))
    report.figures["rate"] = {}
    for name, prior in subject.priors.items():
        with report.attempt(f"Rate of the {RATED[name]}", f"rate/{name}"):
            report.figures["rate"] |= rate_figures(
                {name: prior},
                subject.encoded.indices,
                subject.encoded.conditions,
                subject.test_set,
                subject.limits.batch_size,
            )
    if not isinstance(subject.prior, TractablePrior):
        why = "it has no likelihood in closed form."
        report.leave_out("Rate of the learned prior", why, "rate/prior")


def _bits(subject: TokenEvaluationContext, report: Report) -> None:
    """What an image costs in all, where the tokenizer says how probable its images are."""
    tokenizer = subject.tokenizer
    if tokenizer.likelihood is None:
        return
    with report.attempt("Bits per dimension", "bits_per_dim"):
        nll = subject.encoded.nll
        assert nll is not None
        rates = {"uniform": 0.0}
        for quantizer, shape in zip(tokenizer.levels, tokenizer.layout.shapes, strict=True):
            sizes = quantizer.codebook_sizes
            rates["uniform"] += uniform_nats(sizes, math.prod(shape) // len(sizes))
        for name, figures in report.figures.get("rate", {}).items():
            rates[name] = figures["nats_per_image"]["value"]
        dims = tokenizer.signal.channels * math.prod(tokenizer.signal.size)
        report.figures["bits_per_dim"] = tokenizer_bits(
            rates, nll, tokenizer.likelihood, dims, subject.test_set
        )


def _samples(subject: TokenEvaluationContext, report: Report) -> None:
    """Samples of all priors side by side, and of each label."""
    prior, shown = subject.prior, subject.limits.shown
    assert prior is not None
    for name in subject.priors:
        with report.attempt(f"Picture of {WORDS[name]}"):
            grids = subject.sampled(name)[:shown]
            images = torch.cat(list(subject.decoded(grids)))
            report.pictures[f"samples/{name}"] = Picture(grid(images), _caption(name, subject))
    with report.attempt("Picture of likely samples"):
        likely = subject.drawn(prior, shown, subject.contexts, top_p=LIKELY)
        report.pictures["likely"] = Picture(
            grid(torch.cat(list(subject.decoded(likely)))),
            f"Samples of the learned prior from the likeliest {LIKELY:.0%} of each index's "
            f"distribution (top_p): clearer, and less varied.",
        )
    if isinstance(subject.splits.condition, Label) and prior.condition is not None:
        with report.attempt("Samples of each label"):
            _labels(subject, prior, subject.splits.condition, report)


def _labels(
    subject: TokenEvaluationContext, prior: Prior, condition: Label, report: Report
) -> None:
    """Samples of the learned prior, a row a label."""
    values = torch.linspace(0, condition.dim - 1, min(LABELS, condition.dim)).round().long()
    grids = subject.drawn(prior, PER_LABEL * len(values), values.repeat_interleave(PER_LABEL))
    images = torch.cat(list(subject.decoded(grids)))
    for value, row in zip(values.tolist(), images.split(PER_LABEL), strict=True):
        report.pictures[f"labels/{value}"] = Picture(
            grid(row, columns=PER_LABEL), condition.format(value)
        )


def _accuracy(subject: TokenEvaluationContext, report: Report) -> None:
    """Says so where no samples have a label that they should show."""
    if "conditional_accuracy" not in report.figures:
        return
    if subject.prior is None or subject.prior.condition is None:
        report.missing[ACCURACY] = "there is no prior conditional on the label."


def _clocks(subject: TokenEvaluationContext, report: Report) -> None:
    """How many real, reconstructed and generated clocks are read right."""
    reader = ClockReader(subject.splits.signal.size[0])
    read_clocks(subject, reader, report)
    if subject.prior is None or subject.prior.condition is None:
        report.missing["Generated clocks"] = "there is no prior conditional on the time."
        return
    with report.attempt("Generated clocks", "clocks/generated"):
        _generated_clocks(subject, subject.prior, reader, report)


def _generated_clocks(
    subject: TokenEvaluationContext, prior: Prior, reader: ClockReader, report: Report
) -> None:
    """How many generated clocks show the time they were asked for, with a picture of them all."""
    asked = asked_times()
    images = torch.cat(list(subject.decoded(subject.drawn(prior, len(asked), asked))))
    off = minutes_off(reader, [images], asked)
    protocol = (
        f"N = {len(asked)}: one clock for every 5 minutes of 12 hours, temperature 1, "
        f"seed {subject.seed}; read by matching of rendered templates"
    )
    wrong = int((~within_tolerance(off)).sum())
    report.figures["clocks"] |= {
        "generated": figure(
            1 - wrong / len(asked), "share", f"{protocol}; right is at most {TOLERANCE} minutes off"
        ),
        "median_error": figure(off.median().item(), "minutes", protocol),
    }
    frames = f" A red frame: read more than {TOLERANCE} minutes off ({wrong})." if wrong else ""
    report.pictures["clocks"] = Picture(
        grid(framed(images, ~within_tolerance(off)), columns=12, padding=0),
        f"One row an hour from 12:00 on, one column every 5 minutes.{frames}",
    )


def _caption(name: str, subject: TokenEvaluationContext) -> str:
    prior = subject.priors[name]
    given = f", given a {prior.condition.name} each" if prior.condition else ""
    return {
        "uniform": "Every index equally likely.",
        "histogram": f"Token grids seen in training{given}: nothing new.",
        "prior": f"{type(prior).__name__}, temperature 1{given}.",
    }[name]

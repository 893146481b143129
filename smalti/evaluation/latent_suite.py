"""The whole evaluation of a continuous autoencoder: from model and data to one report.

    test images ─▶ encoder ─▶ latents ─▶ reconstructions    MSE, PSNR, SSIM         reconstruction
                                 └─────▶ bounds             ELBO, importance        latents
                                 └─────▶ dimensions         KL, active units        latents
                                 └─────▶ pictures           ways, traversals
    prior ─▶ latents ─▶ decoder ─▶ samples                  Fréchet distance        fidelity
                                                            FID, KID                inception

The rest is as in `suite`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from smalti.autoencoders import VariationalAutoencoder
from smalti.conditions import TimeOfDay
from smalti.data import Splits
from smalti.errors import InputError
from smalti.evaluation.curves import plot_dimensions
from smalti.evaluation.evaluation_context import Limits, check_fits, measuring
from smalti.evaluation.latent_context import LatentEvaluationContext, bound_figures, latent_figures
from smalti.evaluation.report import Picture, Report
from smalti.evaluation.sections import (
    data_facts,
    feature_distances,
    images_in_bits,
    inception,
    parameters,
    read_clocks,
    reconstructions,
    training_curves,
)
from smalti.generation.traversal import traverse
from smalti.modalities.image.pictures import grid
from smalti.priors import GaussianPrior
from smalti.reporting.figures import number
from smalti.synthetic.clock_reader import ClockReader

if TYPE_CHECKING:
    from smalti.generation import ContinuousModel

__all__ = ["evaluate_latents"]

WAYS, STEPS = 6, 9  # interpolations shown, and images of each; of each traversal, too
TRAVERSED = 10  # latent dimensions shown


def evaluate_latents(  # noqa: PLR0913 - as of evaluate
    model: ContinuousModel,
    splits: Splits,
    *,
    curves: Mapping[str, Path | Sequence[Path]] | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    title: str = "What was learned",
) -> Report:
    """Measures a continuous autoencoder and gathers pictures of what it does.

    Arguments:
        model: The autoencoder.
        Others: see `evaluate`, as for what is returned and raised.
    """
    check_fits(model.autoencoder.signal, splits)
    with measuring(seed, model.autoencoder):
        subject = LatentEvaluationContext(model.autoencoder, splits, limits or Limits(), seed)
        report = Report(title)
        with report.attempt("Description"):
            _describe(subject, report)
        reconstructions(subject, report)
        _samples(subject, report)
        _latents(subject, report)
        feature_distances(subject, report)
        inception(subject, report)
        if isinstance(splits.condition, TimeOfDay):
            with report.attempt("Reading of clocks", "clocks"):
                read_clocks(subject, ClockReader(splits.signal.size[0]), report)
            report.missing["Generated clocks"] = "there is no prior conditional on the time."
        training_curves(curves or {}, report)
    return report


def _describe(subject: LatentEvaluationContext, report: Report) -> None:
    """The summary and the facts."""
    splits, model = subject.splits, subject.autoencoder
    report.summary = f"{images_in_bits(splits)}, become {number(model.dim)} real numbers."
    report.facts |= data_facts(splits)
    likelihood = model.likelihood
    given = "" if likelihood is None else f" with the likelihood {type(likelihood).__name__}"
    report.facts["Autoencoder"] = f"{type(model).__name__}{given}, {parameters(model)}"
    report.facts["Seed of the evaluation"] = str(subject.seed)


def _samples(subject: LatentEvaluationContext, report: Report) -> None:
    """Draws from the model's own prior."""
    prior = (
        "N(0, I)"
        if isinstance(subject.autoencoder, VariationalAutoencoder)
        else "the Gaussian of the latents of training images"
    )
    with report.attempt("Picture of samples"):
        images = torch.cat(list(subject.decoded(subject.drawn[: subject.limits.shown])))
        report.pictures["samples/prior"] = Picture(grid(images), f"Latents drawn from {prior}.")


def _latents(subject: LatentEvaluationContext, report: Report) -> None:
    """Bounds, what the dimensions hold, and pictures of ways through the latent space."""
    model = subject.autoencoder
    with report.attempt("Likelihood"):
        if not isinstance(model, VariationalAutoencoder):
            raise InputError("a plain autoencoder is no model of the data's distribution.")
        report.figures["bounds"] = bound_figures(subject, model)
    with report.attempt("What latents say of images", "latents"):
        report.figures["latents"] = latent_figures(subject)
    with report.attempt("Picture of the latent dimensions"):
        what = "variance" if subject.kl is None else "nats (KL)"
        report.pictures["latents/dimensions"] = Picture(
            plot_dimensions(_held(subject), what),
            f"The {what} of each latent dimension on the test set, the largest first.",
        )
    with report.attempt("Picture of interpolations"):
        report.pictures["latents/interpolations"] = Picture(
            grid(_ways(subject), columns=STEPS + 2),
            "Test images at both ends of a row, and between them what the straight line between "
            "their latents is decoded to.",
        )
    with report.attempt("Picture of traversals"):
        (x,) = subject.test_images(subject.order[:1])
        order = _held(subject).argsort(descending=True)[:TRAVERSED]
        reach = 3.0
        prior = GaussianPrior.of(*model.latent_distribution)
        rows = traverse(model, prior, x, order, STEPS, reach).flatten(0, 1)
        report.pictures["latents/traversals"] = Picture(
            grid(rows, columns=STEPS),
            f"One latent dimension a row, from −{reach:g} to {reach:g} standard deviations of the "
            f"prior, the others as of one test image. Dimensions "
            f"{', '.join(map(str, order.tolist()))}: the one that holds most first.",
        )


def _held(subject: LatentEvaluationContext) -> Tensor:
    """Returns what each latent dimension holds, (D,): nats, or the variance of its values."""
    if subject.kl is not None:
        return subject.kl
    return subject.encoded.mean.var(0, correction=min(1, len(subject.encoded.mean) - 1))


def _ways(subject: LatentEvaluationContext) -> Tensor:
    """Interpolations between test images, of different classes where they have any."""
    subject.check_test()
    order, conditions = subject.order, subject.encoded.conditions
    rows: list[Tensor] = []
    for a in order[:WAYS].tolist():
        others = order[order != a] if len(order) > 1 else order
        if conditions is not None and bool((conditions != conditions[a]).any()):
            others = order[conditions[order] != conditions[a]]
        b = others[(a + len(rows)) % len(others)].item()
        x_a, x_b = subject.test_images(torch.tensor([a, b]))
        way = subject.autoencoder.interpolate(x_a, x_b, STEPS)
        rows.append(torch.cat([x_a[None], way, x_b[None]]))
    return torch.cat(rows)

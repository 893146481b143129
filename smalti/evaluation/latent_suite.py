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
from smalti.evaluation.latents import LatentMaterial, bound_figures, latent_figures
from smalti.evaluation.material import Limits, check_fits, measuring
from smalti.evaluation.report import Picture, Report
from smalti.evaluation.sections import (
    closeness,
    data_facts,
    images_in_bits,
    inception,
    parameters,
    read_clocks,
    reconstructions,
    training_curves,
)
from smalti.modalities.image.pictures import grid
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
        material = LatentMaterial(model.autoencoder, splits, limits or Limits(), seed)
        report = Report(title)
        with report.attempt("Description"):
            _describe(material, report)
        reconstructions(material, report)
        _samples(material, report)
        _latents(material, report)
        closeness(material, report)
        inception(material, report)
        if isinstance(splits.condition, TimeOfDay):
            with report.attempt("Reading of clocks", "clocks"):
                read_clocks(material, ClockReader(splits.signal.size[0]), report)
            report.missing["Generated clocks"] = "there is no prior conditional on the time."
        training_curves(curves or {}, report)
    return report


def _describe(material: LatentMaterial, report: Report) -> None:
    """The summary and the facts."""
    splits, model = material.splits, material.autoencoder
    report.summary = f"{images_in_bits(splits)}, become {number(model.dim)} real numbers."
    report.facts |= data_facts(splits)
    likelihood = model.likelihood
    given = "" if likelihood is None else f" with the likelihood {type(likelihood).__name__}"
    report.facts["Autoencoder"] = f"{type(model).__name__}{given}, {parameters(model)}"
    report.facts["Seed of the evaluation"] = str(material.seed)


def _samples(material: LatentMaterial, report: Report) -> None:
    """Draws from the model's own prior."""
    prior = (
        "N(0, I)"
        if isinstance(material.autoencoder, VariationalAutoencoder)
        else "the Gaussian of the latents of training images"
    )
    with report.attempt("Picture of samples"):
        images = torch.cat(list(material.decoded(material.drawn[: material.limits.shown])))
        report.pictures["samples/prior"] = Picture(grid(images), f"Latents drawn from {prior}.")


def _latents(material: LatentMaterial, report: Report) -> None:
    """Bounds, what the dimensions hold, and pictures of ways through the latent space."""
    model = material.autoencoder
    with report.attempt("Likelihood"):
        if not isinstance(model, VariationalAutoencoder):
            raise InputError("a plain autoencoder is no model of the data's distribution.")
        report.figures["bounds"] = bound_figures(material, model)
    with report.attempt("What latents say of images", "latents"):
        report.figures["latents"] = latent_figures(material)
    with report.attempt("Picture of the latent dimensions"):
        what = "variance" if material.kl is None else "nats (KL)"
        report.pictures["latents/dimensions"] = Picture(
            plot_dimensions(_held(material), what),
            f"The {what} of each latent dimension on the test set, the largest first.",
        )
    with report.attempt("Picture of interpolations"):
        report.pictures["latents/interpolations"] = Picture(
            grid(_ways(material), columns=STEPS + 2),
            "Test images at both ends of a row, and between them what the straight line between "
            "their latents is decoded to.",
        )
    with report.attempt("Picture of traversals"):
        (x,) = material.test_images(material.order[:1])
        order = _held(material).argsort(descending=True)[:TRAVERSED]
        reach = 3.0
        rows = model.traverse(x, order, STEPS, reach).flatten(0, 1)
        report.pictures["latents/traversals"] = Picture(
            grid(rows, columns=STEPS),
            f"One latent dimension a row, from −{reach:g} to {reach:g} standard deviations of the "
            f"prior, the others as of one test image. Dimensions "
            f"{', '.join(map(str, order.tolist()))}: the one that holds most first.",
        )


def _held(material: LatentMaterial) -> Tensor:
    """Returns what each latent dimension holds, (D,): nats, or the variance of its values."""
    if material.kl is not None:
        return material.kl
    return material.encoded.mean.var(0, correction=min(1, len(material.encoded.mean) - 1))


def _ways(material: LatentMaterial) -> Tensor:
    """Interpolations between test images, of different classes where they have any."""
    material.check_test()
    order, conditions = material.order, material.encoded.conditions
    rows: list[Tensor] = []
    for a in order[:WAYS].tolist():
        others = order[order != a] if len(order) > 1 else order
        if conditions is not None and bool((conditions != conditions[a]).any()):
            others = order[conditions[order] != conditions[a]]
        b = others[(a + len(rows)) % len(others)].item()
        x_a, x_b = material.test_images(torch.tensor([a, b]))
        way = material.autoencoder.interpolate(x_a, x_b, STEPS)
        rows.append(torch.cat([x_a[None], way, x_b[None]]))
    return torch.cat(rows)

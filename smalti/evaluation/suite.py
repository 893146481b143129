"""The whole evaluation of a model: from its tokenizer, its prior and its data to one report.

    test images ─▶ tokenizer ─▶ reconstructions       MSE, PSNR, SSIM                reconstruction
                       └──────▶ tokens                usage, perplexity              codebook
                                  └─ under a prior    nats, bits                     rate
                       └──────▶ likelihood            bits a dimension               bits
    each prior ─▶ tokens ─▶ decoder ─▶ samples        Fréchet distance, accuracy     fidelity
                                                      FID, KID                       inception
                                                      clocks read back               clocks

Everything is measured on the test split, in evaluation mode, and with draws that depend on the
seed alone. What cannot be measured is named in the report with the reason.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.data import Batch, Label, Splits, TimeOfDay
from smalti.evaluation.bits import tokenizer_bits, uniform_nats
from smalti.evaluation.clock_reader import ClockReader
from smalti.evaluation.clocks import TOLERANCE, asked_times, framed, minutes_off
from smalti.evaluation.codebook import codebook_figures, codeword_counts
from smalti.evaluation.curves import plot_curves, plot_usage, read_curves
from smalti.evaluation.fidelity import features_of, frechet_distance, gaussian
from smalti.evaluation.figures import Figure, figure, number
from smalti.evaluation.inception import inception_distances, inception_features
from smalti.evaluation.material import Limits, Material
from smalti.evaluation.rate import rate_figures
from smalti.evaluation.reconstruction import WINDOW
from smalti.evaluation.report import Picture, Report
from smalti.pictures import grid
from smalti.priors import Prior, TractablePrior
from smalti.priors.base import evaluating

if TYPE_CHECKING:
    from smalti.generation import Model

__all__ = ["evaluate"]

logger = logging.getLogger(__name__)

PAIRS, PAIR_COLUMNS, PAIR_SIDE = 24, 8, 96  # reconstructions shown; px of the shorter side
LABELS, PER_LABEL = 12, 10  # labels shown at most, and samples of each
CLOCKS_READ = 500  # test clocks, to see how well the reader reads

CLASSIFIER = "Accuracy of a classifier and Fréchet distance in its feature space"
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
        histogram: Fitted to the token grids of the training split, for the scheme of that name.
        curves: Of each stage, the `metrics.csv` files of Lightning's CSV logger in the order of
            the starts.
        limits: How much is measured; default: `Limits()`.
        seed: Of every draw.
        title: Of the report.

    Returns:
        The report; its `save` writes it.

    Raises:
        InputError: If the data are not what the model was trained on, or a log of curves cannot be
            read.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(seed)  # an autoregressive likelihood draws what it shows
        for module in (model.tokenizer, model.prior, histogram):
            if module is not None:
                stack.enter_context(evaluating(module))
        material = Material(model, splits, histogram, limits or Limits(), seed)
        report = Report(title)
        _describe(material, report)
        _reconstructions(material, report)
        _codebook(material, report)
        if model.prior is None:
            report.missing |= dict.fromkeys(("Samples", "Rate"), "no prior was learned.")
        else:
            _rate(material, report)
            _samples(material, report)
        _bits(material, report)
        _labels(material, report)
        _inception(material, report)
        if isinstance(splits.condition, TimeOfDay):
            _clocks(material, report)
        _curves(curves or {}, report)
    return report


def _describe(material: Material, report: Report) -> None:
    """The summary and the facts."""
    splits, tokenizer, prior = material.splits, material.tokenizer, material.prior
    positions = material.encoded.indices[0].numel()
    grid_size = "×".join(map(str, material.encoded.indices.shape[1:]))
    (codebook_size, *others) = tokenizer.quantizer.codebook_sizes
    size = "×".join(map(str, (splits.signal.channels, *splits.signal.size)))
    bytes_an_image = splits.signal.channels * splits.signal.size[0] * splits.signal.size[1]
    report.summary = (
        f"Images of {size} values in 8 bits, {number(8 * bytes_an_image)} bits each, become "
        f"{grid_size} = {positions} tokens"
        + ("." if others else f" out of {codebook_size} codewords.")
    )
    report.facts["Data"] = (
        f"{'endless' if splits.train.endless else number(len(splits.train))} training, "
        f"{number(len(splits.validation))} validation and {number(len(splits.test))} test images, "
        f"values in [{splits.signal.low:g}, {splits.signal.high:g}]"
    )
    if isinstance(splits.condition, Label):
        report.facts["Labels"] = ", ".join(splits.condition.names)
    report.facts["Tokenizer"] = (
        f"{_parameters(tokenizer)}; {type(tokenizer.quantizer).__name__} with codebooks of "
        f"{', '.join(map(str, tokenizer.quantizer.codebook_sizes))} × {tokenizer.quantizer.dim}"
    )
    if prior is not None:
        given = f", conditional on the {prior.condition.name}" if prior.condition else ""
        report.facts["Prior"] = f"{type(prior).__name__}, {_parameters(prior)}{given}"
    report.facts["Seed of the evaluation"] = str(material.seed)


def _reconstructions(material: Material, report: Report) -> None:
    """How faithful reconstructions are, with a picture of some."""
    report.figures["reconstruction"] = material.encoded.quality.figures(material.test_set)
    if "ssim" not in report.figures["reconstruction"]:
        report.missing["SSIM"] = f"its window needs images of at least {WINDOW} × {WINDOW} pixels."

    shown = material.order[:PAIRS]
    x = _test_images(material, shown)
    x_hat = torch.cat(list(material.decoded(material.encoded.indices[shown])))
    scale = -(-PAIR_SIDE // min(x.shape[2:]))
    pairs = torch.cat([_opaque(x, gap=1), _opaque(x_hat, gap=0)], dim=2)
    report.pictures["reconstructions"] = Picture(
        grid(pairs, PAIR_COLUMNS, scale, padding=3 * scale),
        "Pairs of test images drawn at random: the original above, its reconstruction below.",
    )


def _codebook(material: Material, report: Report) -> None:
    """How the codewords are used."""
    counts = codeword_counts(material.encoded.indices, material.tokenizer.quantizer.codebook_sizes)
    report.figures["codebook"] = codebook_figures(counts, material.test_set)
    for place, count in enumerate(counts):
        of = f" of codebook {place}" if len(counts) > 1 else ""
        report.pictures[f"codebook/{place}"] = Picture(
            plot_usage(count), f"How often each codeword{of} was chosen in the test set."
        )


def _rate(material: Material, report: Report) -> None:
    """What an image costs in tokens."""
    logger.info("measuring the rate of %d token grids", len(material.test))
    report.figures["rate"] = rate_figures(
        material.schemes,
        material.encoded.indices,
        material.encoded.conditions,
        material.test_set,
        material.limits.batch_size,
    )
    if not isinstance(material.prior, TractablePrior):
        report.missing["Rate of the learned prior"] = "it has no likelihood in closed form."


def _bits(material: Material, report: Report) -> None:
    """What an image costs in all, where the tokenizer says how probable its images are."""
    nll, tokenizer = material.encoded.nll, material.tokenizer
    if nll is None or tokenizer.likelihood is None:
        return
    sizes = tokenizer.quantizer.codebook_sizes
    positions = material.encoded.indices[0].numel() // len(sizes)
    rates = {"uniform": uniform_nats(sizes, positions)}
    for name, figures in report.figures.get("rate", {}).items():
        rates[name] = figures["nats_per_image"]["value"]
    dims = tokenizer.signal.channels * math.prod(tokenizer.signal.size)
    report.figures["bits_per_dim"] = tokenizer_bits(
        rates, nll, tokenizer.likelihood, dims, material.test_set
    )


def _samples(material: Material, report: Report) -> None:
    """Samples of all schemes side by side, and of each label."""
    condition = material.splits.condition
    for name, grids in material.sampled.items():
        images = torch.cat(list(material.decoded(grids[: material.limits.shown])))
        report.pictures[f"samples/{name}"] = Picture(grid(images), _caption(name, material))

    prior = material.prior
    assert prior is not None
    if not isinstance(condition, Label) or prior.condition is None:
        return
    values = torch.linspace(0, condition.dim - 1, min(LABELS, condition.dim)).round().long()
    grids = material.drawn(prior, PER_LABEL * len(values), values.repeat_interleave(PER_LABEL))
    images = torch.cat(list(material.decoded(grids)))
    for value, row in zip(values.tolist(), images.split(PER_LABEL), strict=True):
        report.pictures[f"labels/{value}"] = Picture(
            grid(row, columns=PER_LABEL), condition.format(value)
        )


def _labels(material: Material, report: Report) -> None:
    """With labels: Fréchet distances in a classifier's features, and its accuracy on samples."""
    if not isinstance(material.splits.condition, Label):
        report.missing[CLASSIFIER] = "the data have no labels to train a classifier on."
        return
    if material.compared < 2:
        report.missing[CLASSIFIER] = "it takes at least two images of each kind to compare."
        return
    if material.classifier is None:
        report.missing[CLASSIFIER] = "the classifier was switched off."
        return
    classifier = material.classifier
    logger.info("comparing samples with test images")
    test = gaussian(
        features_of(classifier, _pixels(material.images(material.splits.test, material.test)))
    )
    protocol = (
        f"N = {number(material.compared)} images of each line against the {material.test_set}; "
        f"squared distance of Gaussians fitted to the {len(test.mean)} features of the classifier, "
        f"not Inception; images in [-1, 1]; a small N biases it upwards"
    )
    features = {name: features_of(classifier, images) for name, images in material.sets()}
    report.figures["frechet"] = {
        name: figure(frechet_distance(gaussian(found), test), "", protocol)
        for name, found in features.items()
    }
    report.figures["conditional_accuracy"] = _accuracies(material, features)
    if material.prior is None or material.prior.condition is None:
        report.missing[ACCURACY] = "there is no prior conditional on the label."


def _accuracies(material: Material, features: Mapping[str, Tensor]) -> dict[str, Figure]:
    """The share of images that the classifier gives the label they should have."""
    classifier, n = material.classifier, material.compared
    assert classifier is not None
    assert material.contexts is not None
    trained = (
        f"classifier trained on the training split for {material.limits.classifier_steps} steps"
    )
    test = classifier.accuracy(material.images(material.splits.test, material.test))
    figures = {"test": figure(test, "share", f"{trained}; {material.test_set}")}
    conditional = [name for name, prior in material.schemes.items() if prior.condition]
    for name in ("reconstructions", *conditional):
        # contexts[:n] are also the labels of the reconstructions: both follow the same order.
        said = classifier.head(features[name].to(material.device)).argmax(1).cpu()
        figures[name] = figure(
            (said == material.contexts[:n]).double().mean().item(),
            "share",
            f"{trained}; N = {number(n)} of each line, labels as frequent as in the test set",
        )
    return figures


def _inception(material: Material, report: Report) -> None:
    """FID and KID, where Inception's weights are there."""
    if isinstance(material.inception, str):
        report.missing["FID and KID"] = material.inception
        return
    if material.compared < 2:
        report.missing["FID and KID"] = "it takes at least two images of each kind to compare."
        return
    network = material.inception
    logger.info("comparing samples with test images in Inception's features")
    test = inception_features(
        network, _pixels(material.images(material.splits.test, material.test))
    )
    protocol = (
        f"Inception v3 pool features of 8-bit images resized to 299 × 299; "
        f"N = {number(material.compared)} images of each line against the {material.test_set}"
    )
    fid, kid = {}, {}
    for name, images in material.sets():
        distances = inception_distances(test, inception_features(network, images), material.seed)
        fid[name] = figure(distances.fid, "", f"{protocol}; a small N biases FID upwards")
        kid[name] = figure(
            distances.kid, "", f"{protocol}; mean of 100 subsets of {distances.subset}"
        )
    report.figures["inception"] = {"fid": fid, "kid": kid}


def _clocks(material: Material, report: Report) -> None:
    """How many real and reconstructed clocks are read right, then how many generated ones."""
    logger.info("reading clocks")
    reader = ClockReader(material.splits.signal.size[0])
    chosen = material.order[:CLOCKS_READ]
    x = _test_images(material, chosen)
    assert material.encoded.conditions is not None
    times = material.encoded.conditions[chosen]
    protocol = (
        f"read by matching of rendered templates; right is at most {TOLERANCE} minutes off on the "
        f"12-hour dial; N = {number(len(chosen))} of the test set"
    )
    figures = {
        "reconstructions": minutes_off(
            reader, material.decoded(material.encoded.indices[chosen]), times
        ),
        "test": minutes_off(reader, [x], times),
    }
    report.figures["clocks"] = {
        name: figure(_right(off).double().mean().item(), "share", protocol)
        for name, off in figures.items()
    }
    if material.prior is None or material.prior.condition is None:
        report.missing["Generated clocks"] = "there is no prior conditional on the time."
        return
    _generated_clocks(material, material.prior, reader, report)


def _generated_clocks(
    material: Material, prior: Prior, reader: ClockReader, report: Report
) -> None:
    """How many generated clocks show the time they were asked for, with a picture of them all."""
    asked = asked_times()
    images = torch.cat(list(material.decoded(material.drawn(prior, len(asked), asked))))
    off = minutes_off(reader, [images], asked)
    protocol = (
        f"N = {len(asked)}: one clock for every 5 minutes of 12 hours, temperature 1, "
        f"seed {material.seed}; read by matching of rendered templates"
    )
    wrong = int((~_right(off)).sum())
    report.figures["clocks"] |= {
        "generated": figure(
            1 - wrong / len(asked), "share", f"{protocol}; right is at most {TOLERANCE} minutes off"
        ),
        "median_error": figure(off.median().item(), "minutes", protocol),
    }
    frames = f" A red frame: read more than {TOLERANCE} minutes off ({wrong})." if wrong else ""
    report.pictures["clocks"] = Picture(
        grid(framed(images, ~_right(off)), columns=12, padding=0),
        f"One row an hour from 12:00 on, one column every 5 minutes.{frames}",
    )


def _curves(curves: Mapping[str, Path | Sequence[Path]], report: Report) -> None:
    """The training curves of each stage, and how long it took."""
    taken = []
    for stage, files in curves.items():
        read = read_curves(files)
        if seconds := read.pop("seconds", None):
            taken.append(f"{stage} {number(round(seconds['train'][-1][1]))} s")
        for quantity, splits in read.items():
            report.pictures[f"curves/{stage}/{quantity}"] = Picture(
                plot_curves(quantity, splits), f"{quantity} of the {stage} over the steps"
            )
    if taken:
        report.facts["Training"] = ", ".join(taken)
    if not report.under("curves"):
        report.missing["Training curves"] = "no log of them was found."


def _caption(scheme: str, material: Material) -> str:
    prior = material.schemes[scheme]
    given = f", given a {prior.condition.name} each" if prior.condition else ""
    return {
        "uniform": "Every index equally likely.",
        "histogram": f"Token grids seen in training{given}: nothing new.",
        "prior": f"{type(prior).__name__}, temperature 1{given}.",
    }[scheme]


def _right(off: Tensor) -> Tensor:
    return off <= TOLERANCE


def _pixels(images: Iterator[Batch]) -> Iterator[Tensor]:
    return (batch.x for batch in images)


def _test_images(material: Material, chosen: Tensor) -> Tensor:
    """Those of the test examples that are measured with these numbers (n,): (n, C, H, W)."""
    numbers = [material.test[i] for i in chosen.tolist()]
    return torch.cat([batch.x for batch in material.images(material.splits.test, numbers)])


def _opaque(x: Tensor, gap: int) -> Tensor:
    """Images with a channel of opacity, and below them a transparent gap."""
    return F.pad(torch.cat([x, torch.ones_like(x[:, :1])], dim=1), (0, 0, 0, gap), value=-1.0)


def _parameters(module: nn.Module) -> str:
    return f"{number(sum(parameter.numel() for parameter in module.parameters()))} parameters"

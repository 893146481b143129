"""The measurements that are the same for every kind of model.

They see a `Material`: test images and their reconstructions, and sets of samples, wherever these
come from. What is measured of tokens is in `suite`, what of latent vectors in `latent_suite`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.data import Batch, Label, Splits
from smalti.evaluation.clock_reader import ClockReader
from smalti.evaluation.clocks import TOLERANCE, minutes_off
from smalti.evaluation.curves import overfitted, plot_curves, read_curves
from smalti.evaluation.fidelity import features_of, frechet_distance, gaussian
from smalti.evaluation.figures import Figure, figure, number
from smalti.evaluation.inception import inception_distances, inception_features
from smalti.evaluation.material import Material
from smalti.evaluation.reconstruction import WINDOW
from smalti.evaluation.report import Picture, Report
from smalti.pictures import grid

__all__ = [
    "closeness",
    "data_facts",
    "images_in_bits",
    "inception",
    "parameters",
    "read_clocks",
    "reconstructions",
    "right",
    "training_curves",
]

logger = logging.getLogger(__name__)

PAIRS, PAIR_COLUMNS, PAIR_SIDE = 24, 8, 96  # reconstructions shown; px of the shorter side
CLOCKS_READ = 500  # test clocks, to see how well the reader reads

CLASSIFIER = "Accuracy of a classifier and Fréchet distance in its feature space"


def data_facts(splits: Splits) -> dict[str, str]:
    """The data, in words."""
    facts = {
        "Data": (
            f"{'endless' if splits.train.endless else number(len(splits.train))} training, "
            f"{number(len(splits.validation))} validation and {number(len(splits.test))} test "
            f"images, values in [{splits.signal.low:g}, {splits.signal.high:g}]"
        )
    }
    if isinstance(splits.condition, Label):
        facts["Labels"] = ", ".join(splits.condition.names)
    return facts


def images_in_bits(splits: Splits) -> str:
    """What an image is, in words."""
    sides = (splits.signal.channels, *splits.signal.size)
    size = "×".join(map(str, sides))
    return f"Images of {size} values in 8 bits, {number(8 * math.prod(sides))} bits each"


def reconstructions(material: Material, report: Report) -> None:
    """How faithful reconstructions are, with a picture of some."""
    report.figures["reconstruction"] = material.encoded.quality.figures(material.test_set)
    if "ssim" not in report.figures["reconstruction"]:
        report.missing["SSIM"] = f"its window needs images of at least {WINDOW} × {WINDOW} pixels."

    shown = material.order[:PAIRS]
    x = material.test_images(shown)
    x_hat = torch.cat(list(material.reconstructed(shown)))
    scale = -(-PAIR_SIDE // min(x.shape[2:]))
    pairs = torch.cat([_opaque(x, gap=1), _opaque(x_hat, gap=0)], dim=2)
    report.pictures["reconstructions"] = Picture(
        grid(pairs, PAIR_COLUMNS, scale, padding=3 * scale),
        "Pairs of test images drawn at random: the original above, its reconstruction below.",
    )


def closeness(material: Material, report: Report) -> None:
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
    for name in ("reconstructions", *material.conditional):
        # contexts[:n] are also the labels of the reconstructions: both follow the same order.
        said = classifier.head(features[name].to(material.device)).argmax(1).cpu()
        figures[name] = figure(
            (said == material.contexts[:n]).double().mean().item(),
            "share",
            f"{trained}; N = {number(n)} of each line, labels as frequent as in the test set",
        )
    return figures


def inception(material: Material, report: Report) -> None:
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


def read_clocks(material: Material, reader: ClockReader, report: Report) -> None:
    """How many real and reconstructed clocks are read right."""
    logger.info("reading clocks")
    chosen = material.order[:CLOCKS_READ]
    x = material.test_images(chosen)
    assert material.encoded.conditions is not None
    times = material.encoded.conditions[chosen]
    protocol = (
        f"read by matching of rendered templates; right is at most {TOLERANCE} minutes off on the "
        f"12-hour dial; N = {number(len(chosen))} of the test set"
    )
    figures = {
        "reconstructions": minutes_off(reader, material.reconstructed(chosen), times),
        "test": minutes_off(reader, [x], times),
    }
    report.figures["clocks"] = {
        name: figure(right(off).double().mean().item(), "share", protocol)
        for name, off in figures.items()
    }


def training_curves(curves: Mapping[str, Path | Sequence[Path]], report: Report) -> None:
    """The training curves of each stage, and how long it took."""
    taken, lengths = [], []
    for stage, files in curves.items():
        read = read_curves(files)
        if seconds := read.pop("seconds", None):
            taken.append(f"{stage} {number(round(seconds['train'][-1][1]))} s")
        losses = read.get("loss", {})
        steps = max((points[-1][0] + 1 for points in losses.values() if points), default=0)
        if steps:
            lengths.append(f"{stage} {number(steps)}")
        if rose := overfitted(losses.get("validation", [])):
            step, last, lowest, end = rose
            report.facts[f"Overfitting of the {stage}"] = (
                f"the {stage} overfitted from step {number(step)} on: its validation loss rose "
                f"from {lowest:.4g} there to {end:.4g} at step {number(last)}"
            )
        for quantity, splits in read.items():
            report.pictures[f"curves/{stage}/{quantity}"] = Picture(
                plot_curves(quantity, splits), f"{quantity} of the {stage} over the steps"
            )
    if taken:
        report.facts["Training"] = ", ".join(taken)
    if lengths:
        report.facts["Steps taken"] = ", ".join(lengths)
    if not report.under("curves"):
        report.missing["Training curves"] = "no log of them was found."


def right(off: Tensor) -> Tensor:
    """Which of so many minutes off count as read right."""
    return off <= TOLERANCE


def _pixels(images: Iterator[Batch]) -> Iterator[Tensor]:
    return (batch.x for batch in images)


def _opaque(x: Tensor, gap: int) -> Tensor:
    """Images with a channel of opacity, and below them a transparent gap."""
    return F.pad(torch.cat([x, torch.ones_like(x[:, :1])], dim=1), (0, 0, 0, gap), value=-1.0)


def parameters(module: nn.Module) -> str:
    """How many parameters, in words."""
    return f"{number(sum(parameter.numel() for parameter in module.parameters()))} parameters"

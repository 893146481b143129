"""The measurements that are the same for every kind of model.

They see an `EvaluationContext`: test images and their reconstructions, and sets of samples,
wherever these come from. What is measured of tokens is in `suite`, what of latent
vectors in `latent_suite`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.conditions import Label
from smalti.counting import counted
from smalti.data import Batch, Splits
from smalti.errors import InputError
from smalti.evaluation.classifier import Classifier
from smalti.evaluation.curves import overfitted, plot_curves, read_curves
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.fidelity import features_of, frechet_distance, gaussian
from smalti.evaluation.report import Picture, Report
from smalti.modalities.image.inception import Inception, inception_distances, inception_features
from smalti.modalities.image.metrics import WINDOW
from smalti.modalities.image.pictures import grid
from smalti.reporting.figures import Figure, figure, number
from smalti.signals import Bounded
from smalti.synthetic.clock_reader import ClockReader
from smalti.synthetic.clock_reading import TOLERANCE, minutes_off

__all__ = [
    "CLASSIFIER",
    "WORDS",
    "feature_distances",
    "data_facts",
    "images_in_bits",
    "inception",
    "parameters",
    "read_clocks",
    "reconstructions",
    "within_tolerance",
    "training_curves",
]

logger = logging.getLogger(__name__)

PAIRS, PAIR_COLUMNS, PAIR_SIDE = 24, 8, 96  # reconstructions shown; px of the shorter side
NAMED = 50  # labels listed at most
CLOCKS_READ = 500  # test clocks, to see how well the reader reads

CLASSIFIER = "Accuracy of a classifier and Fréchet distance in its feature space"
FID = "FID and KID"
WORDS = {
    "train": "training images",
    "test": "test images",
    "reconstructions": "reconstructions",
    "uniform": "samples of the uniform prior",
    "histogram": "samples of the histogram",
    "prior": "samples of the learned prior",
}


def data_facts(splits: Splits) -> dict[str, str]:
    """The data, in words."""
    signal = splits.signal
    values = f", values in [{signal.low:g}, {signal.high:g}]" if isinstance(signal, Bounded) else ""
    facts = {
        "Data": (
            f"{'endless' if splits.train.endless else number(len(splits.train))} training, "
            f"{number(len(splits.validation))} validation and {number(len(splits.test))} test "
            f"images{values}"
        )
    }
    if isinstance(splits.condition, Label):
        names = list(splits.condition.names)
        more = f", … ({number(len(names))} in all)" if len(names) > NAMED else ""
        facts["Labels"] = ", ".join(names[:NAMED]) + more
    return facts


def images_in_bits(splits: Splits) -> str:
    """What an image is, in words."""
    sides = (splits.signal.channels, *splits.signal.size)
    size = "×".join(map(str, sides))
    return f"Images of {size} values in 8 bits, {number(8 * math.prod(sides))} bits each"


def reconstructions(subject: EvaluationContext, report: Report) -> None:
    """How faithful reconstructions are, with a picture of some."""
    with report.attempt("Quality of reconstructions", "reconstruction"):
        report.figures["reconstruction"] = subject.encoded.quality.figures(subject.test_set)
        if "ssim" not in report.figures["reconstruction"]:
            why = f"its window needs images of at least {WINDOW} × {WINDOW} pixels."
            report.leave_out("SSIM", why, "reconstruction/ssim")
    with report.attempt("Picture of reconstructions"):
        shown = subject.order[:PAIRS]
        x = subject.test_images(shown)
        x_hat = torch.cat(list(subject.reconstructed(shown)))
        scale = -(-PAIR_SIDE // min(x.shape[2:]))
        pairs = torch.cat([_opaque(x, gap=1), _opaque(x_hat, gap=0)], dim=2)
        report.pictures["reconstructions"] = Picture(
            grid(pairs, PAIR_COLUMNS, scale, padding=3 * scale),
            "Pairs of test images drawn at random: the original above, its reconstruction below.",
        )


def feature_distances(subject: EvaluationContext, report: Report) -> None:
    """With labels: Fréchet distances in a classifier's features, and its accuracy on samples."""
    with report.attempt(CLASSIFIER, "frechet"):
        if not isinstance(subject.splits.condition, Label):
            raise InputError("the data have no labels to train a classifier on.")
        if subject.compared < 2:
            raise InputError("it takes at least two images of each kind to compare.")
        if subject.classifier is None:
            raise InputError("the classifier was switched off.")
        logger.info("comparing samples with test images")
        _frechet(subject, subject.classifier, report)


def _frechet(subject: EvaluationContext, classifier: Classifier, report: Report) -> None:
    test = gaussian(
        features_of(classifier, _pixels(subject.images(subject.splits.test, subject.test)))
    )
    protocol = (
        f"N = {number(subject.compared)} images of each line against the {subject.test_set}; "
        f"squared distance of Gaussians fitted to the {len(test.mean)} features of the classifier, "
        f"not Inception; images in [-1, 1]; a small N biases it upwards"
    )
    report.figures["frechet"] = {}
    features: dict[str, Tensor] = {}
    for name, images in subject.sets().items():
        with report.attempt(f"Fréchet distance of {WORDS[name]}", f"frechet/{name}"):
            features[name] = features_of(classifier, images())
            distance = frechet_distance(gaussian(features[name]), test)
            report.figures["frechet"][name] = figure(distance, "", protocol)
    with report.attempt("Accuracy of the classifier", "conditional_accuracy"):
        report.figures["conditional_accuracy"] = _accuracies(subject, classifier, features)


def _accuracies(
    subject: EvaluationContext, classifier: Classifier, features: Mapping[str, Tensor]
) -> dict[str, Figure]:
    """The share of images that the classifier gives the label they should have."""
    n, contexts = subject.compared, subject.contexts
    if contexts is None:
        raise InputError("The test images have no labels: give them some.")
    steps = counted(subject.limits.classifier_steps, "step")
    trained = f"classifier trained on the training split for {steps}"
    test = classifier.accuracy(subject.images(subject.splits.test, subject.test))
    figures = {"test": figure(test, "share", f"{trained}; {subject.test_set}")}
    for name in ("reconstructions", *subject.conditional):
        if name not in features:  # its Fréchet distance says why
            continue
        # contexts[:n] are also the labels of the reconstructions: both follow the same order.
        said = classifier.head(features[name].to(subject.device)).argmax(1).cpu()
        figures[name] = figure(
            (said == contexts[:n]).double().mean().item(),
            "share",
            f"{trained}; N = {number(n)} of each line, labels as frequent as in the test set",
        )
    return figures


def inception(subject: EvaluationContext, report: Report) -> None:
    """FID and KID, where Inception's weights are there."""
    with report.attempt(FID):
        network = subject.inception
        if isinstance(network, str):
            raise InputError(network)
        if subject.compared < 2:
            raise InputError("it takes at least two images of each kind to compare.")
        logger.info("comparing samples with test images in Inception's features")
        _inception(subject, network, report)


def _inception(subject: EvaluationContext, network: Inception, report: Report) -> None:
    test = inception_features(network, _pixels(subject.images(subject.splits.test, subject.test)))
    protocol = (
        f"Inception v3 pool features of 8-bit images resized to 299 × 299; "
        f"N = {number(subject.compared)} images of each line against the {subject.test_set}"
    )
    fid: dict[str, Figure] = {}
    kid: dict[str, Figure] = {}
    report.figures["inception"] = {"fid": fid, "kid": kid}
    for name, images in subject.sets().items():
        with report.attempt(f"FID and KID of {WORDS[name]}", f"inception/fid/{name}"):
            features = inception_features(network, images())
            distances = inception_distances(test, features, subject.seed)
            fid[name] = figure(distances.fid, "", f"{protocol}; a small N biases FID upwards")
            kid[name] = figure(
                distances.kid, "", f"{protocol}; mean of 100 subsets of {distances.subset}"
            )


def read_clocks(subject: EvaluationContext, reader: ClockReader, report: Report) -> None:
    """How many real and reconstructed clocks are read right."""
    logger.info("reading clocks")
    chosen = subject.order[:CLOCKS_READ]
    protocol = (
        f"read by matching of rendered templates; right is at most {TOLERANCE} minutes off on the "
        f"12-hour dial; N = {number(len(chosen))} of the test set"
    )
    sets: dict[str, Callable[[], Iterable[Tensor]]] = {
        "reconstructions": lambda: subject.reconstructed(chosen),
        "test": lambda: [subject.test_images(chosen)],
    }
    report.figures["clocks"] = {}
    for name, images in sets.items():
        with report.attempt(f"Times read off {WORDS[name]}", f"clocks/{name}"):
            times = subject.encoded.conditions
            assert times is not None
            off = minutes_off(reader, images(), times[chosen])
            share = within_tolerance(off).double().mean().item()
            report.figures["clocks"][name] = figure(share, "share", protocol)


def training_curves(curves: Mapping[str, Path | Sequence[Path]], report: Report) -> None:
    """The training curves of each stage, and how long it took."""
    taken, lengths = [], []
    for stage, files in curves.items():
        with report.attempt(f"Training curves of the {stage}"):
            read = read_curves(files)
            if seconds := read.pop("seconds", {}).get("train"):
                taken.append(f"{stage} {number(round(seconds[-1][1]))} s")
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
                with report.attempt(f"Curve of {quantity} of the {stage}"):
                    report.pictures[f"curves/{stage}/{quantity}"] = Picture(
                        plot_curves(quantity, splits), f"{quantity} of the {stage} over the steps"
                    )
    if taken:
        report.facts["Training"] = ", ".join(taken)
    if lengths:
        report.facts["Steps taken"] = ", ".join(lengths)
    if not report.under("curves") and not any("curves of" in name for name in report.missing):
        report.missing["Training curves"] = "no log of them was found."


def within_tolerance(off: Tensor) -> Tensor:
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

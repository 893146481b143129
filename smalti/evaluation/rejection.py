"""Classifier-based rejection sampling: fewer samples, and each a clearer case of its label.

Of many samples x of a conditional prior, each asked to show a label y, only those are kept that a
classifier is surest of: of each label the share s with the highest p(y | x). A small s trades
diversity for quality. The curve over s shows both: the share of kept samples that show their label
grows, and the Fréchet distance first falls, as bad samples go, then rises, as variety goes too.

The classifier that chooses is not the one that judges: two are trained on the training split, with
other seeds. The Fréchet distance is biased by the number of examples, so the same number is kept
for every s, out of more samples the smaller s is.

References:
    Generating Diverse High-Fidelity Images with VQ-VAE-2, A. Razavi, A. van den Oord and O.
    Vinyals, 2019, arXiv 1906.00446, section 3.4.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from smalti.conditions import Label
from smalti.evaluation.classifier import Classifier, train_classifier
from smalti.evaluation.curves import plot_rejection
from smalti.evaluation.evaluation_context import TokenEvaluationContext
from smalti.evaluation.fidelity import features_of, frechet_distance, gaussian
from smalti.evaluation.report import Picture, Report
from smalti.evaluation.sections import CLASSIFIER
from smalti.modalities.image.pictures import grid
from smalti.priors import Prior
from smalti.reporting.figures import figure, number

__all__ = ["rejection", "top_fraction"]

logger = logging.getLogger(__name__)

SHARES = (1.0, 0.5, 0.25)
LEAST = 8  # samples that are compared, at the smallest share


def top_fraction(scores: Tensor, labels: Tensor, share: float) -> Tensor:
    """The numbers of the best of each label: ⌈share · its count⌉ of them, in order.

    Arguments:
        scores: (N,), e.g. p(label | x) of each sample.
        labels: (N,), int64.
        share: Above 0, at most 1.

    Example:
        >>> top_fraction(torch.tensor([0.1, 0.9, 0.5, 0.2]), torch.tensor([0, 0, 1, 1]), 0.5)
        tensor([1, 2])
    """
    kept = []
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        count = -int(-len(own) * share // 1)
        kept.append(own[scores[own].topk(count).indices])
    return torch.cat(kept).sort().values


def rejection(subject: TokenEvaluationContext, report: Report) -> None:
    """With labels and a prior conditional on them: quality and diversity over the share kept."""
    prior, n = subject.prior, subject.compared // 2
    if prior is None or not isinstance(prior.condition, Label):
        return
    if CLASSIFIER in report.missing or n < LEAST:  # why is said there
        return
    with report.attempt("Rejection sampling", "rejection"):
        _measure(subject, prior, n, report)


def _measure(subject: TokenEvaluationContext, prior: Prior, n: int, report: Report) -> None:
    logger.info("sampling with rejection")
    assert subject.contexts is not None
    drawn = round(n / min(SHARES))
    labels = subject.contexts[torch.arange(drawn) % subject.compared]
    tokens = subject.drawn(prior, drawn, labels)
    features, scores = _seen(subject, tokens, labels)
    chosen = {share: top_fraction(scores[:k], labels[:k], share) for share, k in _drawn(n).items()}
    _figures(subject, report, {s: (features[c], labels[c]) for s, c in chosen.items()}, n)
    shown = [indices[: subject.limits.shown] for indices in chosen.values()]
    for share, indices in zip(chosen, shown, strict=True):
        if share in (max(SHARES), min(SHARES)):
            report.pictures[f"rejection/{share:g}"] = Picture(
                grid(torch.cat(list(subject.decoded(tokens[indices])))),
                f"Samples of the learned prior, the best {share:.0%} of each label.",
            )


def _drawn(n: int) -> dict[float, int]:
    """Samples drawn for each share, so that about n are kept."""
    return {share: round(n / share) for share in SHARES}


def _seen(subject: TokenEvaluationContext, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of samples: features of the classifier that judges (N, F), p(label | x) of the other (N,)."""
    limits = subject.limits
    with torch.enable_grad():
        chooser = train_classifier(
            subject.splits, limits.classifier_steps, subject.seed + 1, subject.device
        )
    assert isinstance(subject.classifier, Classifier)
    features, probabilities = [], []
    for images in subject.decoded(tokens):
        features.append(features_of(subject.classifier, [images]))
        probabilities.append(chooser(images).softmax(1).cpu())
    return torch.cat(features), torch.cat(probabilities).gather(1, labels[:, None])[:, 0]


def _figures(
    subject: TokenEvaluationContext,
    report: Report,
    kept: dict[float, tuple[Tensor, Tensor]],
    n: int,
) -> None:
    """Accuracy and Fréchet distance for each share, as figures and as a curve."""
    judge = subject.classifier
    assert judge is not None
    images = (batch.x for batch in subject.images(subject.splits.test, subject.test))
    test = gaussian(features_of(judge, images))
    curve: dict[str, Any] = {}
    for share, (features, labels) in kept.items():
        said = judge.head(features.to(subject.device)).argmax(1).cpu()
        protocol = (
            f"about {number(n)} samples kept of {number(_drawn(n)[share])}, of each label the best "
            f"{share:.0%} by a second classifier of another seed; judged by the classifier of this "
            f"report against the {subject.test_set}"
        )
        curve[f"{share:g}"] = {
            "accuracy": figure((said == labels).double().mean().item(), "share", protocol),
            "frechet": figure(frechet_distance(gaussian(features), test), "", protocol),
        }
    report.figures["rejection"] = curve
    report.pictures["rejection-curve"] = Picture(
        plot_rejection(
            list(kept),
            [figures["accuracy"]["value"] for figures in curve.values()],
            [figures["frechet"]["value"] for figures in curve.values()],
        ),
        "Quality against diversity: what is kept of the samples, and what becomes of it.",
    )

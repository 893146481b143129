"""Classifier-based rejection sampling: keeps the samples that the classifier is surest of.

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
from typing import Any, ClassVar

import torch
from torch import Tensor

from smalti.conditions import Label
from smalti.errors import InputError
from smalti.evaluation.classifier import train_classifier
from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.evaluation.measurements.frechet import (
    classifier_features,
    fit_gaussian,
    frechet_distance,
)
from smalti.evaluation.plots import plot_rejection
from smalti.reporting import Block, Measurement, Plot, Section, SideBySide, Table, Text, figure
from smalti.reporting.figures import number, protocols

__all__ = ["Rejection", "top_fraction"]

logger = logging.getLogger(__name__)

SHARES = (1.0, 0.5, 0.25)
LEAST = 8  # samples that are compared, at the smallest share


class Rejection(Measurement[EvaluationContext]):
    """Measures quality and diversity of samples over the share kept by rejection sampling."""

    key: ClassVar[str] = "rejection"
    title: ClassVar[str] = "Rejection sampling"
    chapter: ClassVar[str] = "Samples"
    file_names: ClassVar[str] = r"rejection-[\w.]+"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        conditional = subject.prior is not None and subject.prior.condition is not None
        if not conditional or not isinstance(subject.splits.condition, Label):
            return "there is no prior conditional on a label."
        if subject.compared // 2 < LEAST:
            return f"it compares {LEAST} samples at least at each share."
        try:
            assert subject.classifier is not None
        except InputError as error:
            return f"there is no classifier: {error}"
        return None

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        logger.info("sampling with rejection")
        section, prior, n = self.section(), subject.prior, subject.compared // 2
        assert prior is not None
        assert subject.contexts is not None
        drawn = round(n / min(SHARES))
        labels = subject.contexts[torch.arange(drawn) % subject.compared]
        tokens = subject.drawn(prior, drawn, labels)
        features, scores = _judged(subject, tokens, labels)
        chosen = {
            share: top_fraction(scores[:k], labels[:k], share) for share, k in _drawn(n).items()
        }
        kept = {share: (features[rows], labels[rows]) for share, rows in chosen.items()}
        section.figures = _figures(subject, kept, n)
        section.blocks["introduction"] = Text(
            "Of each label only those samples that a second classifier is surest of: the fewer are "
            "kept, the clearer cases they are, and the less they vary."
        )
        blocks: dict[str, Block] = {"curve": _plot(section.figures)}
        for share in (max(SHARES), min(SHARES)):
            shown = tokens[chosen[share][: subject.limits.shown]]
            blocks[f"{share:g}"] = subject.modality.render(
                torch.cat(list(subject.decoded(shown))),
                "Samples of the learned prior, all of each label."
                if share == 1
                else f"Samples of the learned prior, the best {share:.0%} of each label.",
                signal=subject.splits.signal,
            )
        section.blocks["rejection"] = SideBySide(blocks)
        section.blocks["table"] = Table(
            ("Share kept", "Show their label", "Fréchet distance"),
            {
                f"{float(share):.0%}": [f["accuracy"], f["frechet"]]
                for share, f in section.figures.items()
            },
            notes=protocols(section.figures),
        )
        return section


def top_fraction(scores: Tensor, labels: Tensor, share: float) -> Tensor:
    """Selects the samples with the highest scores of each label: ⌈share · count⌉ row numbers.

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


def _drawn(n: int) -> dict[float, int]:
    """Returns how many samples to draw for each share, so that about n are kept."""
    return {share: round(n / share) for share in SHARES}


def _judged(subject: EvaluationContext, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns features (N, F) of samples from the classifier that judges them.

    Also p(label | x), (N,), from a second classifier that chooses among them.
    """
    steps = subject.limits.classifier_steps
    with torch.enable_grad():
        chooser = train_classifier(subject.splits, steps, subject.seed + 1, subject.device)
    features, probabilities = [], []
    for signals in subject.decoded(tokens):
        features.append(classifier_features(subject.classifier, [signals]))
        probabilities.append(chooser(signals).softmax(1).cpu())
    return torch.cat(features), torch.cat(probabilities).gather(1, labels[:, None])[:, 0]


def _figures(
    subject: EvaluationContext, kept: dict[float, tuple[Tensor, Tensor]], n: int
) -> dict[str, Any]:
    """Returns the accuracy and Fréchet distance for each share."""
    test = fit_gaussian(subject.test_features)
    found: dict[str, Any] = {}
    for share, (features, labels) in kept.items():
        said = subject.classifier.head(features.to(subject.device)).argmax(1).cpu()
        protocol = (
            f"about {number(n)} samples kept of {number(_drawn(n)[share])}, of each label the best "
            f"{share:.0%} by a second classifier of another seed; judged by the classifier of this "
            f"report against the {subject.test_set}"
        )
        found[f"{share:g}"] = {
            "accuracy": figure((said == labels).double().mean().item(), "share", protocol),
            "frechet": figure(frechet_distance(fit_gaussian(features), test), "", protocol),
        }
    return found


def _plot(found: dict[str, Any]) -> Plot:
    """Plots accuracy and Fréchet distance over the share of samples that is kept."""
    return Plot(
        plot_rejection(
            [float(share) for share in found],
            [figures["accuracy"]["value"] for figures in found.values()],
            [figures["frechet"]["value"] for figures in found.values()],
        ),
        "Quality against diversity: what is kept of the samples, and what becomes of it.",
    )

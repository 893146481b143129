"""The Fréchet distance of generated signals to real ones, in features learned of the same data.

Two sets of features with means μ and covariances Σ are compared as if both were Gaussian. The
Fréchet distance of those is

    d² = ‖μ_a − μ_b‖² + tr(Σ_a) + tr(Σ_b) − 2 tr (Σ_a^½ Σ_b Σ_a^½)^½

It is 0 only if means and covariances agree. With Inception features it is called FID; here the
features are those of a small classifier that was trained on the data's own labels, or without
labels those of `smalti.evaluation.features`, so the numbers of two data sets, or of two trainings,
cannot be compared. Those of one report can: the same features, the same reference set and the same
N for each line. Few examples bias it upwards, for the covariance of few is too narrow in some
directions; two references show by how much:

* training against test examples: what a perfect generator would reach at this N;
* reconstructions of test examples: what the tokenizer allows, however good the prior.

References:
    GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, M. Heusel et
    al., 2017, arXiv 1706.08500.
    Effectively Unbiased FID and Inception Score and where to find them, M. J. Chong and D. Forsyth,
    2020, arXiv 1911.07023.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from smalti.evaluation.evaluation_context import EvaluationContext
from smalti.modalities.base import Classifier
from smalti.reporting import Card, SampleComparison, Section, Table, Text, display, figure
from smalti.reporting.figures import number, protocols
from smalti.signals import Bounded

__all__ = [
    "FeatureDistances",
    "FeatureGaussian",
    "classifier_features",
    "frechet_distance",
    "fit_gaussian",
]

logger = logging.getLogger(__name__)


class FeatureGaussian(NamedTuple):
    """The Gaussian that is fitted to a set of features, for their Fréchet distance.

    Attributes:
        mean: μ (D,), float64.
        covariance: Σ (D, D), float64, with the divisor n − 1.
        n: The number of examples.
    """

    mean: Tensor
    covariance: Tensor
    n: int


class FeatureDistances(SampleComparison[EvaluationContext]):
    """Measures how close training examples, reconstructions and samples are to test examples.

    It is the Fréchet distance of Gaussians fitted to features, as FID is, but those of a small
    network that is trained on the same data: see `EvaluationContext.feature_space`.
    """

    key: ClassVar[str] = "frechet"
    title: ClassVar[str] = "Fréchet distance"
    chapter: ClassVar[str] = "Samples"

    def applies(self, subject: EvaluationContext) -> str | None:
        """See `Measurement.applies`."""
        return subject.without_samples

    def compares(self, subject: EvaluationContext) -> bool:
        """See `SampleComparison.compares`."""
        return subject.can_compare

    def run(self, subject: EvaluationContext) -> Section:
        """See `Measurement.run`."""
        test = fit_gaussian(subject.test_features)
        plural = subject.splits.signal.plural
        logger.info("comparing samples with test %s", plural)
        protocol = (
            f"N = {number(subject.compared)} {plural} of each line against the {subject.test_set}; "
            f"squared distance of Gaussians fitted to {subject.feature_space.words}; "
            f"{_range(subject)}a small N biases it upwards"
        )
        section = self.section()
        for name, batches in subject.sets().items():
            with section.attempt(f"Fréchet distance of {subject.words[name]}", name):
                distance = frechet_distance(fit_gaussian(subject.features(name, batches)), test)
                section.figures[name] = figure(distance, "", protocol)
        found = section.figures
        if "prior" in found:
            hint = f"{display(found['train'])} for training {plural}" if "train" in found else ""
            section.cards.append(Card(found["prior"], "Fréchet distance of samples", hint))
        allow = "the latents allow" if subject.tokenizer is None else "the tokenizer allows"
        section.facts["Sets are compared in"] = subject.feature_space.place
        section.blocks["introduction"] = Text(
            f"How close samples are to test {plural}, in "
            f"{subject.feature_space.place}. Smaller is closer. Training {plural} show what a "
            f"perfect generator would reach, reconstructions what {allow}. It can be compared "
            f"within this report only."
        )
        section.blocks["table"] = Table(
            (plural.capitalize(), "Fréchet distance"),
            {subject.titles[name]: [figure] for name, figure in found.items()},
            subject.titles["prior"],
            protocols(found),
        )
        return section


@torch.no_grad()
def classifier_features(classifier: Classifier, batches: Iterable[Tensor]) -> Tensor:
    """Computes a classifier's features (N, D), on the CPU, of batches of signals (B, C, *size)."""
    return torch.cat([classifier.features(batch).cpu() for batch in batches])


def fit_gaussian(features: Tensor) -> FeatureGaussian:
    """Fits a Gaussian: mean and covariance of features (N, D), N at least 2."""
    features = features.double().cpu()
    return FeatureGaussian(
        features.mean(0), torch.cov(features.T).reshape(2 * features.shape[1:]), len(features)
    )


def frechet_distance(a: FeatureGaussian, b: FeatureGaussian) -> float:
    """Computes the (squared) Fréchet distance d² between two Gaussians.

    Example:
        >>> eye = torch.eye(3, dtype=torch.float64)
        >>> a = FeatureGaussian(torch.zeros(3, dtype=torch.float64), eye, 10)
        >>> b = FeatureGaussian(torch.full((3,), 2.0, dtype=torch.float64), 4 * eye, 10)
        >>> round(frechet_distance(a, b), 9)  # 3 · 2² + 3 · (1 − 2)²
        15.0
    """
    root = _root(a.covariance)
    # The product of roots is symmetric up to rounding: eigvalsh reads one triangle of it.
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace()
    return max(0.0, (distance - 2 * cross).item())


def _root(covariance: Tensor) -> Tensor:
    """Returns the symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _range(subject: EvaluationContext) -> str:
    """Returns the range of the values, where they have one, as a part of a protocol."""
    signal = subject.splits.signal
    if not isinstance(signal, Bounded):
        return ""
    return f"{signal.plural} in [{signal.low:g}, {signal.high:g}]; "

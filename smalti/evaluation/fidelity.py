"""How close generated images are to real ones, seen through the features of a classifier.

Two sets of features with means μ and covariances Σ are compared as if both were Gaussian. The
Fréchet distance of those is

    d² = ‖μ_a − μ_b‖² + tr(Σ_a) + tr(Σ_b) − 2 tr (Σ_a^½ Σ_b Σ_a^½)^½

It is 0 only if means and covariances agree. With Inception features it is called FID; here the
features are those of a small classifier that was trained on the data's own labels, so the numbers
of two data sets, or of two trainings of the classifier, cannot be compared. Those of one report
can: the same classifier, the same reference set and the same N for each line. Few examples bias it
upwards, for the covariance of few is too narrow in some directions; two references show by how
much:

* training images against test images: what a perfect generator would reach at this N;
* reconstructions of test images: what the tokenizer allows, however good the prior.

References:
    GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, M. Heusel et
    al., 2017, arXiv 1706.08500.
    Effectively Unbiased FID and Inception Score and where to find them, M. J. Chong and D. Forsyth,
    2020, arXiv 1911.07023.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from smalti.evaluation.classifier import Classifier

__all__ = ["Gaussian", "features_of", "frechet_distance", "gaussian"]


class Gaussian(NamedTuple):
    """What the Fréchet distance sees of a set of features.

    Attributes:
        mean: μ (D,), float64.
        covariance: Σ (D, D), float64, with the divisor n − 1.
        n: The number of examples.
    """

    mean: Tensor
    covariance: Tensor
    n: int


@torch.no_grad()
def features_of(classifier: Classifier, images: Iterable[Tensor]) -> Tensor:
    """Features (N, D), on the CPU, of batches of images (B, C, H, W) in [-1, 1]."""
    return torch.cat([classifier.features(batch).cpu() for batch in images])


def gaussian(features: Tensor) -> Gaussian:
    """Mean and covariance of features (N, D), N at least 2."""
    features = features.double().cpu()
    return Gaussian(
        features.mean(0), torch.cov(features.T).reshape(2 * features.shape[1:]), len(features)
    )


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """d² between two Gaussians.

    Example:
        >>> eye = torch.eye(3, dtype=torch.float64)
        >>> a = Gaussian(torch.zeros(3, dtype=torch.float64), eye, 10)
        >>> b = Gaussian(torch.full((3,), 2.0, dtype=torch.float64), 4 * eye, 10)
        >>> round(frechet_distance(a, b), 9)  # 3 · 2² + 3 · (1 − 2)²
        15.0
    """
    root = _root(a.covariance)
    # The product of roots is symmetric up to rounding: eigvalsh reads one triangle of it.
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace()
    return max(0.0, (distance - 2 * cross).item())


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T

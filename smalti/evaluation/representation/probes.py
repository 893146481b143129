"""Probes of latents as features for other tasks: linear classification and nearest neighbours.

Both predict labels from features that somebody else learned, without changing these. The probe asks
whether the classes can be told apart by hyperplanes, the neighbours whether what is alike lies
together.

References:
    Understanding intermediate layers using linear classifier probes, G. Alain and Y. Bengio, 2016,
    arXiv 1610.01644.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.errors import InputError

__all__ = ["knn_accuracy", "linear_probe"]


def linear_probe(
    features: Tensor,
    labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    decay: float = 1e-4,
    steps: int = 100,
) -> float:
    """Fits a multinomial logistic regression to features, and returns its test accuracy.

        minimise  −1/N Σ log softmax(W x + b)_label + decay/2 ‖W‖²

    over features of mean 0 and variance 1, from W = 0 by L-BFGS. The minimum is the only one, so
    that nothing depends on a seed.

    Arguments:
        features: (N, M), features of the examples to fit to.
        labels: (N,), int64.
        test_features: (T, M).
        test_labels: (T,), int64.
        decay: Weight of the penalty.
        steps: Most steps of L-BFGS.

    Raises:
        InputError: If the shapes do not fit.
    """
    _check(features, labels, test_features, test_labels)
    mean, scale = features.mean(dim=0), features.std(dim=0)
    scale = torch.where(scale > 0, scale, 1.0)
    x, test_x = (features - mean) / scale, (test_features - mean) / scale
    classes = int(max(labels.max(), test_labels.max())) + 1
    weight = x.new_zeros(classes, x.shape[1], requires_grad=True)
    bias = x.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=steps, line_search_fn="strong_wolfe", tolerance_grad=1e-5
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(x, weight, bias), labels)
        value = value + decay / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    with torch.no_grad():
        predicted = F.linear(test_x, weight, bias).argmax(dim=1)
    return _accuracy(predicted, test_labels)


@torch.no_grad()
def knn_accuracy(
    features: Tensor,
    labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    k: int = 5,
    batch_size: int = 512,
) -> float:
    """Computes the test accuracy of a k-nearest-neighbour classifier (Euclidean distance).

    Among classes with equally many votes that of the nearest neighbour wins.

    Arguments:
        features: (N, M), N at least k.
        labels: (N,), int64.
        test_features: (T, M).
        test_labels: (T,), int64.
        k: Neighbours.
        batch_size: Test examples at a time.

    Raises:
        InputError: If the shapes do not fit, or there are fewer than k neighbours.
    """
    _check(features, labels, test_features, test_labels)
    if not 1 <= k <= len(features):
        raise InputError(f"k is from 1 to the number of examples, {len(features)}, got {k}.")
    square = features.square().sum(dim=1)
    # What a nearer neighbour adds to its vote outweighs all that farther ones add, and all of it
    # together is less than a vote.
    votes = 1 + 0.5 ** torch.arange(1, k + 1, dtype=torch.float64, device=features.device)
    classes = int(labels.max()) + 1
    predicted = []
    for chunk in test_features.split(batch_size):
        nearest = torch.addmm(square, chunk, features.T, alpha=-2).topk(k, largest=False).indices
        counts = votes.new_zeros(len(chunk), classes)
        counts.scatter_add_(1, labels[nearest], votes.expand(len(chunk), k))
        predicted.append(counts.argmax(dim=1))
    return _accuracy(torch.cat(predicted), test_labels)


def _accuracy(predicted: Tensor, labels: Tensor) -> float:
    return (predicted == labels).double().mean().item()


def _check(features: Tensor, labels: Tensor, test_features: Tensor, test_labels: Tensor) -> None:
    """Raises `InputError` unless features are (N, M) and labels (N,), of both sets."""
    for x, y in (features, labels), (test_features, test_labels):
        if x.ndim != 2 or y.shape != x.shape[:1] or x.shape[1] != features.shape[1]:
            raise InputError(
                f"Features are (N, M) and labels (N,), with one M for both sets, got "
                f"{tuple(x.shape)} and {tuple(y.shape)}: flatten each example to a row."
            )

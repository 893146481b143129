"""The linear probe and the nearest neighbours on classes whose separation is known."""

from __future__ import annotations

import math

import pytest
import torch

from smalti.errors import InputError
from smalti.evaluation.representation import knn_accuracy, linear_probe


def _clusters(n: int, apart: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes of unit variance at the corners of a triangle, in features of unlike scale."""
    labels = torch.arange(n) % 3
    angle = 2 * math.pi * labels / 3
    corners = torch.stack([angle.cos(), angle.sin(), torch.zeros(n)], dim=1)
    return (apart * corners + torch.randn(n, 3)) * torch.tensor([1.0, 1.0, 0.1]), labels


def test_clusters_far_apart_are_told_apart_by_both():
    train, test = _clusters(150, 20), _clusters(90, 20)
    assert linear_probe(*train, *test) == 1
    assert knn_accuracy(*train, *test) == 1


def test_two_gaussians_are_told_apart_as_often_as_the_best_rule_can():
    labels = torch.arange(8000) % 2
    x = (2.0 * labels - 1)[:, None] * torch.tensor([1.0, 0.0]) + torch.randn(8000, 2)
    best = 0.5 * (1 + math.erf(1 / math.sqrt(2)))  # Φ(1): the other side of the middle
    measured = linear_probe(x[:4000], labels[:4000], x[4000:], labels[4000:])
    assert measured == pytest.approx(best, abs=0.02)


def test_rings_are_for_neighbours_and_not_for_hyperplanes():
    labels = torch.arange(600) % 2
    angle = 2 * math.pi * torch.rand(600)
    x = (1.0 + labels)[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    halves = x[:400], labels[:400], x[400:], labels[400:]
    assert knn_accuracy(*halves) == 1
    assert linear_probe(*halves) < 0.7


def test_labels_without_a_relation_are_guessed_by_chance():
    x, labels = torch.randn(2000, 4), torch.randint(4, (2000,))
    halves = x[:1000], labels[:1000], x[1000:], labels[1000:]
    assert abs(linear_probe(*halves) - 0.25) < 0.06
    assert abs(knn_accuracy(*halves) - 0.25) < 0.06


def test_the_majority_wins_and_of_equal_votes_the_nearest():
    x, labels = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([1, 0, 0, 1])
    query, one = torch.tensor([[-0.1]]), torch.tensor([1])
    assert knn_accuracy(x, labels, query, one, k=1) == 1
    assert knn_accuracy(x, labels, query, one, k=3) == 0
    assert knn_accuracy(x, labels, query, one, k=4) == 1  # 1 + 4 against 2 + 3


def test_the_probe_does_not_depend_on_scale_and_bears_constant_features():
    (x, labels), (test_x, test_labels) = _clusters(300, 1.5), _clusters(300, 1.5)
    scale = torch.tensor([1000.0, 0.001, 0.0])
    assert linear_probe(x * scale, labels, test_x * scale, test_labels) == pytest.approx(
        linear_probe(x[:, :2], labels, test_x[:, :2], test_labels), abs=0.01
    )


def test_shapes_that_do_not_fit_are_refused():
    x, labels = _clusters(30, 3)
    for probe in (linear_probe, knn_accuracy):
        with pytest.raises(InputError, match="N, M"):
            probe(x, labels[1:], x, labels)
        with pytest.raises(InputError, match="N, M"):
            probe(x, labels, x[:, :2], labels)
    with pytest.raises(InputError, match="from 1"):
        knn_accuracy(x, labels, x, labels, k=31)

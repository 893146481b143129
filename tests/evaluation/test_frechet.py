"""The Fréchet distance against closed forms."""

import pytest
import torch

from smalti.evaluation.measurements.frechet import FeatureGaussian, fit_gaussian, frechet_distance


def normal(mean, covariance):
    return FeatureGaussian(torch.tensor(mean).double(), torch.tensor(covariance).double(), 100)


def test_diagonal_covariances():
    a = normal([0.0, 1.0], [[4.0, 0.0], [0.0, 9.0]])
    b = normal([3.0, 1.0], [[1.0, 0.0], [0.0, 25.0]])
    assert frechet_distance(a, b) == pytest.approx(3**2 + (2 - 1) ** 2 + (3 - 5) ** 2)


def test_full_covariances_against_the_eigenvalues_of_the_product():
    a, b = (
        fit_gaussian(torch.randn(200, 5) @ torch.randn(5, 5) + torch.randn(5)) for _ in range(2)
    )
    # tr (A^½ B A^½)^½ = Σ √λ(AB): the same by another route.
    cross = torch.linalg.eigvals(a.covariance @ b.covariance).sqrt().real.sum()
    wanted = (a.mean - b.mean).square().sum() + (a.covariance + b.covariance).trace() - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(wanted.item(), rel=1e-8)


def test_it_is_a_symmetric_distance_that_ignores_rotations():
    x, y = torch.randn(100, 4).double(), 2 * torch.randn(100, 4).double() + 1
    turn, _ = torch.linalg.qr(torch.randn(4, 4).double())
    distance = frechet_distance(fit_gaussian(x), fit_gaussian(y))
    assert frechet_distance(fit_gaussian(y), fit_gaussian(x)) == pytest.approx(distance)
    assert frechet_distance(fit_gaussian(x @ turn), fit_gaussian(y @ turn)) == pytest.approx(
        distance
    )
    assert frechet_distance(fit_gaussian(x), fit_gaussian(x)) == pytest.approx(0, abs=1e-9)


def test_covariances_without_full_rank():
    flat = torch.zeros(50, 3).double()
    flat[:, 0] = torch.linspace(-1, 1, 50)
    still = torch.zeros(50, 3).double()
    wanted = flat[:, 0].var().item()
    assert frechet_distance(fit_gaussian(flat), fit_gaussian(still)) == pytest.approx(wanted)


def test_mean_and_covariance():
    x = torch.randn(30, 1)
    measured = fit_gaussian(x)
    assert measured.covariance.shape == (1, 1)
    assert measured.covariance.item() == pytest.approx(x.double().var().item())
    assert measured.n == 30

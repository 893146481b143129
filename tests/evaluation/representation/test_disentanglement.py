"""MIG and DCI against cases that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from smalti.errors import InputError
from smalti.evaluation.representation import dci, factor_information, mutual_information_gap

LEVELS = (4, 5, 3)


@pytest.fixture
def factors() -> torch.Tensor:
    """Every combination of the values four times, shuffled."""
    grid = torch.cartesian_prod(*map(torch.arange, LEVELS)).repeat(4, 1)
    return grid[torch.randperm(len(grid))]


def _rotated(factors: torch.Tensor) -> torch.Tensor:
    """Two factors of as many values, turned by 45°, and scaled by what √2 would give."""
    a, b = factors.T
    return torch.stack([a + b, a - b], dim=1).float()


def test_one_latent_a_factor_in_any_order_and_on_any_curve(factors):
    z = torch.stack([-factors[:, 1], factors[:, 2].exp(), factors[:, 0] ** 3], dim=1).float()
    assert mutual_information_gap(z, factors) == pytest.approx(1)
    measured = dci(z, factors)
    assert measured.disentanglement == pytest.approx(1)
    assert measured.completeness == pytest.approx(1)
    assert measured.informativeness == pytest.approx(1, abs=0.01)
    assert (measured.importance > 0.1).tolist() == [
        [False, True, False],
        [False, False, True],
        [True, False, False],
    ]


def test_a_turn_by_45_degrees_leaves_nothing():
    factors = torch.cartesian_prod(torch.arange(4), torch.arange(4)).repeat(2, 1)
    z = _rotated(factors)
    # I(a + b; a) = H(a + b) − H(b), and the same for a − b.
    shares = torch.tensor([1, 2, 3, 4, 3, 2, 1]) / 16
    wanted = torch.special.entr(shares).sum().item() - math.log(4)
    torch.testing.assert_close(
        factor_information(z, factors, bins=40), torch.full((2, 2), wanted).double()
    )
    assert mutual_information_gap(z, factors, bins=40) == pytest.approx(0, abs=1e-9)
    measured = dci(z, factors, bins=40)
    assert measured.disentanglement == pytest.approx(0, abs=1e-9)
    assert measured.completeness == pytest.approx(0, abs=1e-9)


def test_a_turn_of_two_latents_of_three_leaves_a_third_of_completeness():
    factors = torch.cartesian_prod(*[torch.arange(4)] * 3).repeat(2, 1)
    z = torch.cat([_rotated(factors[:, :2]), factors[:, 2:].float()], dim=1)
    assert mutual_information_gap(z, factors, bins=40) == pytest.approx(1 / 3)
    half = 1 - math.log(2, 3)  # of a factor, or of a latent, that rests on two of three alike
    measured = dci(z, factors, bins=40)
    assert measured.completeness == pytest.approx((1 + 2 * half) / 3)
    of_third = (measured.importance[2].sum() / measured.importance.sum()).item()
    assert measured.disentanglement == pytest.approx(of_third + (1 - of_third) * half)


def test_a_copied_latent_is_not_complete_but_disentangled(factors):
    z = factors[:, [0, 1, 2, 2]].float()
    assert mutual_information_gap(z, factors) == pytest.approx(2 / 3)
    measured = dci(z, factors)
    assert measured.disentanglement == pytest.approx(1)
    assert measured.completeness == pytest.approx((2 + 1 - math.log(2, 4)) / 3)


def test_independent_noise_says_nothing(factors):
    factors = factors.repeat(40, 1)
    z = torch.randn(len(factors), 3)
    assert mutual_information_gap(z, factors) < 0.01
    measured = dci(z, factors)
    assert measured.disentanglement < 0.1
    assert measured.completeness < 0.1
    assert abs(measured.informativeness) < 0.05


def test_nothing_depends_on_the_scale_of_a_latent(factors):
    z = torch.randn(len(factors), 2) + factors[:, :2]
    scaled = z * torch.tensor([-100.0, 0.01]) + 3
    assert mutual_information_gap(scaled, factors) == pytest.approx(
        mutual_information_gap(z, factors), abs=0.05
    )
    assert dci(scaled, factors).completeness == pytest.approx(dci(z, factors).completeness, abs=0.1)


def test_a_latent_that_never_changes_is_no_error(factors):
    z = torch.cat([factors.float(), torch.ones(len(factors), 1)], dim=1)
    assert mutual_information_gap(z, factors) == pytest.approx(1)
    assert dci(z, factors).disentanglement == pytest.approx(1)


def test_what_cannot_be_measured_is_refused(factors):
    z = factors.float()
    with pytest.raises(InputError, match="N, D"):
        mutual_information_gap(z[:, :1], factors)
    with pytest.raises(InputError, match="N, D"):
        mutual_information_gap(z[1:], factors)
    with pytest.raises(InputError, match="number 1"):
        mutual_information_gap(z, factors * torch.tensor([1, 0, 1]))
    with pytest.raises(InputError, match="two or more"):
        dci(z, factors[:, :1])

"""Active units and mutual information against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from smalti.errors import InputError
from smalti.evaluation.representation import (
    active_units,
    code_entropy_bound,
    code_information,
    gaussian_information,
)


def test_the_units_of_a_known_posterior():
    # Of x ~ N(0, I) the optimal linear encoder has the means a_u x_u: their variance is a_u².
    x, scale = torch.randn(4000, 5), torch.tensor([1.0, 0.5, 0.12, 0.05, 0.0])
    assert active_units(scale * x) == 3
    assert active_units(scale * x, threshold=0.1) == 2
    assert active_units(torch.full((10, 4), 7.0)) == 0  # what matters is movement, not place


@pytest.mark.parametrize("snr", [0.1, 1.0, 10.0])
def test_a_gaussian_channel(snr):
    # z = x + noise with Var x = SNR, Var noise = 1.
    mean = math.sqrt(snr) * torch.randn(2000, 1)
    measured = gaussian_information(mean, torch.zeros_like(mean), samples=4)
    assert measured == pytest.approx(0.5 * math.log(1 + snr), abs=0.05)


def test_independent_channels_add_up_and_empty_ones_add_nothing():
    snr = torch.tensor([1.0, 0.0, 3.0])
    sigma = torch.tensor([0.5, 2.0, 0.1])
    mean = snr.sqrt() * sigma * torch.randn(2000, 3)
    log_variance = (2 * sigma.log()).expand_as(mean)
    wanted = 0.5 * snr.log1p().sum().item()
    assert gaussian_information(mean, log_variance, samples=2) == pytest.approx(wanted, abs=0.06)


def test_posteriors_that_are_all_the_same_say_nothing_and_those_far_apart_say_all():
    same = torch.zeros(50, 2)
    assert gaussian_information(same, same) == pytest.approx(0, abs=1e-9)
    apart = 1000 * torch.arange(50.0)[:, None].expand(50, 2)
    assert gaussian_information(apart, same) == pytest.approx(math.log(50))


def test_the_draws_depend_on_the_generator_and_not_on_the_batches():
    mean, log_variance = torch.randn(2, 30, 4)
    one, other = (
        gaussian_information(mean, log_variance, 2, torch.Generator().manual_seed(3), size)
        for size in (7, 30)
    )
    assert one == pytest.approx(other, rel=1e-12)
    with pytest.raises(InputError, match="one shape"):
        gaussian_information(mean, log_variance[:, :3])


def test_the_entropy_of_a_code():
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    assert code_information(every) == pytest.approx(4 * math.log(3))
    assert code_information(every.view(-1, 2, 2)) == pytest.approx(4 * math.log(3))
    assert code_information(torch.full((9, 3), 5)) == 0
    assert code_information(every.repeat(2, 1)) == pytest.approx(code_information(every))


def test_positions_that_depend_on_each_other_hold_less_than_they_do_one_by_one():
    every = torch.cartesian_prod(*[torch.arange(3)] * 2)
    assert code_entropy_bound(every) == pytest.approx(code_information(every))
    copied = torch.cat([every, every], dim=1)
    assert code_information(copied) == pytest.approx(2 * math.log(3))
    assert code_entropy_bound(copied) == pytest.approx(4 * math.log(3))

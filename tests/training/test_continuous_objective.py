"""The loss of continuous autoencoders: beta, its warm-up, free bits."""

from __future__ import annotations

import math

import pytest
import torch

from smalti.autoencoders import Reconstruction
from smalti.errors import InputError
from smalti.losses import L1
from smalti.training import ContinuousObjective

DIMS = 16


def found(kl: torch.Tensor | None) -> Reconstruction:
    x_hat = torch.full((2, 1, 4, 4), 3.0)
    if kl is None:
        return Reconstruction(x_hat, torch.zeros(2, 3), {}, None)
    losses = {"reconstruction": torch.tensor(5.0), "kl": kl.sum() / DIMS}
    return Reconstruction(x_hat, torch.zeros(2, 3), losses, kl)


def test_beta_rises_over_the_warmup():
    objective = ContinuousObjective(beta=4.0, beta_warmup=100)
    kl = torch.tensor([1.0, 2.0, 5.0])
    for step, beta in [(0, 0.0), (50, 2.0), (100, 4.0), (900, 4.0)]:
        terms = objective(torch.zeros(2, 1, 4, 4), found(kl), step)
        assert terms["loss"].item() == pytest.approx(5.0 + beta * 8.0 / DIMS)
        assert terms["kl"].item() == pytest.approx(8.0 / DIMS)


def test_a_dimension_below_its_free_bits_has_no_gradient():
    kl = torch.tensor([0.5, 0.7, 5.0], requires_grad=True)
    objective = ContinuousObjective(beta=2.0, free_bits=1.0)
    loss = objective(torch.zeros(2, 1, 4, 4), found(kl), 0)["loss"]
    assert loss.item() == pytest.approx(5.0 + 2.0 * (math.log(2) + 0.7 + 5.0) / DIMS)
    loss.backward()
    assert kl.grad.tolist() == [0.0, 2.0 / DIMS, 2.0 / DIMS]


def test_without_a_likelihood_the_loss_is_that_of_the_reconstruction():
    x = torch.zeros(2, 1, 4, 4)
    assert ContinuousObjective()(x, found(None), 0)["loss"] == 9.0
    terms = ContinuousObjective(reconstruction=L1())(x, found(None), 0)
    assert terms == {"loss": 3.0, "reconstruction": 3.0}


def test_a_likelihood_takes_the_place_of_the_reconstruction_loss():
    x = torch.zeros(2, 1, 4, 4)
    nats = found(None)._replace(losses={"reconstruction": torch.tensor(5.0)})
    assert ContinuousObjective()(x, nats, 0) == {"loss": 5.0, "reconstruction": 5.0}


@pytest.mark.parametrize("weights", [{"beta": -1.0}, {"beta_warmup": -1}, {"free_bits": -0.1}])
def test_negative_weights_are_mistakes(weights):
    with pytest.raises(InputError, match="at least 0"):
        ContinuousObjective(**weights)

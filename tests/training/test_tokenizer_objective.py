"""The weights of the loss terms."""

from __future__ import annotations

import pytest
import torch

from smalti.autoencoders import Reconstruction
from smalti.errors import InputError
from smalti.losses import L1, MSE
from smalti.training import TokenizerObjective


def test_beta_rises_over_the_warmup_and_weighs_the_commitment_alone():
    objective = TokenizerObjective(MSE(), commitment_weight=0.25, commitment_warmup=100)
    assert [objective.beta(step) for step in (0, 50, 100, 900)] == [0, 0.125, 0.25, 0.25]
    losses = {"commitment": torch.tensor(4.0), "codebook": torch.tensor(7.0)}
    x, x_hat = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 2.0)
    for step, beta in [(0, 0.0), (50, 0.125), (500, 0.25)]:
        terms = objective(x, Reconstruction(x_hat, None, losses), step)
        assert terms["loss"].item() == pytest.approx(4.0 + 7.0 + beta * 4.0)


def test_further_losses_have_the_weights_given():
    objective = TokenizerObjective(MSE(), weights={"kl": 0.5})
    x = torch.zeros(2, 1, 4, 4)
    assert objective(x, Reconstruction(x, None, {"kl": torch.tensor(4.0)}), 0)["loss"] == 2.0


def test_a_likelihood_takes_the_place_of_the_distance():
    objective = TokenizerObjective(MSE(), commitment_weight=0.5)
    x, x_hat = torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), 2.0)
    losses = {"commitment": torch.tensor(4.0), "reconstruction": torch.tensor(3.0)}
    terms = objective(x, Reconstruction(x_hat, None, losses), step=0)
    assert {name: term.item() for name, term in terms.items()} == {
        "loss": 5.0,
        "reconstruction": 3.0,
        "commitment": 4.0,
    }
    assert losses.keys() == {"commitment", "reconstruction"}


@pytest.mark.parametrize("weights", [None, {"entropy": 0.1}, {"kl": 0.1, "entropy": 0.1}])
def test_a_loss_without_a_weight_and_a_weight_without_a_loss_are_mistakes(weights):
    x = torch.zeros(2, 1, 4, 4)
    with pytest.raises(InputError, match="has the losses kl, and weights are given for"):
        output = Reconstruction(x, None, {"kl": torch.tensor(4.0)})
        TokenizerObjective(MSE(), weights=weights)(x, output, 0)


def test_without_warmup_beta_is_there_from_the_start():
    assert TokenizerObjective(MSE(), commitment_weight=0.5).beta(0) == 0.5


def test_reconstruction_losses_do_not_depend_on_batch_and_size():
    for loss, expected in [(MSE(), 4.0), (L1(), 2.0)]:
        for shape in [(1, 1, 2, 2), (5, 3, 7, 9), (2, 1, 11)]:
            value = loss(torch.full(shape, 1.0), torch.full(shape, -1.0))
            assert value.item() == pytest.approx(expected)

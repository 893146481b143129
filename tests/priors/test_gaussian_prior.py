"""The Gaussian over latents: its density, its draws, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from smalti.artifacts import load_model, save_model
from smalti.errors import InputError
from smalti.priors import GaussianPrior, SamplingConfig

MEAN = torch.tensor([3.0, -1.0])
MIX = torch.tensor([[2.0, 0.0], [1.0, 0.5]])


def prior() -> GaussianPrior:
    return GaussianPrior.of(MEAN, MIX @ MIX.T)


def test_its_density_is_that_of_torch():
    z = torch.randn(5, 2)
    wanted = torch.distributions.MultivariateNormal(MEAN, MIX @ MIX.T).log_prob(z)
    torch.testing.assert_close(prior().log_prob(z), wanted)
    torch.testing.assert_close(prior().loss(z), -wanted.mean() / 2)


def test_its_draws_have_its_mean_and_covariance():
    z = prior().sample(50_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(0), MEAN, atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), MIX @ MIX.T, atol=0.1, rtol=0)
    near = prior().sample(4, config=SamplingConfig(temperature=0.0))
    torch.testing.assert_close(near, MEAN.expand(4, 2))


def test_the_standard_one_gives_the_noise_itself():
    draw = GaussianPrior(3).sample(4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(draw, torch.randn(4, 3, generator=torch.Generator().manual_seed(1)))


def test_saved_it_is_the_same(tmp_path):
    save_model(prior(), tmp_path / "prior")
    z = torch.randn(5, 2)
    assert torch.equal(load_model(tmp_path / "prior").log_prob(z), prior().log_prob(z))


def test_mistakes_are_one_line():
    with pytest.raises(InputError, match=r"shape \(B, 2\), got \(5, 3\)"):
        prior().log_prob(torch.zeros(5, 3))
    with pytest.raises(InputError, match="temperature must be at least 0 and finite, got -1"):
        prior().sample(2, config=SamplingConfig(temperature=-1))
    with pytest.raises(InputError, match="has no condition"):
        prior().sample(2, torch.zeros(2))
    with pytest.raises(InputError, match="draws whole latents"):
        prior().sample(2, known=torch.zeros(2, 2))
    with pytest.raises(InputError, match="counts all dimensions"):
        prior().loss(torch.zeros(2, 2), mask=torch.ones(2, 2).bool())
    with pytest.raises(InputError, match="fewer dimensions than they have"):
        GaussianPrior.of(MEAN, torch.zeros(2, 2)).log_prob(torch.zeros(1, 2))

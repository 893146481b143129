"""The plain autoencoder, and what all continuous autoencoders share."""

from __future__ import annotations

import pytest
import torch

from small_autoencoders import assemble
from smalti.autoencoders import ContinuousAutoencoder
from smalti.autoencoders.paths import linear_path
from smalti.errors import InputError
from smalti.generation.traversal import traverse
from smalti.losses.likelihoods import Categorical, Gaussian, LogisticMixture
from smalti.modalities.image import Image
from smalti.priors import GaussianPrior
from smalti.signals import Signal
from wave_signal import Wave

SIGNALS = [
    Image(1, (28, 28)),
    Image(3, (17, 23)),
    Wave(2, (101,)),
]


def prior_of(model: ContinuousAutoencoder) -> GaussianPrior:
    """What new latents are drawn from."""
    return GaussianPrior.of(*model.latent_distribution)


def signals(signal: Signal, n: int) -> torch.Tensor:
    return torch.rand(n, signal.channels, *signal.size) * 2 - 1


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_shapes(signal, variational):
    model = assemble(signal, variational=variational)
    x = signals(signal, 3)
    z = model.encode(x)
    assert z.shape == (3, 5)
    assert model.decode(z).shape == model(x).x_hat.shape == x.shape
    assert model.interpolate(x[0], x[1], 6).shape == (6, *x.shape[1:])
    prior = prior_of(model)
    assert model.decode(prior.sample(4)).shape == (4, *x.shape[1:])
    assert traverse(model, prior, x[0], model.order[:2], 7).shape == (2, 7, *x.shape[1:])


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("likelihood", [LogisticMixture(2), Categorical(8)])
def test_a_likelihood_with_more_channels(likelihood, variational):
    model = assemble(SIGNALS[1], likelihood=likelihood, variational=variational)
    x = signals(SIGNALS[1], 2)
    assert model(x).x_hat.shape == x.shape
    assert model.decode(model.encode(x)).abs().max() <= 1


def test_with_a_likelihood_a_plain_autoencoder_pays_in_nats_a_dimension():
    scale = 0.5
    model = assemble(SIGNALS[1], likelihood=Gaussian(scale), variational=False)
    x = signals(SIGNALS[1], 2)
    found = model(x)
    nats = -torch.distributions.Normal(found.x_hat, scale).log_prob(x).mean()
    torch.testing.assert_close(found.losses, {"reconstruction": nats})
    torch.testing.assert_close(model.decode(found.latents), found.x_hat.clamp(-1, 1))
    assert assemble(SIGNALS[1], variational=False)(x).losses == {}


def test_a_traversal_changes_one_dimension():
    model = assemble(SIGNALS[0])
    (x,) = signals(SIGNALS[0], 1)
    rows = traverse(model, prior_of(model), x, torch.tensor([3, 0]), 3, reach=2.0)
    for row, d in zip(rows, (3, 0), strict=True):
        z = model.encode(x[None]).repeat(3, 1)
        z[:, d] = torch.tensor([-2.0, 0.0, 2.0])
        torch.testing.assert_close(row, model.decode(z))


def test_an_autoencoder_draws_from_the_gaussian_of_its_training_latents():
    model = assemble(SIGNALS[0], dim=2, variational=False)
    mix = torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    model.summarise(torch.randn(50_000, 2) @ mix.T + torch.tensor([3.0, -1.0]), None)
    prior = prior_of(model)
    z = prior.sample(50_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(z.mean(0), torch.tensor([3.0, -1.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(z.T), mix @ mix.T, atol=0.1, rtol=0)
    torch.testing.assert_close(prior.deviation, torch.tensor([2.0, 1.25**0.5]), atol=0.05, rtol=0)
    assert model.order.tolist() == [0, 1]


def test_padding_reflects_and_is_cropped():
    small = assemble(Image(1, (6, 7)))
    large = assemble(Image(1, (8, 8)))
    large.load_state_dict(small.state_dict())
    x = torch.rand(2, 1, 6, 7)
    padded = torch.nn.functional.pad(x, (0, 1, 0, 2), mode="reflect")
    z = small.encode(x)
    assert torch.equal(z, large.encode(padded))
    assert torch.equal(small.decode(z), large.decode(z)[..., :6, :7])


def test_mistakes_are_one_line():
    with pytest.raises(InputError, match="of one size, got none"):
        assemble(Image(1))
    model = assemble(SIGNALS[0])
    with pytest.raises(InputError, match=r"have the shape \(B, 5\), got \(2, 6\)"):
        model.decode(torch.zeros(2, 6))
    with pytest.raises(InputError, match="above 0, got -2: 3 is usual"):
        traverse(model, prior_of(model), torch.zeros(1, 28, 28), torch.tensor([0]), 3, -2.0)
    with pytest.raises(InputError, match="of size 28×28, got 20×28"):
        model.encode(torch.zeros(1, 1, 20, 28))
    with pytest.raises(InputError, match="steps=1"):
        linear_path(torch.zeros(2), torch.ones(2), 1)

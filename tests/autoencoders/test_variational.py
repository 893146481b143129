"""The VAE against closed forms: its KL, its bounds and its gradient."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from small_autoencoders import assemble, linear_gaussian
from smalti.autoencoders import Posterior
from smalti.autoencoders.variational import kl_to_normal
from smalti.errors import InputError
from smalti.losses.likelihoods import Gaussian
from smalti.modalities.image import Image


def test_the_kl_is_that_of_torch():
    posterior = Posterior(torch.randn(4, 3), torch.randn(4, 3))
    theirs = kl_divergence(Normal(posterior.mean, (posterior.log_variance / 2).exp()), Normal(0, 1))
    torch.testing.assert_close(kl_to_normal(posterior), theirs)


def test_at_the_true_posterior_the_bound_is_the_likelihood():
    """E over ε of the ELBO is log p(x), and each importance weight p(x, z) / q(z | x) is p(x)."""
    model, marginal = linear_gaussian()
    x = marginal.sample((4,)).view(4, 1, 1, 3)
    log_p = marginal.log_prob(x.flatten(1))
    torch.testing.assert_close(model.log_likelihood(x, 1), log_p, atol=1e-4, rtol=0)
    mean = torch.stack([model.elbo(x) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean.detach(), log_p, atol=0.1, rtol=0)


def test_the_bounds_of_another_posterior_are_ordered_and_converge():
    model, marginal = linear_gaussian()
    with torch.no_grad():
        model.encoder.linear.bias += torch.tensor([0.3, -0.2, 0.5, 0.7])
    x = marginal.sample((64,)).view(64, 1, 1, 3)
    elbo, few, many = (
        torch.stack([bound() for _ in range(20)]).mean().item()
        for bound in (
            lambda: model.elbo(x).detach(),
            lambda: model.log_likelihood(x, 5),
            lambda: model.log_likelihood(x, 500),
        )
    )
    log_p = marginal.log_prob(x.flatten(1)).mean().item()
    assert elbo + 0.1 < few < many
    assert many == pytest.approx(log_p, abs=0.02)


def test_the_gradient_of_the_reparameterised_elbo_is_that_of_its_closed_form():
    """E_q |x − W z − b|² is |x − W μ − b|² + Σ_d v_d |w_d|²; with KL, the ELBO is a formula."""
    model, marginal = linear_gaussian(scale=0.4)
    x = marginal.sample((1,)).view(1, 1, 1, 3)
    encoded = torch.tensor([[0.2, -0.4, -0.3, 0.6]])
    with torch.no_grad():
        model.encoder.linear.weight.zero_()
        model.encoder.linear.bias.copy_(encoded[0])
    model.elbo(x.expand(200_000, -1, -1, -1)).mean().backward()

    encoded.requires_grad_()
    mean, log_variance = encoded.chunk(2, 1)
    w, b = model.decoder.linear.weight.detach(), model.decoder.linear.bias.detach()
    error = (x.flatten(1) - mean @ w.T - b).square().sum()
    error = error + (log_variance.exp() * w.square().sum(0)).sum()
    (-error / (2 * 0.4**2) - kl_to_normal(Posterior(mean, log_variance)).sum()).backward()
    torch.testing.assert_close(
        model.encoder.linear.bias.grad[None], encoded.grad, atol=0.03, rtol=0
    )


def test_the_losses_are_the_terms_of_the_elbo():
    model = assemble(Image(3, (17, 23)), likelihood=Gaussian(0.3))
    x = torch.rand(4, 3, 17, 23) * 2 - 1
    torch.manual_seed(5)
    losses = model(x).losses
    torch.manual_seed(5)
    elbo = model.elbo(x)
    assert model.dims == 3 * 17 * 23
    torch.testing.assert_close(sum(losses.values()) * model.dims, -elbo.mean())
    found = model(x)
    assert found.kl.shape == (5,)
    torch.testing.assert_close(found.kl.sum() / model.dims, found.losses["kl"])


def test_under_autocast_the_losses_are_in_float32():
    model = assemble(Image(1, (8, 8)))
    with torch.autocast("cpu", torch.bfloat16):
        found = model(torch.rand(2, 1, 8, 8))
    assert {found.latents.dtype, found.kl.dtype, found.x_hat.dtype} == {torch.float32}
    assert {loss.dtype for loss in found.losses.values()} == {torch.float32}


def test_a_seed_decides_the_bounds():
    model = assemble(Image(1, (8, 8)))
    x = torch.rand(2, 1, 8, 8)
    for bound in (model.elbo, lambda x, g: model.log_likelihood(x, 3, g)):
        one, other = (bound(x, torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.equal(one, other)
    assert not torch.equal(model.elbo(x), model.elbo(x))


def test_mistakes_are_one_line():
    model = assemble(Image(1, (8, 8)))
    with pytest.raises(InputError, match="at least one sample, got 0"):
        model.log_likelihood(torch.zeros(1, 1, 8, 8), 0)
    model.encoder = assemble(Image(1, (8, 8)), variational=False).encoder
    with pytest.raises(InputError, match="takes 10 numbers, got an encoder that gives 5"):
        model.encode(torch.zeros(1, 1, 8, 8))

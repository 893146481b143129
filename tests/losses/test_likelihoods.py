"""Likelihoods against closed forms: what sums to 1, what its mean is, what its samples are."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from smalti.artifacts import build, describe, load_model, save_model
from smalti.errors import InputError
from smalti.losses.likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    LogisticMixture,
    bits_per_dim,
    from_integers,
    to_integers,
)

ALL = [
    Gaussian(0.9),
    Gaussian(0.9, learned=True),
    Bernoulli(),
    Categorical(),
    Categorical(num_values=5),
    LogisticMixture(3),
]
DISCRETE = [likelihood for likelihood in ALL if likelihood.discrete]


def values(likelihood) -> torch.Tensor:
    """All that a dimension can be, (L,)."""
    return from_integers(torch.arange(likelihood.num_values), likelihood.num_values)


def drawn(likelihood, batch=2, c=3, size=(2, 3), spread=2.0):
    """Random h and x."""
    h = spread * torch.randn(batch, likelihood.channels(c), *size)
    return h, torch.rand(batch, c, *size) * 2 - 1


def of_one_value(likelihood, h):
    """log p of every value under one h (D,), and the mean that is shown."""
    v = values(likelihood)
    nll, x_hat = likelihood(h.expand(len(v), -1)[..., None, None], v[:, None, None, None])
    return -nll, x_hat[0, 0, 0, 0]


def some_h(likelihood, seed):
    generator = torch.Generator().manual_seed(seed)
    h = 2 * torch.randn(likelihood.channels(1), generator=generator)
    if isinstance(likelihood, LogisticMixture):  # narrow ones, flat ones and those beside the range
        h[-likelihood.components :] = torch.linspace(-9, 3, 4)[seed]
    return h


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("likelihood", DISCRETE, ids=repr)
def test_the_probabilities_of_all_values_sum_to_one(likelihood, seed):
    log_p, _ = of_one_value(likelihood, some_h(likelihood, seed))
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("likelihood", DISCRETE, ids=repr)
def test_the_mean_is_the_mean_over_all_values(likelihood, seed):
    log_p, shown = of_one_value(likelihood, some_h(likelihood, seed))
    mean = (log_p.exp() * values(likelihood)).sum()
    # The mean of a mixture of logistics is known to half a cell.
    within = 1 / 255 if isinstance(likelihood, LogisticMixture) else 1e-4
    assert shown.item() == pytest.approx(mean.item(), abs=within)


@pytest.mark.parametrize("scale", [0.1, 2.0])
def test_a_gaussian_integrates_to_one_around_its_mean(scale):
    likelihood, n = Gaussian(scale), 20_001
    x = torch.linspace(-9 * scale, 9 * scale, n)
    h = torch.full((n, 1, 1), 0.25)
    nll, x_hat = likelihood(h, 0.25 + x[:, None, None])
    density = (-nll).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=1e-4)
    assert torch.trapezoid(density * x.square(), x).item() == pytest.approx(scale**2, rel=1e-3)
    assert torch.equal(x_hat, h)


@pytest.mark.parametrize("likelihood", DISCRETE, ids=repr)
def test_samples_are_as_frequent_as_they_are_probable(likelihood):
    h, n = some_h(likelihood, 1), 20_000
    log_p, _ = of_one_value(likelihood, h)
    many = h[None, :, None, None].expand(1, -1, 100, n // 100)
    sample = likelihood.sample(many, torch.Generator().manual_seed(0))
    counts = (
        to_integers(sample, likelihood.num_values)
        .flatten()
        .bincount(minlength=likelihood.num_values)
    )
    assert torch.isin(sample, values(likelihood)).all()
    p = log_p.exp()
    deviation = (counts - n * p) / (n * p * (1 - p)).sqrt().clamp(min=1)
    assert deviation.abs().max() < 5


def test_samples_of_a_gaussian_have_its_moments():
    h = torch.full((1, 1, 100, 200), 0.5)
    sample = Gaussian(0.2).sample(h, torch.Generator().manual_seed(0))
    assert sample.mean().item() == pytest.approx(0.5, abs=0.01)
    assert sample.std().item() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("likelihood", ALL, ids=repr)
def test_dimensions_are_independent_and_a_seed_repeats_samples(likelihood):
    """The nll of a signal is the sum over its pixels and channels, each scored by itself."""
    h, x = drawn(likelihood, c=2)
    nll, x_hat = likelihood(h, x)
    assert nll.shape == (2,)
    torch.testing.assert_close(likelihood.point_estimate(h), x_hat)
    parts = [likelihood(h[..., i, j], x[..., i, j]).nll for i in range(2) for j in range(3)]
    torch.testing.assert_close(sum(parts), nll)
    of_channel = h.unflatten(1, (-1, 2))[:, :, :1].flatten(1, 2)
    torch.testing.assert_close(likelihood(of_channel, x[:, :1]).x_hat, x_hat[:, :1])

    a, b, c = (likelihood.sample(h, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert a.shape == x.shape
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("likelihood", ALL, ids=repr)
def test_gradients_are_finite_in_the_far_tails_and_in_half_precision(likelihood, size, dtype):
    h, x = drawn(likelihood, spread=size)
    h = h.clamp(-6e4, 6e4).to(dtype).requires_grad_()
    x.view(-1)[:2] = torch.tensor([-1.0, 1.0])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
        nll, x_hat = likelihood(h, x)
        (nll.sum() + x_hat.sum()).backward()
    assert nll.dtype == torch.float32
    assert nll.isfinite().all()
    assert x_hat.isfinite().all()
    assert h.grad.isfinite().all()
    assert h.grad.any()
    torch.testing.assert_close(nll, likelihood(h.detach().float(), x).nll)


def test_a_uniform_distribution_costs_eight_bits():
    likelihood, x = Categorical(), torch.rand(4, 3, 5, 5) * 2 - 1
    nll = likelihood(torch.zeros(4, likelihood.channels(3), 5, 5), x).nll
    torch.testing.assert_close(bits_per_dim(nll, 75), torch.full((4,), 8.0))
    assert likelihood.discretised(1.5, 75) == 1.5


def test_the_bits_of_a_density_are_those_of_its_cells():
    """log2 of the probability of a cell, by the normal distribution function."""
    scale, h = 0.4, 0.1
    v = from_integers(torch.tensor(140)).item()
    likelihood = Gaussian(scale)
    nll = likelihood(torch.full((1, 1, 1), h), torch.full((1, 1, 1), v)).nll.item()
    normal = torch.distributions.Normal(h, scale)
    cell = normal.cdf(torch.tensor(v + 1 / 255)) - normal.cdf(torch.tensor(v - 1 / 255))
    bits = bits_per_dim(likelihood.discretised(nll, 1), 1)
    assert bits == pytest.approx(-cell.log2().item(), abs=1e-3)


def test_the_gaussian_is_the_squared_error_and_a_learned_scale_its_root():
    h, x = torch.randn(8, 1, 4, 4), torch.randn(8, 1, 4, 4)
    difference = Gaussian()(h, x).nll.sum() - Gaussian()(x, x).nll.sum()
    torch.testing.assert_close(difference, F.mse_loss(h, x, reduction="sum") / 2)

    likelihood = Gaussian(learned=True)
    optimizer = torch.optim.LBFGS(likelihood.parameters(), max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = likelihood(h, x).nll.mean() / 16
        loss.backward()
        return loss

    optimizer.step(closure)
    assert likelihood.log_scale.exp().item() ** 2 == pytest.approx(
        F.mse_loss(h, x).item(), rel=0.01
    )


def test_integers_are_those_of_bytes():
    pixels = torch.arange(256, dtype=torch.uint8)
    x = pixels.float().div(127.5).sub(1)
    assert torch.equal(to_integers(x), pixels.long())
    torch.testing.assert_close(from_integers(pixels), x)
    assert to_integers(torch.tensor([-1.5, 1.5])).tolist() == [0, 255]


def test_expected_bits_of_random_black_and_white():
    grey, h = torch.full((1, 1, 1), 0.5), torch.full((1, 1, 1), 0.7)  # white with p = 3/4
    white, black = (Bernoulli()(h, torch.full((1, 1, 1), v)).nll for v in (1.0, -1.0))
    torch.testing.assert_close(Bernoulli()(h, grey).nll, 0.75 * white + 0.25 * black)
    assert math.exp(-white.item()) == pytest.approx(torch.sigmoid(torch.tensor(0.7)).item())


@pytest.mark.parametrize("likelihood", ALL, ids=repr)
def test_a_saved_likelihood_is_the_same(likelihood, tmp_path):
    h, x = drawn(likelihood)
    save_model(likelihood, tmp_path / "likelihood")
    loaded = load_model(tmp_path / "likelihood")
    assert torch.equal(loaded(h, x).nll, likelihood(h, x).nll)
    assert describe(build(describe(likelihood))) == describe(likelihood)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Gaussian(0.0),
        lambda: Gaussian(math.inf),
        lambda: Categorical(1),
        lambda: LogisticMixture(0),
        lambda: Categorical()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)),
        lambda: Gaussian()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 5)),
    ],
)
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(InputError) as raised:
        wrong()
    assert "\n" not in str(raised.value)

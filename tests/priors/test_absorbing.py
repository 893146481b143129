"""Absorbing diffusion: its bound is one, is what it says, and comes close; samples follow p."""

import itertools
import math

import pytest
import torch

from smalti.errors import InputError
from smalti.evaluation.measurements.rate import rate_figures
from smalti.modalities.image import Image
from smalti.priors import AbsorbingDiffusion, SamplingConfig

GRIDS = torch.tensor([*itertools.product(range(2), repeat=3)])  # all of 3 indices of 2


def made():
    """With weights so large that the order in which indices appear matters."""
    torch.manual_seed(0)
    prior = AbsorbingDiffusion(2, (3,), hidden=8, layers=1, heads=2).eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, 0, 1.0)
    return prior


@torch.no_grad()
def log_p_of_orders(prior):
    """log p of each grid, if its indices appear in each of the six orders, (8, 6)."""
    columns = []
    for order in itertools.permutations(range(3)):
        total, seen = torch.zeros(8), torch.full_like(GRIDS, -1)
        for i in order:
            log_p = prior.logits(seen)[:, i].log_softmax(-1)
            total = total + log_p.gather(1, GRIDS[:, i : i + 1])[:, 0]
            seen[:, i] = GRIDS[:, i]
        columns.append(total)
    return torch.stack(columns, 1)


def estimated(prior, draws):
    with torch.no_grad():
        return prior.bound(GRIDS, draws=draws, generator=torch.Generator().manual_seed(0))


def test_the_bound_is_above_the_truth_and_what_it_says():
    prior = made()
    of_orders = log_p_of_orders(prior)
    truth = -(of_orders.logsumexp(1) - math.log(6))
    torch.testing.assert_close((-truth).exp().sum(), torch.tensor(1.0))
    exact = -of_orders.mean(1)
    assert (exact - truth).min() >= 0
    assert (exact - truth).max() > 0.02
    torch.testing.assert_close(estimated(prior, 900), exact, atol=0.1, rtol=0)


def test_samples_are_as_frequent_as_they_are_probable():
    prior, n = made(), 3000
    p = log_p_of_orders(prior).exp().mean(1)
    generator = torch.Generator().manual_seed(0)
    drawn = prior.sample(n, config=SamplingConfig(steps=60), generator=generator)
    found = (drawn[:, None] == GRIDS).all(2).float().mean(0)
    torch.testing.assert_close(found, p, atol=0.03, rtol=0)


def test_trained_the_bound_comes_close_to_the_truth():
    torch.manual_seed(0)
    prior = AbsorbingDiffusion(2, (3,), hidden=8, layers=1, heads=2)
    optimizer = torch.optim.Adam(prior.parameters(), 2e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = prior.loss((torch.arange(32)[:, None] % 2).expand(32, 3))  # all equal
        loss.backward()
        optimizer.step()
    bound = estimated(prior.eval(), 60)[[0, 7]]
    truth = -(log_p_of_orders(prior).logsumexp(1) - math.log(6))[[0, 7]]
    assert ((bound - truth).abs() < 0.1).all()
    assert bound.mean() < math.log(2) + 0.15
    assert loss.item() < math.log(2) / 3 + 0.1  # nats per index


def test_there_are_as_many_passes_as_steps():
    prior, passes = made(), []
    prior.norm.register_forward_hook(lambda *_: passes.append(1))
    for options in ({}, {"temperature": 0}):
        for steps in (1, 2, 3):
            passes.clear()
            prior.sample(100, config=SamplingConfig(steps=steps, **options))
            assert len(passes) == steps


def test_a_bound_is_called_one_and_what_it_cannot_do_is_one_line():
    prior = made()
    figures = rate_figures(prior, 2.0, GRIDS, Image(channels=1, size=(4, 4)), "test set")
    assert "at most" in figures["nats_per_index"]["protocol"]
    for wrong, said in (
        (lambda: prior.log_prob(GRIDS), "no likelihood"),
        (lambda: prior.bound(GRIDS, draws=0), "draws must be at least 1"),
        (lambda: prior.bound(GRIDS + 1), "must be from 0 to 1"),
        (lambda: prior.sample(1, config=SamplingConfig(order="halton")), "without order"),
        (lambda: prior.sample(1, config=SamplingConfig(guidance=2)), "this AbsorbingDiffusion has"),
    ):
        with pytest.raises(InputError, match=said) as raised:
            wrong()
        assert "\n" not in str(raised.value)

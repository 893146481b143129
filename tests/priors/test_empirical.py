"""The uniform prior and the histogram."""

import itertools
import math

import pytest
import torch

from smalti.conditions import Label, TimeOfDay
from smalti.errors import InputError
from smalti.priors import Histogram, SamplingConfig, Uniform

A, B, C = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[3, 3], [3, 3]]), torch.zeros(2, 2).long()
NEW = torch.tensor([[1, 1], [1, 1]])


def fitted(grids, context=None, condition=None, **options):
    prior = Histogram(4, (2, 2), condition, **options)
    prior.fit(torch.stack(grids), None if context is None else torch.tensor(context))
    return prior


def shares(prior, n=4000, context=None, **options):
    """How often A, B and C are drawn; they add up to 1."""
    context = None if context is None else torch.full((n,), context)
    generator = torch.Generator().manual_seed(0)
    config = SamplingConfig(**options)
    drawn = prior.sample(n, context, config=config, generator=generator)
    counted = [(drawn == grid).flatten(1).all(1).float().mean().item() for grid in (A, B, C)]
    assert sum(counted) == pytest.approx(1)
    return pytest.approx(counted, abs=0.04)


def probability(prior, grid, context=None):
    context = None if context is None else torch.tensor([context])
    return prior.log_prob(grid[None], context).exp().item()


def test_uniform_samples_are_uniform():
    counts = torch.bincount(Uniform(4, (8, 8)).sample(100).flatten())
    assert ((counts / 6400 - 0.25).abs() < 0.03).all()
    assert Uniform(4, (8, 8)).sample(100, config=SamplingConfig(top_k=3)).max() == 2
    assert Uniform(4, (8, 8)).sample(100, config=SamplingConfig(top_k=9, top_p=0.5)).max() == 1


def test_an_index_costs_log_k_under_the_uniform_prior():
    assert Uniform(4, (2, 2)).loss(A[None]).item() == pytest.approx(math.log(4))


def test_the_histogram_draws_as_often_as_was_seen():
    assert [0.6, 0.2, 0.2] == shares(fitted([A, A, A, B, C]))


def test_temperature_and_top_k_act_on_whole_grids():
    prior = fitted([A, A, A, B, B, C])
    assert [1 / 3, 1 / 3, 1 / 3] == shares(prior, temperature=1e9)
    assert [9 / 14, 4 / 14, 1 / 14] == shares(prior, temperature=0.5)
    assert [3 / 5, 2 / 5, 0] == shares(prior, top_k=2)
    assert [1, 0, 0] == shares(prior, top_p=0.5)
    assert [1, 0, 0] == shares(prior, temperature=0)


def test_the_unseen_mass_is_that_of_good_and_turing():
    prior = fitted([A, A, A, B, C])  # two of five were seen once
    assert probability(prior, A) == pytest.approx(0.6 * 0.6 + 0.4 / 4**4)
    assert probability(prior, B) == pytest.approx(0.6 * 0.2 + 0.4 / 4**4)
    assert probability(prior, NEW) == pytest.approx(0.4 / 4**4)


@pytest.mark.parametrize(("grids", "u"), [([A, B, C], 3 / 4), ([A, A, A], 1 / 4)])
def test_neither_part_of_the_mixture_vanishes(grids, u):
    assert probability(fitted(grids), NEW) == pytest.approx(u / 4**4)
    assert probability(fitted(grids), A) > u / 4**4 + 0.05


def test_labels_are_counted_apart():
    prior = fitted([A, A, B, C], [0, 0, 1, 1], Label(["x", "y", "never"]))
    assert [1, 0, 0] == shares(prior, context=0)
    assert [0, 0.5, 0.5] == shares(prior, context=1)
    assert probability(prior, B, 0) == pytest.approx(1 / 3 / 4**4)
    assert probability(prior, B, 2) == pytest.approx(1 / 4**4)
    with pytest.raises(InputError, match="No grid"):
        prior.sample(1, torch.tensor([2]))


def test_times_are_near_around_the_dial_or_the_nearest_there_is():
    prior = fitted([A, B, B, C], [719.0, 1.0, 0.0, 300.0], TimeOfDay(), minutes=2)
    assert [1 / 3, 2 / 3, 0] == shares(prior, context=0.5)
    assert [1, 0, 0] == shares(prior, context=717.5)
    assert [0, 0, 1] == shares(prior, context=200.0)


def test_one_batch_may_hold_many_contexts():
    prior = fitted([A, B, C], [0, 1, 2], Label(["x", "y", "z"]))
    context = torch.tensor([2, 0, 1, 0])
    assert torch.equal(prior.sample(4, context), torch.stack([C, A, B, A]))
    expected = [probability(prior, A, int(c)) for c in context]
    torch.testing.assert_close(
        prior.log_prob(A.expand(4, 2, 2), context).exp(), torch.tensor(expected)
    )


def test_known_indices_choose_among_the_grids_that_agree():
    prior = fitted([A, A, B, C])
    known = torch.full((2, 2, 2), -1)
    known[0, 0, 1] = 3
    known[1, 1, 0] = 2
    assert torch.equal(prior.sample(2, known=known), torch.stack([B, A]))
    with pytest.raises(InputError, match="No grid"):
        prior.sample(1, known=NEW[None])


def test_fitting_again_replaces_what_was_seen():
    prior = fitted([A, A, B])
    before = probability(prior, A)
    prior.fit(torch.stack([C, C]))
    assert [0, 0, 1] == shares(prior)
    assert probability(prior, A) < before


def test_loading_a_state_replaces_what_was_seen():
    prior, other = fitted([A, A, B]), fitted([C, C, C, C, B])
    probability(prior, A)
    prior.load_state_dict(other.state_dict())
    assert probability(prior, C) == probability(other, C)


def test_a_histogram_that_saw_nothing_says_so():
    with pytest.raises(InputError, match="fit"):
        Histogram(4, (2, 2)).sample(1)
    with pytest.raises(InputError, match="none"):
        Histogram(4, (2, 2)).fit(torch.zeros(0, 2, 2).long())
    with pytest.raises(InputError, match="minutes"):
        Histogram(4, (2, 2), minutes=-1)
    assert Histogram(4, (2, 2)).loss(A[None]).item() == pytest.approx(math.log(4))


def test_baselines_of_unequal_codebooks_give_each_index_its_own_size():
    grids = torch.tensor(list(itertools.product(range(3), range(2), range(3), range(2))))
    grids = grids.view(-1, 2, 2)
    uniform, seen = Uniform((3, 2), (2, 2)), Histogram((3, 2), (2, 2))
    seen.fit(grids[[0, 0, 5, 9]])
    for prior in (uniform, seen):
        torch.testing.assert_close(prior.log_prob(grids).exp().sum(), torch.tensor(1.0))
        with pytest.raises(InputError, match="below the sizes of their codebooks"):
            prior.log_prob(torch.full((1, 2, 2), 2))
    mask = torch.tensor([[True, False], [True, False]]).expand(1, 2, 2)
    torch.testing.assert_close(uniform.loss(grids[:1], mask=mask), torch.tensor(3.0).log())
    drawn = uniform.sample(500, generator=torch.Generator().manual_seed(0))
    assert drawn.amax((0, 1)).tolist() == [2, 1]

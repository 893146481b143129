"""A cascade is a distribution over all levels at once: its factors are its priors'."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from smalti.artifacts import load_model, save_model
from smalti.conditions import CoarseTokens, Label
from smalti.errors import InputError
from smalti.priors import (
    AbsorbingDiffusion,
    BoundedCascade,
    Cascade,
    CascadeWithoutLikelihood,
    MaskedPrior,
    PixelCNN,
    SamplingConfig,
    cascade_of,
    uniform_prior_like,
)

LABEL = Label(["a", "b"])


def cascade(condition=None, sizes=(2, 3)) -> Cascade:
    above = CoarseTokens(sizes[:1], [(1, 2)], condition)
    options = {"hidden": 4, "layers": 1}
    top = PixelCNN(sizes[0], (1, 2), condition, **options)
    return Cascade([top, PixelCNN(sizes[1], (2, 2), above, **options)]).eval()


def rows() -> torch.Tensor:
    every = [*itertools.product(*[range(2)] * 2, *[range(3)] * 4)]
    return torch.tensor(every)


@pytest.mark.parametrize("condition", [None, LABEL])
def test_probabilities_of_all_rows_sum_to_one(condition):
    prior, every = cascade(condition), rows()
    context = None if condition is None else torch.ones(len(every), dtype=torch.int64)
    assert prior.log_prob(every, context).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_the_levels_add_up_and_each_is_its_prior_s():
    prior, every = cascade(LABEL), rows()
    context = torch.arange(len(every)) % 2
    of_levels = prior.log_probs(every, context)
    torch.testing.assert_close(of_levels.sum(1), prior.log_prob(every, context))
    top, bottom = prior.levels
    grids = prior.layout.unpack(every)
    torch.testing.assert_close(of_levels[:, 0], top.log_prob(grids[0], context))
    given = bottom.condition.pack(grids[:1], context)
    torch.testing.assert_close(of_levels[:, 1], bottom.log_prob(grids[1], given))


def test_samples_are_as_frequent_as_they_are_probable():
    prior, every = cascade(), rows()
    drawn = prior.sample(4000, generator=torch.Generator().manual_seed(0))
    found = (drawn[:, None] == every).all(2).double().mean(0)
    assert (found - prior.log_prob(every).exp()).abs().max() < 4 * math.sqrt(0.05 / 4000)


def test_known_indices_stay_at_every_level():
    prior = cascade()
    known = torch.tensor([[1, -1, 2, -1, -1, 0]]).expand(20, 6)
    drawn = prior.sample(20, known=known)
    assert torch.equal(torch.where(known >= 0, known, drawn), drawn)


def test_uniform_has_each_level_s_own_codebook():
    uniform = uniform_prior_like(cascade())
    wanted = -2 * math.log(2) - 4 * math.log(3)
    assert uniform.log_prob(rows())[0].item() == pytest.approx(wanted)
    drawn = uniform.sample(200)
    assert drawn[:, :2].max() == 1
    assert drawn[:, 2:].max() == 2


def test_a_saved_cascade_is_the_same(tmp_path):
    prior, every = cascade(LABEL), rows()
    save_model(prior, tmp_path / "model")
    context = torch.zeros(len(every), dtype=torch.int64)
    loaded = load_model(tmp_path / "model")
    assert torch.equal(loaded.log_prob(every, context), prior.log_prob(every, context))


def test_a_prior_of_other_levels_is_refused():
    top, bottom = cascade().levels
    with pytest.raises(InputError, match="got none"):
        Cascade([])
    for wrong in [
        PixelCNN(3, (2, 2), LABEL, hidden=4, layers=1),
        PixelCNN(3, (2, 2), CoarseTokens([2], [(2, 2)]), hidden=4, layers=1),
        PixelCNN(3, (2, 2), CoarseTokens([2], [(1, 2)], LABEL), hidden=4, layers=1),
    ]:
        with pytest.raises(InputError, match="The prior of level 1"):
            Cascade([top, wrong])
    masked = MaskedPrior(3, (2, 2), hidden=4, layers=1, heads=2)
    with pytest.raises(InputError, match="a MaskedPrior has none"):
        Cascade([top, masked])


SMALL = {"hidden": 4, "layers": 1}


def mixed(top=PixelCNN, bottom=AbsorbingDiffusion, condition=LABEL):
    def make(kind, *given):
        return kind(*given, **SMALL, **({} if kind is PixelCNN else {"heads": 2}))

    torch.manual_seed(0)
    above = CoarseTokens([2], [(1, 2)], condition)
    return cascade_of([make(top, 2, (1, 2), condition), make(bottom, 3, (2, 2), above)]).eval()


def test_what_a_cascade_knows_is_what_all_its_levels_know():
    kinds = {
        (PixelCNN, PixelCNN): Cascade,
        (PixelCNN, AbsorbingDiffusion): BoundedCascade,
        (AbsorbingDiffusion, PixelCNN): BoundedCascade,
        (PixelCNN, MaskedPrior): CascadeWithoutLikelihood,
        (AbsorbingDiffusion, MaskedPrior): CascadeWithoutLikelihood,
    }
    for levels, kind in kinds.items():
        assert type(mixed(*levels)) is kind
    for kind in (Cascade, BoundedCascade):
        with pytest.raises(InputError, match="a MaskedPrior has none"):
            kind(mixed(PixelCNN, MaskedPrior).levels)
    with pytest.raises(InputError, match="that of MaskedPrior cannot be"):
        mixed(PixelCNN, MaskedPrior).log_prob(rows())


def test_the_bound_is_the_sum_of_those_of_the_levels():
    prior, every = mixed(), rows()
    context = torch.arange(len(every)) % 2
    top, bottom = prior.levels
    coarse, fine = prior.layout.unpack(every)

    def seeded(bound, *given):
        return bound(*given, draws=3, generator=torch.Generator().manual_seed(0))

    of_levels = seeded(prior.bounds, every, context)
    torch.testing.assert_close(of_levels.sum(1), seeded(prior.bound, every, context))
    torch.testing.assert_close(of_levels[:, 0], -top.log_prob(coarse, context))
    given = bottom.condition.pack([coarse], context)
    torch.testing.assert_close(of_levels[:, 1], seeded(bottom.bound, fine, given))


def test_the_loss_is_the_mean_of_the_levels_by_their_indices():
    prior, every = mixed(MaskedPrior, AbsorbingDiffusion), rows()
    context = torch.arange(len(every)) % 2
    top, bottom = prior.levels
    coarse, fine = prior.layout.unpack(every)
    losses = top.loss(coarse, context), bottom.loss(fine, bottom.condition.pack([coarse], context))
    torch.testing.assert_close(prior.loss(every, context), (2 * losses[0] + 4 * losses[1]) / 6)


def test_options_are_of_the_levels_that_have_them():
    prior = mixed(PixelCNN, MaskedPrior)
    context = torch.zeros(5, dtype=torch.int64)

    def draw(**options):
        generator = torch.Generator().manual_seed(0)
        return prior.sample(5, context, config=SamplingConfig(**options), generator=generator)

    assert torch.equal(draw(steps=4)[:, :2], draw(steps=1, order="random")[:, :2])
    assert draw(order="confidence", choice_temperature=2).shape == (5, 6)
    with pytest.raises(InputError, match="draws in the order"):
        draw(order="spiral")
    with pytest.raises(InputError, match="samples without steps"):
        mixed(PixelCNN, PixelCNN).sample(5, context, config=SamplingConfig(steps=2))

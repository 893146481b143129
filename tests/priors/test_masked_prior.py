"""Masked priors: what is kept, in how many passes, in which order, and what they learn."""

import pytest
import torch

from smalti.conditions import Label, OptionalCondition
from smalti.errors import InputError
from smalti.layout import Layout
from smalti.priors import MaskedPrior, SamplingConfig
from smalti.priors.masked import ORDERS
from smalti.priors.orders import halton_order, halton_ranks
from toy_words import ToyWords

SIZES = {"hidden": 8, "layers": 1, "heads": 2}


def made(size=5, grid=(3, 4), condition=None):
    """With weights so large that every path leaves its mark."""
    torch.manual_seed(0)
    prior = MaskedPrior(size, grid, condition, **SIZES).double().eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, 0, 0.5)
    return prior


def draw(prior, n, known=None, seed=0, context=None, **options):
    config, generator = SamplingConfig(**options), torch.Generator().manual_seed(seed)
    return prior.sample(n, context, known=known, config=config, generator=generator)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("steps", [1, 5, 100])
def test_any_part_is_filled_in_and_the_rest_stays(order, steps):
    prior = made((5, 3), (2, 3, 2))
    limits = torch.tensor([5, 3])
    whole = draw(prior, 40)
    known = whole.where(torch.rand(whole.shape) < torch.rand(40, 1, 1, 1), -1)
    known[0], known[1] = -1, whole[1]
    filled = draw(prior, 40, known, order=order, steps=steps)
    assert torch.equal(filled[known >= 0], known[known >= 0])
    assert ((filled >= 0) & (filled < limits)).all()


def test_there_are_as_many_passes_as_steps_and_no_more_than_indices():
    prior, passes = made(), []
    prior.norm.register_forward_hook(lambda *_: passes.append(1))
    known = torch.full((4, 3, 4), -1)
    known[:, 0] = 2  # 8 are left
    known[0] = 1
    for steps, given, wanted in ((4, None, 4), (12, None, 12), (99, None, 12), (99, known, 8)):
        passes.clear()
        draw(prior, 4, given, steps=steps)
        assert len(passes) == wanted
    passes.clear()
    draw(prior, 4, torch.ones(4, 3, 4).long())
    assert not passes


@pytest.mark.parametrize("guidance", [1, 2])
def test_what_the_context_says_is_computed_once(guidance):
    prior, passes = made(condition=OptionalCondition(Label(["a", "b"]), 0.1)), []
    prior.context.register_forward_hook(lambda *_: passes.append(1))
    draw(prior, 4, context=torch.ones(4).long(), steps=6, guidance=guidance)
    assert len(passes) == 1


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_left_alone_is_drawn_from_its_distribution(order):
    prior, n = made(), 2000
    known = torch.arange(12).view(1, 3, 4) % 5
    known[0, 1, 2] = -1
    p = prior.logits(known)[0, 1, 2].softmax(-1)
    drawn = draw(prior, n, known.expand(n, 3, 4), order=order)[:, 1, 2]
    found = torch.bincount(drawn, minlength=5) / n
    torch.testing.assert_close(found, p.detach().float(), atol=0.04, rtol=0)


@pytest.mark.parametrize("shape", [(1,), (7,), (1, 9), (5, 3), (8, 8), (16, 16)])
def test_the_halton_order_takes_every_position_once(shape):
    order = halton_order(shape)
    assert order.sort().values.tolist() == list(range(torch.Size(shape).numel()))


def test_the_halton_order_spreads():
    """The largest hole that a beginning leaves is smaller than by chance; quarters fill alike."""
    places = torch.cartesian_prod(torch.arange(16.0), torch.arange(16.0))

    def hole(first):
        return torch.cdist(places, places[first]).amin(1).max()

    torch.manual_seed(0)
    for k in (8, 16, 32, 64):
        first = halton_order((16, 16))[:k]
        chance = torch.stack([hole(torch.randperm(256)[:k]) for _ in range(9)])
        assert hole(first) < chance.median()
        quarters = (places[first] >= 8).long() @ torch.tensor([2, 1])
        assert (torch.bincount(quarters, minlength=4) - k // 4).abs().max() <= 1


def test_deeper_indices_come_after_those_of_all_positions():
    ranks = halton_ranks(Layout(((4, 4),), ((8, 8),))).view(16, 2)
    assert ranks[:, 0].max() < ranks[:, 1].min()
    assert ranks.flatten().sort().values.tolist() == list(range(32))


def test_few_steps_suffice_for_what_it_learned_in_all_directions():
    """All indices of a grid are equal, and of one of the two that a label allows."""
    torch.manual_seed(0)
    prior = MaskedPrior(4, (3, 3), Label(["a", "b"]), hidden=16, layers=2, heads=2)
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(150):
        context = torch.randint(2, (32,))
        value = 2 * context + torch.randint(2, (32,))
        optimizer.zero_grad()
        prior.loss(value[:, None, None].expand(32, 3, 3), context).backward()
        optimizer.step()
    context = torch.arange(200) % 2
    drawn = draw(prior, 200, context=context, steps=5).flatten(1)
    equal = (drawn == drawn[:, :1]).all(1)
    assert equal.float().mean() > 0.7
    assert torch.equal(drawn[equal][:, 0] // 2, context[equal])
    assert set(drawn[equal][:, 0].tolist()) == {0, 1, 2, 3}
    known = torch.full((50, 3, 3), -1)
    known[:, 2, 2] = 3  # the last decides on the first
    filled = draw(prior, 50, known, context=torch.ones(50).long(), temperature=0)
    assert (filled == 3).float().mean() > 0.95


def test_words_are_seen_and_what_stands_in_the_place_of_none_is_not():
    words = ToyWords(["red", "blue", "heart"], 3)
    prior = made(condition=words)
    indices = torch.full((1, 3, 4), -1)
    one, other = torch.tensor([[0, 2, -1]]), torch.tensor([[1, 2, -1]])
    assert (prior.logits(indices, one) - prior.logits(indices, other)).abs().max() > 1e-3
    swapped = torch.tensor([[2, 0, -1]])
    assert (prior.logits(indices, one) - prior.logits(indices, swapped)).abs().max() > 1e-3
    longer = MaskedPrior(5, (3, 4), ToyWords(["red", "blue", "heart"], 4), **SIZES).double().eval()
    longer.load_state_dict(prior.state_dict())
    padded = torch.tensor([[0, 2, -1, -1]])
    torch.testing.assert_close(longer.logits(indices, padded), prior.logits(indices, one))
    with torch.inference_mode():  # where torch has a faster way
        torch.testing.assert_close(longer.logits(indices, padded), prior.logits(indices, one))


def test_luck_decides_less_at_a_lower_choice_temperature():
    prior = made()
    options = {"order": "confidence", "temperature": 1e-9, "steps": 4}
    sure = [draw(prior, 30, seed=seed, choice_temperature=0, **options) for seed in (0, 1)]
    lucky = [draw(prior, 30, seed=seed, choice_temperature=20, **options) for seed in (0, 1)]
    assert torch.equal(*sure)
    assert not torch.equal(*lucky)


@pytest.mark.parametrize(
    "options, named",
    [
        ({"order": "spiral"}, "confidence, halton or random, got 'spiral'"),
        ({"order": "random", "choice_temperature": 2}, "got 2.0 with the order random"),
        ({"guidance": 2}, "Guidance makes more of a condition"),
    ],
)
def test_what_it_cannot_do_is_one_line(options, named):
    with pytest.raises(InputError, match=named) as raised:
        draw(made(), 2, **options)
    assert "\n" not in str(raised.value)


def test_it_has_no_likelihood_and_sizes_must_fit():
    with pytest.raises(InputError, match="has no likelihood"):
        made().log_prob(torch.zeros(1, 3, 4).long())
    for size, grid in (((5, 3), (2, 3)), ((5, 3, 4), (3, 2)), (5, (2, 2, 2, 2))):
        with pytest.raises(InputError, match=r"MaskedPrior takes grids") as raised:
            MaskedPrior(size, grid, **SIZES)
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="hidden a multiple of heads"):
        MaskedPrior(5, (2, 2), hidden=7, heads=2)
    with pytest.raises(InputError, match="below the sizes of their codebooks"):
        made((5, 3), (2, 2)).loss(torch.full((1, 2, 2), 4))

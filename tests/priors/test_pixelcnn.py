"""The gated PixelCNN: what it sees, that stepping equals the full pass, and that it learns."""

import itertools

import pytest
import torch

from smalti.conditions import Label, TimeOfDay
from smalti.errors import InputError
from smalti.priors import PixelCNN, PixelSNAIL, SamplingConfig
from walks import context_for, follows_the_full_pass, large, sees_the_past_and_nothing_else

K = 5
GRIDS = [(4, 4), (3, 6), (6, 3), (1, 7), (7,), (4, 1), (1, 1), (1,)]


def made(grid, condition=None, scale=0.3, **options):
    return large(PixelCNN(K, grid, condition, **{"hidden": 8, "layers": 4, **options}), scale)


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("grid", [(4, 5), (1, 7), (7,), (5, 2)])
def test_a_position_sees_all_that_is_before_it_and_nothing_else(grid, kernel_size):
    sees_the_past_and_nothing_else(made(grid, kernel_size=kernel_size, layers=6))


def test_the_receptive_field_is_as_large_as_stated():
    prior = made((9, 9), layers=3, kernel_size=3)
    indices = torch.zeros(1, 9, 9).long()
    moved = []
    for row in range(8):
        other = indices.clone()
        other[0, row, 4] = 1
        moved.append(not torch.equal(prior.logits(other)[0, 8, 4], prior.logits(indices)[0, 8, 4]))
    assert moved == [False] * 4 + [True] * 4  # 3 · 1 + 1 rows up


@pytest.mark.parametrize("condition", [None, TimeOfDay(), Label(["a", "b"])], ids=str)
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("grid", GRIDS)
def test_stepping_gives_the_logits_of_the_full_pass(grid, kernel_size, condition):
    prior = made(grid, condition, kernel_size=kernel_size)
    follows_the_full_pass(prior, context_for(prior, 3))


def all_grids(k, positions):
    return torch.tensor(list(itertools.product(range(k), repeat=positions)))


def chi_square(counts, expected):
    """Of the cells with something to expect, divided by their number: about 1 if they agree."""
    kept = expected > 5
    return ((counts - expected)[kept] ** 2 / expected[kept]).mean().item()


@pytest.mark.parametrize("grid", [(2, 2), (4,)])
def test_samples_follow_the_distribution(grid):
    prior = made(grid, TimeOfDay())
    n, grids = 20_000, all_grids(K, 4)
    context = torch.full((len(grids),), 77.0)
    expected = n * prior.log_prob(grids.view(-1, *grid), context).exp().detach()
    drawn = prior.sample(n, context[:1].expand(n)).flatten(1)
    counts = torch.bincount(drawn @ torch.tensor([K**3, K**2, K, 1]), minlength=K**4)
    assert chi_square(counts, expected) < 1.5
    assert chi_square(counts, counts.roll(1).double()) > 5


def test_with_a_known_beginning_samples_follow_the_conditional_distribution():
    prior = made((2, 2))
    n, known = 10_000, torch.tensor([[3, 1], [-1, -1]])
    drawn = prior.sample(n, known=known.expand(n, 2, 2))
    assert (drawn[:, 0] == known[0]).all()
    rest = all_grids(K, 2)
    grids = torch.cat([known[0].expand(len(rest), 2), rest], 1).view(-1, 2, 2)
    expected = n * prior.log_prob(grids).softmax(0).detach()
    counts = torch.bincount(drawn[:, 1] @ torch.tensor([K, 1]), minlength=K**2)
    assert chi_square(counts, expected) < 2


def test_without_a_condition_positions_still_differ():
    prior = made((4, 4), layers=1)
    logits = prior.logits(torch.zeros(1, 4, 4).long())[0, 2:, 1:3].flatten(0, 1)
    # With one layer, all that these four see is the same but for the place.
    assert torch.cdist(logits, logits).fill_diagonal_(1).min() > 1e-3


def test_indices_are_names_and_not_numbers():
    prior, renamed = made((3, 3)), made((3, 3))
    renamed.load_state_dict(prior.state_dict())
    names = torch.randperm(K)
    with torch.no_grad():
        renamed.embedding.weight[names] = prior.embedding.weight
        renamed.second.weight[names] = prior.second.weight
        renamed.second.bias[names] = prior.second.bias
    indices = torch.randint(K, (4, 3, 3))
    torch.testing.assert_close(prior.log_prob(indices), renamed.log_prob(names[indices]))


def test_where_nothing_is_ever_to_the_left_every_weight_is_there_for_the_optimizer():
    prior = made((3, 1), layers=2)
    prior.loss(torch.randint(K, (4, 3, 1))).backward()
    assert all(weight.grad is not None for weight in prior.parameters())


def test_it_learns_what_depends_on_the_past_and_on_the_condition():
    """Slanted stripes: an index follows from those before it, and the label says which is first."""
    torch.manual_seed(0)
    place = torch.arange(5)
    stripes = (place[:, None] - 2 * place + place[:, None, None]) % K  # (label, row, column)
    label, context = Label(["a", "b", "c", "d", "e"]), torch.arange(5).repeat(8)
    prior = PixelCNN(K, (5, 5), label, hidden=16, layers=3)
    optimizer = torch.optim.Adam(prior.parameters(), 5e-3)
    for _ in range(120):
        noisy = torch.where(
            torch.rand(40, 5, 5) < 0.05, torch.randint(K, (40, 5, 5)), stripes[context]
        )
        optimizer.zero_grad()
        prior.loss(noisy, context).backward()
        optimizer.step()
    assert prior.loss(stripes, context[:5]) < 0.15  # 1.61 under the uniform prior
    assert prior.loss(stripes, (context[:5] + 1) % 5) > 0.2
    assert torch.equal(prior.sample(5, context[:5], config=SamplingConfig(temperature=0)), stripes)


@pytest.mark.parametrize("kernel_size", [1, 4])
def test_an_impossible_kernel_is_refused(kernel_size):
    with pytest.raises(InputError, match="odd"):
        PixelCNN(K, (2, 2), kernel_size=kernel_size)


@pytest.mark.parametrize("family", [PixelCNN, PixelSNAIL])
def test_several_indices_a_position_are_sent_to_the_prior_that_takes_them(family):
    with pytest.raises(InputError, match="for several indices per position take DepthPixelCNN"):
        family(K, (8, 8, 10))

"""The gated PixelCNN: what it sees, that stepping equals the full pass, and that it learns."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from smalti.data.conditions import Label, TimeOfDay
from smalti.errors import InputError
from smalti.priors import PixelCNN
from walks import follows_the_full_pass, walks_apart

K = 5
GRIDS = [(4, 4), (3, 6), (6, 3), (1, 7), (7,), (4, 1), (1, 1), (1,)]


def made(grid, condition=None, scale=0.3, **options):
    """A PixelCNN in float64 whose weights are large, so that every path leaves its mark."""
    prior = PixelCNN(K, grid, condition, **{"hidden": 8, "layers": 4, **options}).double().eval()
    for name, parameter in prior.named_parameters():
        size = 1.0 if "embedding" in name else scale
        torch.nn.init.normal_(parameter, 0, size)
    return prior


def context_for(prior, batch):
    if prior.condition is None:
        return None
    return torch.rand(batch) * 719 if prior.condition.name == "time" else torch.arange(batch) % 2


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("grid", [(4, 5), (1, 7), (7,), (5, 2)])
def test_a_position_sees_all_that_is_before_it_and_nothing_else(grid, kernel_size):
    prior = made(grid, kernel_size=kernel_size, layers=6)
    positions, first = prior.positions, torch.randint(K, (1, *grid))
    before = prior.logits(first).detach().flatten(1, -2)
    for changed in range(positions):
        other = first.clone().flatten()
        other[changed] = (other[changed] + 1) % K
        after = prior.logits(other.view_as(first)).detach().flatten(1, -2)
        moved = ((after - before).abs().amax(-1)[0] > 0).tolist()
        assert moved == [i > changed for i in range(positions)]


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


def test_two_walks_do_not_disturb_each_other():
    prior = made((3, 3))
    walks_apart(prior)


def test_dropout_acts_in_training_and_never_in_samples():
    prior = made((3, 3), dropout=0.5).train()
    indices = torch.randint(K, (2, 3, 3))
    assert not torch.equal(prior.logits(indices), prior.logits(indices))
    draw = [prior.sample((8, 3, 3), generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    assert torch.equal(*draw)
    first = prior.start(2).logits()
    torch.testing.assert_close(first, prior.eval().logits(indices).detach()[:, 0, 0])


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
    drawn = prior.sample((n, *grid), context[:1].expand(n)).flatten(1)
    counts = torch.bincount(drawn @ torch.tensor([K**3, K**2, K, 1]), minlength=K**4)
    assert chi_square(counts, expected) < 1.5
    assert chi_square(counts, counts.roll(1).double()) > 5


def test_with_a_known_beginning_samples_follow_the_conditional_distribution():
    prior = made((2, 2))
    n, known = 10_000, torch.tensor([[3, 1], [-1, -1]])
    drawn = prior.sample((n, 2, 2), known=known.expand(n, 2, 2))
    assert (drawn[:, 0] == known[0]).all()
    rest = all_grids(K, 2)
    grids = torch.cat([known[0].expand(len(rest), 2), rest], 1).view(-1, 2, 2)
    expected = n * prior.log_prob(grids).softmax(0).detach()
    counts = torch.bincount(drawn[:, 1] @ torch.tensor([K, 1]), minlength=K**2)
    assert chi_square(counts, expected) < 2


def test_known_indices_that_differ_between_samples_are_seen_by_what_follows():
    prior = made((3, 3), scale=0.6)
    known = torch.full((2, 3, 3), -1)
    known[0, 0, 1], known[1, 1, 2] = 4, 0
    drawn = prior.sample((2, 3, 3), known=known, temperature=0)
    assert drawn[0, 0, 1] == 4 and drawn[1, 1, 2] == 0
    best = prior.logits(drawn).argmax(-1)
    assert torch.equal(best[known < 0], drawn[known < 0])


@pytest.mark.parametrize("condition", [TimeOfDay(), Label(["a", "b"])], ids=str)
@pytest.mark.parametrize("grid", [(3, 3), (5,)])
def test_the_condition_is_felt_at_every_position(grid, condition):
    prior = made(grid, condition)
    indices = torch.randint(K, (16, *grid))
    values = [torch.full((16,), value, dtype=condition.dtype) for value in (0, 1)]
    one, other = (prior.logits(indices, value) for value in values)
    assert ((one - other).abs().amax(-1).amax(0) > 1e-6).all()


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


@pytest.mark.parametrize("condition", [None, TimeOfDay()], ids=str)
@pytest.mark.parametrize("grid", [(3, 3), (4,), (3, 1)])
def test_every_weight_is_used(grid, condition):
    prior = made(grid, condition, layers=2)
    prior.loss(torch.randint(K, (4, *grid)), context_for(prior, 4)).backward()
    assert all(weight.grad is not None for weight in prior.parameters())
    if grid != (3, 1):  # where nothing is ever to the left
        assert all(weight.grad.any() for weight in prior.parameters())


def test_a_1d_grid_is_a_grid_of_one_row():
    row, line = made((1, 6)), made((6,))
    line.load_state_dict(row.state_dict())
    indices = torch.randint(K, (3, 6))
    assert torch.equal(row.log_prob(indices[:, None]), line.log_prob(indices))


def test_the_loss_is_whole_under_autocast():
    prior = PixelCNN(K, (3, 3), hidden=8, layers=2)
    indices = torch.randint(K, (4, 3, 3))
    expected = prior.loss(indices)
    with torch.autocast("cpu", torch.bfloat16):
        loss = prior.loss(indices)
        drawn = prior.sample((2, 3, 3))
    assert loss.dtype == torch.float32 and drawn.shape == (2, 3, 3)
    torch.testing.assert_close(loss, expected, atol=0.02, rtol=0)


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
    assert torch.equal(prior.sample((5, 5, 5), context[:5], temperature=0), stripes)


def test_the_loss_is_the_cross_entropy():
    prior = made((3, 3))
    indices = torch.randint(K, (4, 3, 3))
    expected = F.cross_entropy(prior.logits(indices).flatten(0, -2), indices.flatten())
    torch.testing.assert_close(prior.loss(indices), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 4},
        {"kernel_size": 1},
        {"hidden": 0},
        {"layers": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"grid": (2, 2, 2)},
    ],
    ids=str,
)
def test_impossible_arguments_are_refused(options):
    with pytest.raises(InputError) as raised:
        PixelCNN(K, options.pop("grid", (2, 2)), **options)
    assert "\n" not in str(raised.value)

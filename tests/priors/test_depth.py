"""Several indices a position: the order they are read in, stepping, and that depth is learned."""

import pytest
import torch
from torch.nn import functional as F

from smalti.data.conditions import GridsAbove, Label
from smalti.errors import InputError
from smalti.nn.embeddings import DepthEmbedding
from smalti.priors import DepthPixelCNN, PixelCNN
from walks import follows_the_full_pass, walks_apart

K = 5
GRIDS = [(3, 4, 2), (4, 2, 3), (1, 3, 4), (5, 2), (1, 3), (1, 1, 2)]
LABEL = Label(["a", "b"])
ABOVE = GridsAbove([4], [(2, 2)], LABEL)


def made(grid, condition=None, scale=0.3, **options):
    """A prior in float64 whose weights are large, so that every path leaves its mark."""
    options = {"hidden": 8, "layers": 4, **options}
    prior = DepthPixelCNN(K, grid, condition, **options).double().eval()
    for name, parameter in prior.named_parameters():
        torch.nn.init.normal_(parameter, 0, 1.0 if "embedding" in name else scale)
    return prior


@pytest.mark.parametrize("grid", GRIDS)
def test_an_index_sees_all_that_is_before_it_and_nothing_else(grid):
    """Position by position in reading order, and in each from the first of Q to the last."""
    prior = made(grid)
    first = torch.randint(K, (1, *grid))
    before = prior.logits(first).detach().flatten(1, -2)
    # A ReLU may hide one change: an index is seen if any of the others in its place is felt.
    for changed in range(prior.positions):
        others = first.flatten().repeat(K - 1, 1)
        others[:, changed] = (others[:, changed] + torch.arange(1, K)) % K
        after = prior.logits(others.view(-1, *grid)).detach().flatten(1, -2)
        moved = ((after - before).abs().amax((0, 2)) > 1e-12).tolist()
        assert moved == [i > changed for i in range(prior.positions)]


@pytest.mark.parametrize("condition", [None, LABEL, ABOVE], ids=["none", "label", "grids"])
@pytest.mark.parametrize("grid", GRIDS)
def test_stepping_gives_the_logits_of_the_full_pass(grid, condition):
    prior = made(grid, condition)
    follows_the_full_pass(prior, None if condition is None else condition.draw(3), single=1e-3)


def test_two_walks_do_not_disturb_each_other():
    prior = made((2, 2, 3))
    walks_apart(prior)


def test_known_indices_within_a_position_are_seen_by_what_follows():
    prior = made((2, 2, 3), scale=0.6)
    known = torch.full((2, 2, 2, 3), -1)
    known[0, 0, 1, 0], known[1, 1, 0, 2], known[1, 0, 0, 1] = 4, 0, 3
    drawn = prior.sample((2, 2, 2, 3), known=known, temperature=0)
    assert torch.equal(drawn[known >= 0], known[known >= 0])
    best = prior.logits(drawn).argmax(-1)
    assert torch.equal(best[known < 0], drawn[known < 0])


def test_the_condition_is_felt_at_every_position_and_depth():
    for condition in (LABEL, ABOVE):
        prior = made((2, 3, 2), condition)
        indices, values = torch.randint(K, (16, 2, 3, 2)), torch.zeros(2, 1, *condition.shape)
        values[1] = 1
        one, other = (
            prior.logits(indices, value.expand(16, *condition.shape).to(condition.dtype))
            for value in values
        )
        assert ((one - other).abs().amax(-1).amax(0) > 1e-6).all()


def test_the_loss_is_the_cross_entropy_of_all_indices():
    prior = made((2, 2, 3))
    indices = torch.randint(K, (4, 2, 2, 3))
    expected = F.cross_entropy(prior.logits(indices).flatten(0, -2), indices.flatten())
    torch.testing.assert_close(prior.loss(indices), expected)


def test_the_class_decides_how_a_grid_is_read():
    assert DepthPixelCNN(K, (3, 2), hidden=4, layers=1).shape == (1, 3)
    assert PixelCNN(K, (3, 2), hidden=4, layers=1).shape == (3, 2)
    row, line = made((1, 3, 2)), made((3, 2))
    line.load_state_dict(row.state_dict())
    indices = torch.randint(K, (4, 3, 2))
    assert torch.equal(row.log_prob(indices[:, None]), line.log_prob(indices))


def test_it_learns_what_depends_on_depth_position_and_condition():
    """Of three indices the second follows from the first, the third from both, and the first from
    the third of the position before and, at the beginning, from the label.
    """
    torch.manual_seed(0)
    label = Label(list("abcde"))
    context = torch.arange(5)
    rows, q = [], context
    for _ in range(4):
        second = (2 * q + 1) % K
        third = (q + second * second) % K
        rows.append(torch.stack([q, second, third], -1))
        q = (third + 1) % K
    grids = torch.stack(rows, 1).view(5, 2, 2, 3)
    prior = DepthPixelCNN(K, (2, 2, 3), label, hidden=16, layers=2)
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(100):
        noise = torch.randint(K, (40, 2, 2, 3))
        noisy = torch.where(torch.rand(noise.shape) < 0.05, noise, grids.repeat(8, 1, 1, 1))
        optimizer.zero_grad()
        prior.loss(noisy, context.repeat(8)).backward()
        optimizer.step()
    assert prior.loss(grids, context) < 0.15  # 1.61 under the uniform prior
    assert torch.equal(prior.sample((5, 2, 2, 3), context, temperature=0), grids)


def test_every_weight_has_a_gradient():
    prior = DepthPixelCNN(K, (3, 3, 2), ABOVE, hidden=8, layers=2)
    prior.loss(torch.randint(K, (8, 3, 3, 2)), ABOVE.draw(8)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in prior.parameters())


def test_codebook_sizes_are_those_of_a_quantizer_if_they_are_equal():
    assert DepthPixelCNN([7, 7, 7], (2, 2, 3), hidden=4, layers=1).codebook_size == 7


@pytest.mark.parametrize(
    "size, grid",
    [(K, (2, 2, 2, 2)), (K, (4,)), (K, ()), (K, (2, 2, 1)), ([5, 6], (2, 2)), ([5, 5], (2, 3))],
)
def test_impossible_arguments_are_refused_in_one_line(size, grid):
    with pytest.raises(InputError, match="DepthPixelCNN takes") as raised:
        DepthPixelCNN(size, grid)
    assert "\n" not in str(raised.value)


def test_a_sum_of_one_row_of_each_table_has_variance_one():
    torch.manual_seed(0)
    embedding = DepthEmbedding(4, 500, 64)
    e = embedding(torch.randint(500, (500, 4))).sum(-2)
    torch.testing.assert_close(e.var(), torch.tensor(1.0), atol=0.05, rtol=0)

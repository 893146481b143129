"""Several indices per position: the order they are read in, stepping, and that depth is learned."""

import pytest
import torch

from smalti.conditions import CoarseTokens, Label
from smalti.errors import InputError
from smalti.nn.embeddings import DepthEmbedding
from smalti.priors import DepthPixelCNN, PixelCNN, SamplingConfig
from walks import context_for, follows_the_full_pass, large, sees_the_past_and_nothing_else

K = 5
GRIDS = [(3, 4, 2), (4, 2, 3), (1, 3, 4), (5, 2), (1, 3), (1, 1, 2)]
LABEL = Label(["a", "b"])
ABOVE = CoarseTokens([4], [(2, 2)], LABEL)


def made(grid, condition=None):
    return large(DepthPixelCNN(K, grid, condition, hidden=8, layers=4))


@pytest.mark.parametrize("grid", GRIDS)
def test_an_index_sees_all_that_is_before_it_and_nothing_else(grid):
    """Position by position in reading order, and in each from the first of Q to the last."""
    sees_the_past_and_nothing_else(made(grid))


@pytest.mark.parametrize("condition", [None, LABEL, ABOVE], ids=["none", "label", "grids"])
@pytest.mark.parametrize("grid", GRIDS)
def test_stepping_gives_the_logits_of_the_full_pass(grid, condition):
    prior = made(grid, condition)
    follows_the_full_pass(prior, context_for(prior, 3), single=1e-3)


def test_the_class_decides_how_a_grid_is_read():
    assert DepthPixelCNN(K, (3, 2), hidden=4, layers=1).shape == (1, 3)
    assert PixelCNN(K, (3, 2), hidden=4, layers=1).shape == (3, 2)


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
    assert torch.equal(prior.sample(5, context, config=SamplingConfig(temperature=0)), grids)


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

"""Laws that every autoregressive prior which is a network keeps."""

import pytest
import torch
from torch.nn import functional as F

from smalti.conditions import CoarseTokens, Label, TimeOfDay
from smalti.errors import InputError
from smalti.priors import DepthPixelCNN, PixelCNN, PixelSNAIL, SamplingConfig, TransformerPrior
from walks import context_for, large, walks_apart

K = 5
LABEL = Label(["a", "b"])
ABOVE = CoarseTokens([4, 3], [(1, 2), (2, 2)], LABEL)
FAMILIES = {
    PixelCNN: ((3, 3), {"hidden": 8, "layers": 4}),
    PixelSNAIL: ((3, 3), {"hidden": 8, "blocks": 2, "layers": 2, "heads": 2}),
    DepthPixelCNN: ((2, 3, 2), {"hidden": 8, "layers": 4}),
    TransformerPrior: ((3, 3), {"hidden": 8, "layers": 2, "heads": 2}),
}
SENSELESS = [{"hidden": 0}, {"layers": 0}, {"dropout": 1.0}, {"dropout": -0.1}]


@pytest.fixture(params=FAMILIES, ids=lambda family: family.__name__)
def make(request):
    """Makes a prior of a family, of its usual grid if no other is given."""
    usual, sizes = FAMILIES[request.param]

    def make(grid=usual, condition=None, **options):
        return request.param(K, grid, condition, **{**sizes, **options})

    return make


def test_two_walks_do_not_disturb_each_other(make):
    walks_apart(large(make()))


def test_dropout_acts_in_training_and_never_in_samples(make):
    prior = large(make(dropout=0.5)).train()
    indices = torch.randint(K, (2, *prior.grid))
    assert not torch.equal(prior.logits(indices), prior.logits(indices))
    draw = [prior.sample(8, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    assert torch.equal(*draw)
    first = prior.start(2).logits()
    expected = prior.eval().logits(indices).detach().flatten(1, -2)
    torch.testing.assert_close(first, expected[:, 0])


def test_known_indices_that_differ_between_samples_are_seen_by_what_follows(make):
    prior = large(make(), scale=0.6)
    known = torch.full((2, prior.positions), -1)
    known[0, 1], known[1, 5] = 4, 0
    known = known.view(2, *prior.grid)
    drawn = prior.sample(2, known=known, config=SamplingConfig(temperature=0))
    assert torch.equal(drawn[known >= 0], known[known >= 0])
    best = prior.logits(drawn).argmax(-1)
    assert torch.equal(best[known < 0], drawn[known < 0])


@pytest.mark.parametrize("condition", [TimeOfDay(), LABEL, ABOVE], ids=str)
def test_the_condition_is_felt_at_every_index(make, condition):
    prior = large(make(condition=condition))
    indices = torch.randint(K, (16, *prior.grid))
    one, other = (
        prior.logits(indices, torch.full((16, *condition.shape), value, dtype=condition.dtype))
        for value in (0, 1)
    )
    assert ((one - other).abs().amax(-1).amax(0) > 1e-6).all()


@pytest.mark.parametrize("condition", [None, TimeOfDay(), ABOVE], ids=str)
@pytest.mark.parametrize("row", [False, True], ids=["rows", "row"])
def test_every_weight_is_used(make, condition, row):
    prior = make(condition=condition, layers=2)
    if row:
        prior = make(prior.grid[1:], condition, layers=2)
    indices = torch.randint(K, (8, *prior.grid))
    prior.loss(indices, context_for(prior, 8)).backward()
    assert all(weight.grad.any() for weight in prior.parameters())


def test_a_1d_grid_is_a_grid_of_one_row(make):
    length = make().grid[1:]
    row, line = large(make((1, *length))), make(length).double().eval()
    line.load_state_dict(row.state_dict())
    indices = torch.randint(K, (3, *length))
    assert torch.equal(row.log_prob(indices[:, None]), line.log_prob(indices))


def test_the_loss_is_the_cross_entropy_of_all_indices(make):
    prior = large(make())
    indices = torch.randint(K, (4, *prior.grid))
    expected = F.cross_entropy(prior.logits(indices).flatten(0, -2), indices.flatten())
    torch.testing.assert_close(prior.loss(indices), expected)


def test_the_loss_is_whole_under_autocast(make):
    prior = make(layers=2)
    indices = torch.randint(K, (4, *prior.grid))
    expected = prior.loss(indices)
    with torch.autocast("cpu", torch.bfloat16):
        loss = prior.loss(indices)
        drawn = prior.sample(2)
    assert loss.dtype == torch.float32 and drawn.shape == (2, *prior.grid)
    torch.testing.assert_close(loss, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("wrong", SENSELESS, ids=str)
def test_impossible_sizes_are_refused(make, wrong):
    with pytest.raises(InputError) as raised:
        make(**wrong)
    assert "\n" not in str(raised.value)

"""PixelSNAIL: what attention sees, that stepping equals the full pass, and that far is near."""

import pytest
import torch
from torch.nn import functional as F

from smalti.data.conditions import GridsAbove, Label, TimeOfDay
from smalti.errors import InputError
from smalti.nn.attention import CausalAttention
from smalti.nn.gate import gate
from smalti.priors import PixelCNN, PixelSNAIL
from walks import follows_the_full_pass, walks_apart

K = 5
ABOVE = GridsAbove([4, 3], [(1, 2), (2, 2)], Label(["a", "b"]))
GRIDS = [(4, 4), (3, 6), (6, 3), (1, 7), (7,), (4, 1), (1, 1), (1,)]


def made(grid, condition=None, scale=0.3, **options):
    """A PixelSNAIL in float64 whose weights are large, so that every path leaves its mark."""
    sizes = {"hidden": 8, "blocks": 2, "layers": 2, "heads": 2, **options}
    prior = PixelSNAIL(K, grid, condition, **sizes).double().eval()
    for name, parameter in prior.named_parameters():
        torch.nn.init.normal_(parameter, 0, 1.0 if "embedding" in name else scale)
    return prior


def context_for(prior, batch):
    return None if prior.condition is None else prior.condition.draw(batch)


def test_attention_is_the_mean_of_earlier_values_under_the_softmax_of_products():
    attention = CausalAttention(4, heads=2).double()
    torch.nn.init.normal_(attention.start)
    h, e, t = torch.randn(3, 2, 4, 2, 3).double()
    q, k, v, a = (attention.own(h) + attention.context(t)).flatten(2).split(attention.widths, 1)
    k, v = (torch.cat([k, v], 1) + attention.index(e).flatten(2)).chunk(2, 1)
    k0, v0 = attention.start.chunk(2)

    x = torch.zeros(2, 4, 6).double()
    for b in range(2):
        for i in range(6):
            for head in (slice(0, 2), slice(2, 4)):
                keys = torch.stack([k0[head], *(k[b, head, j] for j in range(i))])
                values = torch.stack([v0[head], *(v[b, head, j] for j in range(i))])
                x[b, head, i] = (keys @ q[b, head, i] / 2**0.5).softmax(0) @ values
    z = gate(a.view(2, 8, 2, 3) + attention.output(x.view(2, 4, 2, 3)), 1)
    next_h, given = attention(h, e, t)
    torch.testing.assert_close(given, z)
    torch.testing.assert_close(next_h, h + attention.residual(z))


@pytest.mark.parametrize("grid", [(4, 5), (1, 7), (7,), (5, 2)])
def test_a_position_sees_all_that_is_before_it_and_nothing_else(grid):
    prior = made(grid, blocks=1, layers=1)  # whose convolutions alone see a few positions only
    positions, first = prior.positions, torch.randint(K, (1, *grid))
    before = prior.logits(first).detach().flatten(1, -2)
    for changed in range(positions):
        other = first.clone().flatten()
        other[changed] = (other[changed] + 1) % K
        after = prior.logits(other.view_as(first)).detach().flatten(1, -2)
        moved = ((after - before).abs().amax(-1)[0] > 0).tolist()
        assert moved == [i > changed for i in range(positions)]


def test_the_first_index_reaches_the_last_position_which_convolutions_do_not():
    first = torch.zeros(1, 12, 12).long()
    other = first.clone()
    other[0, 0, 0] = 1
    snail, cnn = made((12, 12)), PixelCNN(K, (12, 12), hidden=8, layers=4).double().eval()
    moved = [(p.logits(other) - p.logits(first))[0, -1, -1].abs().max() for p in (snail, cnn)]
    assert moved[0] > 1e-4 and moved[1] == 0


def test_a_dependence_farther_away_than_convolutions_reach_is_learned():
    """The last index repeats the first: twenty positions apart, of which two layers see four."""
    torch.manual_seed(0)
    prior = PixelSNAIL(K, (20,), hidden=16, blocks=1, layers=2, heads=2)
    optimizer = torch.optim.Adam(prior.parameters(), 5e-3)
    for _ in range(150):
        indices = torch.randint(K, (64, 20))
        indices[:, -1] = indices[:, 0]
        optimizer.zero_grad()
        last = prior.logits(indices)[:, -1]
        F.cross_entropy(last, indices[:, -1]).backward()
        optimizer.step()
    assert (last.argmax(-1) == indices[:, -1]).float().mean() > 0.95


@pytest.mark.parametrize("condition", [None, TimeOfDay(), Label(["a", "b"]), ABOVE], ids=str)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2), (3, 1, 8)], ids=str)
@pytest.mark.parametrize("grid", GRIDS)
def test_stepping_gives_the_logits_of_the_full_pass(grid, sizes, condition):
    prior = made(grid, condition, **dict(zip(("blocks", "layers", "heads"), sizes, strict=True)))
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


def test_known_indices_are_seen_by_what_follows_far_away():
    prior = made((3, 3), scale=0.6)
    known = torch.full((2, 3, 3), -1)
    known[0, 0, 1], known[1, 1, 2] = 4, 0
    drawn = prior.sample((2, 3, 3), known=known, temperature=0)
    assert drawn[0, 0, 1] == 4 and drawn[1, 1, 2] == 0
    best = prior.logits(drawn).argmax(-1)
    assert torch.equal(best[known < 0], drawn[known < 0])


@pytest.mark.parametrize("condition", [None, TimeOfDay()], ids=str)
@pytest.mark.parametrize("grid", [(3, 3), (4,)])
def test_every_weight_is_used(grid, condition):
    prior = made(grid, condition)
    prior.loss(torch.randint(K, (4, *grid)), context_for(prior, 4)).backward()
    assert all(weight.grad.any() for weight in prior.parameters())


def test_a_1d_grid_is_a_grid_of_one_row():
    row, line = made((1, 6)), made((6,))
    line.load_state_dict(row.state_dict())
    indices = torch.randint(K, (3, 6))
    assert torch.equal(row.log_prob(indices[:, None]), line.log_prob(indices))


def test_the_loss_is_whole_under_autocast():
    prior = PixelSNAIL(K, (3, 3), hidden=8, blocks=1, layers=1, heads=2)
    indices = torch.randint(K, (4, 3, 3))
    expected = prior.loss(indices)
    with torch.autocast("cpu", torch.bfloat16):
        loss = prior.loss(indices)
        drawn = prior.sample((2, 3, 3))
    assert loss.dtype == torch.float32 and drawn.shape == (2, 3, 3)
    torch.testing.assert_close(loss, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": 0},
        {"hidden": 6},
        {"blocks": 0},
        {"layers": 0},
        {"heads": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"grid": (2, 2, 2)},
    ],
    ids=str,
)
def test_impossible_arguments_are_refused(options):
    with pytest.raises(InputError) as raised:
        PixelSNAIL(K, options.pop("grid", (2, 2)), **options)
    assert "\n" not in str(raised.value)


def test_several_indices_a_position_are_sent_to_the_prior_that_takes_them():
    with pytest.raises(InputError, match="for several indices a position take DepthPixelCNN"):
        PixelSNAIL(K, (8, 8, 10))

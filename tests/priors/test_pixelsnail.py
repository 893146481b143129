"""PixelSNAIL: what attention sees, that stepping equals the full pass, and that far is near."""

import pytest
import torch
from torch.nn import functional as F

from smalti.conditions import CoarseTokens, Label, TimeOfDay
from smalti.errors import InputError
from smalti.nn.causal_attention import CausalAttention
from smalti.nn.gate import gate
from smalti.priors import PixelCNN, PixelSNAIL
from walks import context_for, follows_the_full_pass, large, sees_the_past_and_nothing_else

K = 5
ABOVE = CoarseTokens([4, 3], [(1, 2), (2, 2)], Label(["a", "b"]))
GRIDS = [(4, 4), (3, 6), (6, 3), (1, 7), (7,), (4, 1), (1, 1), (1,)]


def made(grid, condition=None, **options):
    sizes = {"hidden": 8, "blocks": 2, "layers": 2, "heads": 2, **options}
    return large(PixelSNAIL(K, grid, condition, **sizes))


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
    sees_the_past_and_nothing_else(prior)


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


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": 6},
        {"blocks": 0},
        {"heads": 0},
    ],
    ids=str,
)
def test_impossible_arguments_are_refused(options):
    with pytest.raises(InputError, match="hidden a multiple of heads"):
        PixelSNAIL(K, (2, 2), **options)

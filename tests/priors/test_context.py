"""Context maps: the grids above and what they were given, felt where they should be."""

import pytest
import torch

from smalti.conditions import CoarseTokens, Label, TimeOfDay
from smalti.priors import PixelCNN, SamplingConfig
from smalti.priors.context import context_map
from walks import follows_the_full_pass

K = 5
LABEL = Label(["a", "b"])
# Grids below and above: of equal size, of whole and of other ratios, rows, several indices each.
LEVELS = [
    ((4, 4), [(2, 2)]),
    ((4, 6), [(1, 1), (2, 3)]),
    ((5, 7), [(2, 3)]),
    ((3, 3), [(3, 3)]),
    ((7,), [(3,)]),
    ((2, 4), [(1, 2, 3)]),
]


def made(grid, above, given=None):
    """A PixelCNN in float64 whose weights are large, so that every path leaves its mark."""
    condition = CoarseTokens([4] * len(above), above, given)
    prior = PixelCNN(K, grid, condition, hidden=8, layers=3).double().eval()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    return prior


@pytest.mark.parametrize("given", [None, TimeOfDay(), LABEL], ids=str)
@pytest.mark.parametrize("grid, above", LEVELS, ids=str)
def test_stepping_gives_the_logits_of_the_full_pass(grid, above, given):
    prior = made(grid, above, given)
    follows_the_full_pass(prior, prior.condition.draw(3))


@pytest.mark.parametrize("grid, above", LEVELS, ids=str)
def test_every_number_of_the_context_changes_the_logits(grid, above):
    prior = made(grid, above, LABEL)
    indices, context = torch.zeros(1, *grid).long(), torch.zeros(1, *prior.condition.shape)
    before = prior.logits(indices, context)
    for place in range(context.shape[1]):
        other = context.clone()
        other[0, place] = 1
        assert (prior.logits(indices, other) - before).abs().max() > 1e-4


@pytest.mark.parametrize("rows", [24, 30, 36])  # 2, 2.5 and 3 times those above
def test_a_position_above_is_felt_below_it_and_not_far_away(rows):
    above = CoarseTokens([4], [(12, 1)])
    s = context_map((rows, 3), above, 8)
    values = torch.zeros(2, *above.shape)
    values[1, 0] = 1
    moved = s(above(values)).diff(dim=0).abs().amax((0, 1, 3))  # of each row below
    assert moved[: rows // 12].min() > 0
    assert (moved[3 * rows // 12 :] == 0).all()  # two residual blocks of 3×3 see two around


def test_the_places_below_one_position_differ():
    s = context_map((4, 4), CoarseTokens([4], [(2, 2)]), 8)
    up = s.levels[0](torch.tensor([[[1, 2], [3, 0]]]))[0, :, :2, :2].flatten(1)  # (C, 4)
    assert torch.cdist(up.T, up.T).fill_diagonal_(1).min() > 1e-3


def test_several_indices_of_a_position_above_are_told_apart():
    s = context_map((2, 2), CoarseTokens([4], [(2, 2, 2)]), 8)
    indices = torch.tensor([[1, 2]]).expand(1, 2, 2, 2)
    assert not torch.allclose(s.levels[0](indices), s.levels[0](indices.flip(-1)))


def test_it_learns_what_depends_on_the_grid_above():
    """Each index is that above it plus 0 or 1 by its column: only the grid above tells it."""
    torch.manual_seed(0)
    above = CoarseTokens([4], [(2, 2)])
    prior = PixelCNN(K, (4, 4), above, hidden=16, layers=2)
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)

    def pairs(n):
        context = above.draw(n)
        grids, _ = above.unpack(context)
        below = grids[0].repeat_interleave(2, 1).repeat_interleave(2, 2)
        return below + torch.arange(4) % 2, context

    for _ in range(100):
        optimizer.zero_grad()
        prior.loss(*pairs(32)).backward()
        optimizer.step()
    indices, context = pairs(64)
    assert prior.loss(indices, context) < 0.05
    assert torch.equal(prior.sample(64, context, config=SamplingConfig(temperature=0)), indices)


def test_without_grids_above_the_weights_have_the_names_they_had():
    vector = ["place.weight", "place.bias", "value.weight", "value.bias"]
    vector += [f"mlp.{i}.{kind}" for i in (1, 3) for kind in ("weight", "bias")]
    layer = ["context.weight", "context.bias", "vertical.weight", "link.weight"]
    layer += ["horizontal.weight", "horizontal.bias"]
    expected = ["embedding.weight", *(f"context_map.{name}" for name in vector)]
    expected += [f"layers.0.{name}" for name in [*layer, "residual.weight"]]
    expected += [f"layers.1.{name}" for name in layer]
    expected += [
        f"{name}.{kind}" for name in ("skip", "first", "second") for kind in ("weight", "bias")
    ]
    assert list(PixelCNN(K, (2, 2), LABEL, hidden=4, layers=2).state_dict()) == expected
    without = [name for name in expected if "value" not in name]
    assert list(PixelCNN(K, (2, 2), hidden=4, layers=2).state_dict()) == without

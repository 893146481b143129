"""The factor grid: every combination once, what the values say is what the pictures show."""

from __future__ import annotations

import pytest
import torch

from smalti.conditions import TimeOfDay
from smalti.data import SplitFractions
from smalti.errors import InputError
from smalti.synthetic import Clocks, FactorGrid, render_clock
from smalti.synthetic.clocks import THEMES, ClockStyle

GROUND = 25 / 127.5 - 1
FEW = {"sizes": 2, "positions": 3, "colours": 3}


def _all(source):
    """All pictures and values, of all splits."""
    splits = source.load()
    x, values = [], []
    for split in ("train", "validation", "test"):
        examples = getattr(splits, split)
        x.append(examples.__getitems__(range(len(examples))).x)
        values.append(source.values(split, range(len(examples))))
    return torch.cat(x), torch.cat(values)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_combination_is_there_once_and_looks_like_no_other(channels):
    source = FactorGrid(channels=channels, **FEW)
    x, values = _all(source)
    assert source.factors == {"shape": 3, "size": 2, "x": 3, "y": 3, "colour": 3}
    whole = torch.cartesian_prod(*map(torch.arange, source.factors.values()))
    assert torch.equal(values.unique(dim=0), whole)
    assert len(x) == len(whole) == len(x.unique(dim=0))


def test_the_levels_are_what_the_pictures_show():
    x, values = _all(FactorGrid(**FEW))
    lit = (x - GROUND).abs().sum(dim=1)  # (N, H, W)
    lit = lit / lit.sum(dim=(1, 2), keepdim=True)
    axis = torch.arange(32.0)
    across, down = (lit.sum(dim=1) * axis).sum(dim=1), (lit.sum(dim=2) * axis).sum(dim=1)
    covered = (lit > 0).sum(dim=(1, 2)).float()
    hue = x[:, :, 16, 16]
    names = dict(zip(("shape", "size", "x", "y", "colour"), values.T, strict=True))
    for measured, name in ((across, "x"), (down, "y")):
        places = torch.stack([measured[names[name] == value].mean() for value in range(3)])
        assert (places.diff() > 3).all()
        for value in range(3):
            assert (measured[names[name] == value] - places[value]).abs().max() < 2.5
    for shape in range(3):
        small, large = (covered[(names["shape"] == shape) & (names["size"] == s)] for s in (0, 1))
        assert large.min() > 2 * small.max()
    middle = (names["x"] == 1) & (names["y"] == 1)
    for value in range(3):  # red, green, blue
        assert (hue[middle & (names["colour"] == value)].argmax(dim=1) == value).all()


def test_shapes_of_one_size_are_told_by_how_much_of_their_square_they_fill():
    x, values = _all(FactorGrid(size=64, **FEW))
    lit = (x - GROUND).abs().sum(dim=1) > 0.5
    large = (values[:, 1:4] == torch.tensor([1, 1, 1])).all(dim=1)
    square, disc, triangle = (
        lit[large & (values[:, 0] == shape)].float().sum(dim=(1, 2)).mean() for shape in range(3)
    )
    assert disc / square == pytest.approx(torch.pi / 4, abs=0.06)
    assert triangle / square == pytest.approx(0.5, abs=0.06)


def test_the_splits_depend_on_the_seed_alone_and_batches_are_what_the_signal_says():
    one, same, other = (
        FactorGrid(held_out=SplitFractions(test=0.2, validation=0.1, seed=seed), **FEW)
        for seed in (0, 0, 1)
    )
    splits = one.load()
    assert [len(examples) for examples in splits[:3]] == [114, 16, 32]
    for examples in splits[:3]:
        batch = examples.__getitems__([0, 2])
        splits.signal.check(batch.x)
        splits.condition.check(batch.condition)
    assert torch.equal(splits.test.conditions, one.values("test", range(32))[:, 0])
    assert torch.equal(splits.test[3].x, same.load().test[3].x)
    assert not torch.equal(one.values("test", range(32)), other.values("test", range(32)))


def test_the_examples_of_a_split_are_those_that_are_loaded():
    source = FactorGrid(size=16, sizes=2, positions=2, colours=2)
    x, condition = source.examples("test").__getitems__([0, 1])
    loaded = source.load().test.__getitems__([0, 1])
    assert torch.equal(x, loaded.x) and torch.equal(condition, loaded.condition)


@pytest.mark.parametrize(
    "wrong",
    [{"size": 8}, {"channels": 2}, {"sizes": 1}, {"positions": 1}, {"colours": 99}],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        FactorGrid(**wrong)


def test_a_grid_that_is_all_held_out_is_refused():
    with pytest.raises(InputError, match="lower the shares"):
        FactorGrid(held_out=SplitFractions(test=0.9, validation=0.9), **FEW).load()


def test_clocks_give_their_factors_too():
    source = Clocks(size=32, length=40, themes=4, jitter=0, validation=3, test=20)
    splits = source.load()
    assert source.factors == {"hour": 12, "minute": 60, "theme": 4}
    for split in ("train", "test"):
        examples = getattr(splits, split)
        values = source.values(split, range(20))
        x, times = examples.__getitems__(range(20))
        assert torch.equal(values[:, 0] * TimeOfDay.hour + values[:, 1], times.long())
        for row, picture in zip(values.tolist(), x, strict=True):
            clock = render_clock(60 * row[0] + row[1], ClockStyle(THEMES[row[2]]), 32)
            pixels = torch.tensor(list(clock.tobytes())).view(32, 32, 3).permute(2, 0, 1)
            torch.testing.assert_close(picture, pixels / 127.5 - 1)

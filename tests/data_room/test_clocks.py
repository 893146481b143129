"""Clocks: what is drawn, and that it depends on seed, split and number alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from smalti.errors import InputError
from smalti.synthetic import Clocks, ClockStyle, render_clock
from smalti.synthetic.clocks import THEMES

FEW = {"size": 32, "validation": 3, "test": 3}


def _tensors(batch):
    return batch.x, batch.condition


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_the_minute_hand_is_longer_and_the_hour_hand_is_thicker(theme):
    style = ClockStyle(theme)
    clock = np.asarray(render_clock(180, style, 256), dtype=float)  # one hand right, one hand up
    hand = np.array([int(theme.hands[i : i + 2], 16) for i in (1, 3, 5)])
    is_hand = np.abs(clock - hand).sum(axis=2) < 40
    right, up = is_hand[118:138, 140:], is_hand[:116, 118:138]

    unit = 0.45 * 256
    assert right.any(axis=0).sum() < 0.6 * unit
    assert up[20:].any(axis=1).sum() > 0.6 * unit
    middle, near = int(0.3 * unit), slice(100, 156)  # from the pivot; no marks there
    hour, minute = is_hand[near, 128 + middle], is_hand[128 - middle, near]
    assert hour.sum() > 1.3 * minute.sum() > 0


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_hands_stand_out_from_the_dial_in_grey_too(theme):
    grey = [
        np.dot([int(colour[i : i + 2], 16) for i in (1, 3, 5)], [0.299, 0.587, 0.114])
        for colour in (theme.hands, theme.face)
    ]
    assert abs(grey[0] - grey[1]) > 100


def test_a_clock_that_hangs_askew_is_the_clock_turned():
    askew, straight = (
        np.asarray(render_clock(100, ClockStyle(THEMES[0], rotation=angle), 128), dtype=float)
        for angle in (math.pi / 2, 0)
    )
    clockwise, back = (np.abs(askew - np.rot90(straight, k)).mean() for k in (-1, 1))
    assert clockwise < 0.25 * back


def test_no_two_minutes_look_the_same_at_32_px():
    for theme in THEMES[::4]:
        clocks = np.stack([render_clock(t, ClockStyle(theme), 32) for t in range(720)])
        assert (np.abs(np.diff(clocks.astype(int), axis=0)).sum(axis=(1, 2, 3)) > 0).all()


def test_styles_vary_by_the_generator_and_not_without_jitter():
    styles = [ClockStyle.random(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert styles[0] == styles[1] != styles[2]
    for seed in range(20):
        style = ClockStyle.random(np.random.default_rng(seed), jitter=0)
        assert style == ClockStyle(style.theme)


def test_a_set_is_the_first_of_the_endless_clocks():
    endless, fixed = Clocks(length=None, **FEW).load(), Clocks(length=5, **FEW).load()
    assert endless.train.endless
    assert not fixed.train.endless
    numbers = [4, 0, 2]
    for a, b in (
        (endless.train.__getitems__(numbers), fixed.train.__getitems__(numbers)),
        (endless.train.first(5).__getitems__(numbers), fixed.train.__getitems__(numbers)),
        (Clocks(length=9, **FEW).load().train.first(5)[4], fixed.train[4]),
    ):
        torch.testing.assert_close(_tensors(a), _tensors(b), rtol=0, atol=0)
    torch.testing.assert_close(endless.train.first(5).conditions, fixed.train.conditions)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_examples_of_a_split_are_drawn_when_asked_for(split, monkeypatch):
    source, drawn = Clocks(length=4, **FEW), []

    def counted(*arguments):
        drawn.append(arguments)
        return render_clock(*arguments)

    loaded = getattr(source.load(), split)
    monkeypatch.setattr("smalti.synthetic.clocks.render_clock", counted)
    examples = source.examples(split)
    assert len(examples) == len(loaded) and not drawn
    for one, other in zip(
        _tensors(examples.__getitems__([2, 0])), _tensors(loaded.__getitems__([2, 0])), strict=True
    ):
        assert torch.equal(one, other)
    assert len(drawn) == 2
    assert Clocks(length=None, **FEW).examples("train").endless


def test_splits_and_seeds_give_other_clocks():
    one, two = (Clocks(length=3, seed=seed, **FEW).load() for seed in (0, 1))
    sets = [one.train, one.validation, one.test, two.train, two.validation, two.test]
    pixels = torch.stack([examples.__getitems__([0, 1, 2]).x for examples in sets])
    assert len(pixels.unique(dim=0)) == len(sets)


def test_times_are_whole_minutes_spread_evenly_over_the_dial():
    times = Clocks(length=None, **FEW).load().train.first(7200).conditions
    assert times.dtype == torch.float32
    assert torch.equal(times, times.round())
    counts = torch.histc(times, bins=12, min=0, max=720)
    assert ((counts - 600).abs() < 120).all()  # five standard deviations


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_what_the_signal_says(channels):
    splits = Clocks(length=4, channels=channels, **FEW).load()
    assert splits.signal.channels == channels
    for examples in splits[:3]:
        for batch in DataLoader(examples, batch_size=2, collate_fn=lambda batch: batch):
            splits.signal.check(batch.x)
            splits.condition.check(batch.condition)
            assert batch.x.dtype == torch.float32


def test_fewer_themes_are_fewer_designs():
    theme = THEMES[0]
    splits = Clocks(length=30, themes=1, jitter=0, **FEW).load()
    background = np.array([int(theme.background[i : i + 2], 16) for i in (1, 3, 5)])
    corner = torch.tensor(background / 127.5 - 1).float()
    x = splits.train.__getitems__(range(30)).x[:, :, 0, 0]
    torch.testing.assert_close(x, corner.expand_as(x))


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 8},
        {"channels": 2},
        {"channels": 4},
        {"length": 0},
        {"themes": 0},
        {"themes": len(THEMES) + 1},
        {"jitter": -0.1},
        {"test": 0},
        {"seed": -1},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        Clocks(**wrong)


def test_endless_clocks_are_not_listed():
    with pytest.raises(InputError, match="first n"):
        _ = Clocks(length=None, **FEW).load().train.conditions


def test_the_first_n_has_no_more_than_n():
    first = Clocks(length=9, **FEW).load().train.first(4)
    assert len(first) == 4
    with pytest.raises(IndexError):
        first[4]
    with pytest.raises(InputError):
        first.first(0)

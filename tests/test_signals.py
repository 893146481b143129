"""Laws that every kind of signal keeps; another one joins by a line of SIGNALS."""

from __future__ import annotations

import copy
import pickle
import re
from dataclasses import replace

import pytest
import torch

from smalti.artifacts import build, describe
from smalti.errors import InputError
from smalti.modalities.audio import Sound
from smalti.modalities.image import Image
from smalti.modalities.series import Series
from smalti.modalities.vector import Vector
from smalti.signals import Bounded
from wave_signal import Wave

SIGNALS = [Image(3, (4, 6)), Image(1, (4, 6), low=0.0, high=255.0), Wave(2, (7,)), Vector(5)]
SIGNALS += [Series(2, (7,), 64.0, ("left", "right")), Sound(2, 8000, (7,))]
laws = pytest.mark.parametrize("signal", SIGNALS, ids=str)


def batch(signal, n=2):
    h = torch.randn(n, *signal.shape, generator=torch.Generator().manual_seed(0))
    return signal.finish(100 * h)


@laws
def test_it_is_described_and_built_and_copied_as_itself(signal):
    assert describe(signal)["class"] == type(signal).__name__
    for same in (
        build(describe(signal)),
        copy.deepcopy(signal),
        pickle.loads(pickle.dumps(signal)),
    ):
        assert same == signal
        assert describe(same) == describe(signal)
        assert hash(same) == hash(signal)


@laws
def test_its_shape_is_that_of_one(signal):
    assert signal.shape == (signal.channels, *signal.size)
    assert len(signal.size) in (0, signal.spatial_dims)


@laws
def test_what_a_decoder_gives_becomes_such_a_signal(signal):
    x = batch(signal)
    signal.check(x)
    assert torch.equal(signal.finish(x), x)  # and stays one


@laws
def test_what_is_no_such_batch_is_one_line(signal):
    x = batch(signal)
    channels = rf"{signal.channels} (channel\(s\)|dimensions), got"
    for wrong, line in (
        (x[0], f"A batch of {signal.plural} has the shape"),
        (x[:, :, None], f"A batch of {signal.plural} has the shape"),
        (x.repeat_interleave(2, dim=1), channels),
        (x[:, :0], channels),
        (x * torch.nan, "got NaN"),
    ):
        with pytest.raises(InputError, match=line) as told:
            signal.check(wrong)
        assert "\n" not in str(told.value)
    if signal.spatial_dims:
        with pytest.raises(InputError, match=f"trained on {signal.plural} of size"):
            signal.check(x.repeat_interleave(2, dim=2))


@laws
def test_what_no_signal_is_cannot_be_made(signal):
    for wrong in (
        {"channels": 0},
        {"channels": True},
        {"channels": 10**12},
        {"size": (1,) * (signal.spatial_dims + 1)},
        {"size": (0,) * max(1, signal.spatial_dims)},
    ):
        with pytest.raises(InputError):
            replace(signal, **wrong)


@pytest.mark.parametrize("signal", [s for s in SIGNALS if isinstance(s, Bounded)], ids=str)
def test_the_values_of_a_bounded_one_lie_between_its_ends(signal):
    h = torch.tensor([-1e9, 1e9]).view(2, 1).expand(2, signal.channels)
    h = h.reshape(2, signal.channels, *[1] * len(signal.size)).expand(2, *signal.shape)
    low, high = signal.finish(h)
    assert (low == signal.low).all() and (high == signal.high).all()
    with pytest.raises(InputError, match="got values in"):
        signal.check(h)
    with pytest.raises(InputError, match="got torch.uint8: scale them"):
        signal.check(torch.zeros(1, *signal.shape, dtype=torch.uint8))
    for ends in ((1.0, 1.0), (0.0, float("inf")), (float("nan"), 0.0), (2.0, -2.0)):
        with pytest.raises(InputError, match="two finite numbers"):
            replace(signal, low=ends[0], high=ends[1])


def test_bytes_scaled_as_the_line_says_are_of_the_signal():
    for signal in (Image(1, (2, 2)), Image(1, (2, 2), low=0.0, high=1.0)):
        x = torch.tensor([0, 255, 3, 4], dtype=torch.uint8).view(1, 1, 2, 2)
        with pytest.raises(InputError) as told:
            signal.check(x)
        scaled = re.search(r"bytes x by (.*)\.", str(told.value))
        made = eval(scaled[1], {"x": x})  # the text of our own line
        assert (made.min().item(), made.max().item()) == (signal.low, signal.high)


def test_images_are_named_by_their_channels():
    with pytest.raises(InputError, match="convert them to grey first"):
        Image(1, (2, 2)).check(torch.zeros(1, 3, 2, 2))
    with pytest.raises(InputError, match="convert them to colour first"):
        Image(3, (2, 2)).check(torch.zeros(1, 1, 2, 2))

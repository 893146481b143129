"""The clock reader: right about clocks it has not seen, of any style, through blur and noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from smalti.errors import InputError
from smalti.modalities.image.pixels import to_float
from smalti.synthetic import Clocks, ClockStyle, render_clock
from smalti.synthetic.clock_reader import ClockReader, minutes_apart
from smalti.synthetic.clocks import THEMES

minute = st.integers(0, 719)


@given(minute, minute, minute)
def test_minutes_apart_is_a_distance_on_a_circle(a, b, c):
    a, b, c = (torch.tensor([float(t)]) for t in (a, b, c))
    assert minutes_apart(a, a) == 0
    assert minutes_apart(a, b) == minutes_apart(b, a) == minutes_apart(a + 720, b)
    assert 0 <= minutes_apart(a, b) <= 360
    assert minutes_apart(a, c) <= minutes_apart(a, b) + minutes_apart(b, c)
    assert minutes_apart(a, a + 360) == 360


@pytest.fixture(scope="module", params=[32, 64])
def reader(request) -> ClockReader:
    return ClockReader(request.param)


@pytest.fixture(scope="module")
def clocks(reader):
    source = Clocks(size=reader.size, length=300, validation=1, test=1, seed=2024)
    return source.load().train.__getitems__(range(300))


def _right(reader, images, times) -> float:
    return (minutes_apart(reader.read(images), times) <= 5).float().mean().item()


def _blurred(x: torch.Tensor) -> torch.Tensor:
    """As after an autoencoder: less sharp by a 64th of the picture, and noisy."""
    sigma = x.shape[-1] / 64
    offsets = torch.arange(-3, 4.0)
    kernel = F.normalize(torch.exp(-0.5 * (offsets / sigma) ** 2), p=1, dim=0)
    channels = x.flatten(0, 1)[:, None]
    blurred = F.conv2d(
        F.pad(channels, (3, 3, 3, 3), mode="reflect"), torch.outer(kernel, kernel)[None, None]
    )
    return (blurred.reshape(x.shape) + 0.1 * torch.randn_like(x)).clamp(-1, 1)


def test_a_template_for_each_theme_suffices_for_most_clocks():
    reader = ClockReader(32, [ClockStyle(theme) for theme in THEMES])
    source = Clocks(size=32, length=100, validation=1, test=1, seed=2023)
    batch = source.load().train.__getitems__(range(100))
    assert _right(reader, batch.x, batch.condition) >= 0.97


@pytest.mark.slow
def test_new_clocks_are_read_right(reader, clocks):
    off = minutes_apart(reader.read(clocks.x), clocks.condition)
    assert (off <= 5).float().mean() >= 0.99
    assert off.median() <= 1


@pytest.mark.slow
def test_blurred_and_noisy_clocks_are_read_right(reader, clocks):
    assert _right(reader, _blurred(clocks.x), clocks.condition) >= 0.99


@pytest.mark.slow
def test_grey_clocks_are_read_right(reader, clocks):
    source = Clocks(size=reader.size, channels=1, length=200, validation=1, test=1, seed=2025)
    batch = source.load().train.__getitems__(range(200))
    assert _right(reader, batch.x, batch.condition) >= 0.98


@pytest.mark.slow
def test_pictures_without_a_clock_are_read_right_by_chance_only(reader):
    x = to_float(torch.randint(256, (400, 3, reader.size, reader.size)))
    times = torch.randint(720, (400,)).float()
    assert _right(reader, x, times) < 0.1  # 11 of 720 are right by chance


def test_every_time_is_read_off_a_template_of_its_own():
    style = ClockStyle(THEMES[2], rotation=math.radians(2))
    reader = ClockReader(32, [ClockStyle(THEMES[0]), style])
    images = np.stack([np.asarray(render_clock(t, style, 32)) for t in range(0, 720, 7)])
    x = to_float(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert torch.equal(reader.read(x), torch.arange(0, 720, 7.0))
    # a batch is read picture by picture
    assert torch.equal(reader.read(x[5:6]), torch.tensor([35.0]))
    assert reader.read(x[:0]).shape == (0,)


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (3, 32, 32), (1, 2, 32, 32), (1, 3, 32, 31)])
def test_pictures_of_another_shape_are_refused(shape):
    reader = ClockReader(32, [ClockStyle()])
    with pytest.raises(InputError, match="32, 32"):
        reader.read(torch.zeros(shape))

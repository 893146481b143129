"""Spectral losses, against numpy and by what they must and must not tell apart."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from smalti.errors import InputError
from smalti.losses import MelDistance, MultiResolutionSTFT
from smalti.losses.spectral import FLOOR, mel_filters
from smalti.nn.spectra import Spectra

RATE = 8000
MADE = [lambda rate: MelDistance(rate), lambda rate: MultiResolutionSTFT(rate)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tone(hertz: float, seconds: float = 0.25, rate: int = RATE) -> Tensor:
    return (
        0.5 * torch.sin(2 * math.pi * hertz * torch.arange(int(seconds * rate)) / rate)[None, None]
    )


def magnitudes(x: Tensor, n: int, size: int, hop: int) -> np.ndarray:
    """Those of a mono waveform by numpy: bins × frames."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    window = np.zeros(size)
    window[(size - n) // 2 : (size - n) // 2 + n] = hann / np.sqrt((hann**2).sum())
    y = np.pad(x.double().numpy(), size // 2)
    starts = range(0, len(y) - size + 1, hop)
    return np.stack([np.abs(np.fft.rfft(window * y[s : s + size])) for s in starts], 1)


def test_both_are_their_formulas_of_numpy():
    x, x_hat = noise(1, 1, 1000), noise(1, 1, 1000, seed=1)
    stft = mel = 0.0
    for ms in (10, 25, 50):
        n = ms * 8
        S, T = (magnitudes(y[0, 0], n, 1 << (n - 1).bit_length(), n // 5) for y in (x, x_hat))
        stft += np.linalg.norm(S - T) / np.linalg.norm(S)
        stft += np.abs(np.log(S + FLOOR) - np.log(T + FLOOR)).mean()
    for n in (32, 64, 128, 256, 512):
        A = mel_filters(RATE, n, min(80, 5 * n // 32)).double().numpy()
        M, N = (np.log10(A @ magnitudes(y[0, 0], n, n, n // 4) + FLOOR) for y in (x, x_hat))
        mel += np.abs(M - N).mean() + np.sqrt(((M - N) ** 2).mean(0)).mean()
    assert MultiResolutionSTFT(RATE)(x_hat, x).item() == pytest.approx(stft / 3, rel=1e-4)
    assert MelDistance(RATE)(x_hat, x).item() == pytest.approx(mel / 5, rel=1e-4)


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 44_100])
@pytest.mark.parametrize("size", [32, 512, 2048])
def test_every_band_has_a_bin_and_stands_where_htk_says(rate, size):
    filters = mel_filters(rate, size, min(80, 5 * size // 32))
    assert filters.min() >= 0 and torch.allclose(filters.sum(1), torch.ones(len(filters)))
    mels = torch.linspace(0, 2595 * math.log10(1 + rate / 1400), len(filters) + 2)[1:-1]
    hertz = 700 * (10 ** (mels / 2595) - 1)
    assert ((filters.argmax(1) * rate / size - hertz).abs() <= rate / size).all()


def test_white_noise_has_the_same_magnitude_at_every_window():
    x = 0.3 * torch.randn(1, 1, 20_000, generator=torch.Generator().manual_seed(0))
    for n in (32, 200, 1024):
        S = Spectra(n, 1 << (n - 1).bit_length(), n // 4)(x).abs()
        assert S.square().mean().sqrt().item() == pytest.approx(0.3, rel=0.08)


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("shape", [(2, 2, 777), (1, 1, 5), (3, 1, 1)])
def test_equal_waveforms_have_no_distance_others_have_and_gradients_are_finite(make, shape):
    loss, x = make(RATE), noise(*shape)
    silent = torch.zeros(shape)
    assert loss(x, x).item() == pytest.approx(0, abs=1e-5)
    assert loss(-x, x).item() == pytest.approx(0, abs=1e-5)  # no phase
    for x_hat, wanted in ((noise(*shape, seed=1), x), (silent, x), (x, silent), (x, x)):
        made = x_hat.clone().requires_grad_()
        value = loss(made, wanted)
        value.backward()
        assert made.grad.isfinite().all() and (torch.equal(x_hat, wanted) or value > 0.1)


@pytest.mark.parametrize("make", MADE)
def test_a_shift_of_phase_costs_less_than_a_wrong_pitch_or_loudness(make):
    loss, x = make(RATE), tone(440)
    late = torch.roll(
        x, 9, -1
    )  # half a period, for which the mean squared error is twice that of silence
    assert (late - x).square().mean() > 1.5 * x.square().mean()
    shifted = loss(late, x)
    assert shifted < loss(0.5 * x, x) and shifted < loss(tone(660), x) / 3


@pytest.mark.parametrize("make", MADE)
def test_channels_and_examples_are_compared_each_with_its_own(make):
    loss, x = make(RATE), noise(2, 2, 600)
    assert loss(x.flip(1), x) > 0.05 and loss(x.flip(0), x) > 0.05
    mono = [loss(x[:, c : c + 1] * 0.8, x[:, c : c + 1]).item() for c in (0, 1)]
    assert loss(0.8 * x, x).item() == pytest.approx(sum(mono) / 2, rel=1e-3)


@pytest.mark.parametrize("make", MADE)
def test_it_is_computed_in_float32_whatever_is_around_it(make):
    loss, x, x_hat = make(RATE), noise(1, 1, 900), noise(1, 1, 900, seed=1)
    whole = loss(x_hat, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(x_hat, x), whole) and whole.dtype == torch.float32
    cast = copy.deepcopy(loss).bfloat16()
    assert all(b.dtype == torch.float32 for b in cast.buffers())
    assert torch.equal(cast(x_hat, x), whole)
    assert loss(x_hat.bfloat16(), x).item() == pytest.approx(whole.item(), rel=0.02)
    assert not loss.state_dict()  # all of it follows from the rate
    moved = copy.deepcopy(loss).to("meta")
    assert all(b.is_meta for b in moved.buffers())


@pytest.mark.parametrize("make", [MelDistance, MultiResolutionSTFT])
def test_a_rate_or_a_window_that_is_none_is_refused(make):
    with pytest.raises(InputError, match="above 0 samples per second, got 0"):
        make(0)
    with pytest.raises(InputError, match="at least 4 samples, got 0.1 ms at 8000 Hz"):
        make(8000, windows=[0.1])


@pytest.mark.parametrize("make", [MelDistance, MultiResolutionSTFT])
def test_what_lies_below_the_floor_counts_little(make):
    quiet, silent = noise(1, 1, 800) * 1e-3, torch.zeros(1, 1, 800)
    near, far = (make(RATE, floor=floor)(quiet, silent) for floor in (1e-5, 1e-2))
    assert near > 1 and far < near / 10
    with pytest.raises(InputError, match="above 0, got 0"):
        make(RATE, floor=0.0)

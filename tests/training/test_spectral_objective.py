"""The spectral objective: its terms, what it leaves out, and around other objectives."""

from __future__ import annotations

import pytest
import torch

from smalti.autoencoders import Reconstruction
from smalti.errors import InputError
from smalti.losses import L1, MelDistance, MultiResolutionSTFT, ObservedValues
from smalti.modalities.audio import Sound
from smalti.modalities.image import Image
from smalti.modalities.series import Series
from smalti.training import SpectralObjective, TokenizerObjective

RATE = 8000


def noise(seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2, 1, 800, generator=torch.Generator().manual_seed(seed))


def of(x_hat: torch.Tensor) -> Reconstruction:
    return Reconstruction(x_hat, None, {"commitment": torch.tensor(0.5)})


def objective(**options) -> SpectralObjective:
    made = SpectralObjective(TokenizerObjective(ObservedValues(L1()), 0.25), **options)
    made.prepare(Sound(1, RATE), None)
    return made


def test_its_loss_is_the_weighted_sum_of_its_terms():
    x, x_hat = noise(), noise(1)
    terms = objective(mel_weight=2.0, stft_weight=0.5)(x, of(x_hat), 0)
    assert set(terms) == {"loss", "reconstruction", "commitment", "mel", "stft"}
    assert torch.equal(terms["mel"], MelDistance(RATE)(x_hat, x))
    assert torch.equal(terms["stft"], MultiResolutionSTFT(RATE)(x_hat, x))
    whole = terms["reconstruction"] + 0.25 * 0.5 + 2 * terms["mel"] + 0.5 * terms["stft"]
    assert terms["loss"].item() == pytest.approx(whole.item())
    mel = objective(stft_weight=0.0, mel=lambda rate: MelDistance(rate, windows=[16.0]))
    terms = mel(x, of(x_hat), 0)
    assert "stft" not in terms and mel.stft is None
    assert torch.equal(terms["mel"], MelDistance(RATE, windows=[16.0])(x_hat, x))


def test_what_is_missing_or_left_out_by_a_mask_costs_nothing():
    x = noise()
    holes = x.clone()
    holes[:, :, 300:] = torch.nan
    made = noise(1)
    made[:, :, :300] = x[:, :, :300]
    made.requires_grad_()
    terms = objective()(holes, of(made), 0)
    assert terms["mel"].item() == terms["stft"].item() == terms["reconstruction"].item() == 0
    terms["loss"].backward()
    assert made.grad.isfinite().all()
    masked = torch.where(holes.isnan(), x, noise(2))  # a model gives x back where a mask is False
    short, alone = objective()(x, of(masked), 0), objective()(x, of(noise(2)), 0)
    assert short["mel"] < alone["mel"]


def test_a_signal_without_a_rate_and_a_negative_weight_are_refused():
    plain = SpectralObjective(TokenizerObjective(L1()))
    for signal in (Series(1), Image(1, (8, 8))):
        with pytest.raises(InputError, match="without a rate"):
            plain.prepare(signal, None)
    plain.prepare(Series(1, rate=2000.0), None)
    with pytest.raises(InputError, match="4 ms at 100 Hz: give longer"):
        plain.prepare(Series(1, rate=100.0), None)
    with pytest.raises(InputError, match="at least 0, got -1"):
        SpectralObjective(TokenizerObjective(L1()), mel_weight=-1.0)

"""Metrics of reconstructed sounds: protocols, samples of bounded size, what is missing and why."""

import math
import sys

import pytest
import torch

from smalti.modalities.audio.metrics import SoundQuality
from smalti.modalities.audio.quality import mel_distance, si_sdr, stoi
from smalti.modalities.audio.signal import Sound
from voices import noise, voice


@pytest.fixture(scope="module")
def pairs():
    x = torch.stack([voice(pitch=pitch) for pitch in (90.0, 120.0, 150.0)])[:, None]
    return x, (x + 0.01 * noise(*x.shape)).roll(-8, 2)


def test_figures_are_means_of_aligned_sounds(pairs):
    pytest.importorskip("pesq")
    x, x_hat = pairs
    quality = SoundQuality(Sound(1, 16000))
    quality.update(x[:2], x_hat[:2])
    quality.update(x[2:], x_hat[2:])
    found = quality.figures("test set, N = 3")
    assert quality.missing() == {}
    assert set(found) == set(quality.names)
    y = x_hat.roll(8, 2)[..., 8:-8]
    expected = {
        "si_sdr": si_sdr(x[..., 8:-8], y).values.mean(),
        "mel_distance": mel_distance(x[..., 8:-8], y, 16000).mean(),
        "stoi": stoi(x, x_hat.roll(8, 2), 16000).values.mean(),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(float(value), rel=0.01), name
    assert found["si_sdr"]["unit"] == "dB"
    for measured in found.values():
        assert "test set, N = 3, 16\u202f000 Hz, aligned by at most 20 ms" in measured["protocol"]
        assert "(found 8 samples early)" in measured["protocol"]
    assert "wide band" in found["pesq"]["protocol"]


def test_pesq_and_stoi_are_of_a_sample_that_every_sound_may_be_in(pairs):
    x, x_hat = pairs
    drawn = set()
    for seed in range(12):
        quality = SoundQuality(Sound(1, 16000), judged=1, seed=seed)
        for pair in zip(x.split(1), x_hat.split(1), strict=True):
            quality.update(*pair)
        assert len(quality.sample) == 1
        drawn |= {
            i for i in range(3) if (quality.sample[0][0][0, :900] == x[i, 0, 8:908].float()).all()
        }
    assert drawn == {0, 1, 2}
    assert (
        "mean over 1 of these sounds, drawn at random" in quality.figures("x")["stoi"]["protocol"]
    )
    assert len(quality.values["si_sdr"]) == 3


def test_silent_sounds_are_left_out_and_said(pairs):
    x, x_hat = (torch.cat([part, torch.zeros_like(part[:1])]) for part in pairs)
    quality = SoundQuality(Sound(1, 16000))
    quality.update(x, x_hat)
    found = quality.figures("test set")
    for name in ("si_sdr", "stoi"):
        assert math.isfinite(found[name]["value"])
        assert found[name]["protocol"].endswith("without 1 of which the original is silent")
    quality = SoundQuality(Sound(1, 16000))
    quality.update(x[3:], x_hat[3:])
    assert set(quality.figures("test set")) == {"mel_distance", "stft_distance"}
    assert set(quality.missing().values()) == {"the original is silent."}


def test_noise_in_a_pause_is_not_judged_as_speech(pairs):
    x, x_hat = pairs
    both = SoundQuality(Sound(1, 16000)), SoundQuality(Sound(1, 16000))
    pause = 1e-4 * noise(1, 1, x.shape[2])
    for quality, more in zip(both, (0, 1), strict=True):
        quality.update(torch.cat([x, pause][: 1 + more]), torch.cat([x_hat, -pause][: 1 + more]))
    alone, together = (quality.figures("test set")["stoi"] for quality in both)
    assert together["value"] == pytest.approx(alone["value"], abs=1e-6)
    assert "without 1 of which the original is quieter than −60 dB" in together["protocol"]


def test_low_rates_missing_packages_and_no_judgement_are_reasons(pairs, monkeypatch):
    slow = SoundQuality(Sound(1, 4000))
    slow.update(*pairs)
    assert slow.missing() == {"pesq": "it takes 8000 Hz at least."}
    off = SoundQuality(Sound(1, 16000), judged=0)
    off.update(*pairs)
    assert off.missing() == dict.fromkeys(("pesq", "stoi"), "it was switched off.")
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.delitem(sys.modules, "smalti.modalities.audio.pesq_score", raising=False)
    without = SoundQuality(Sound(1, 16000), judged=1)
    without.update(*pairs)
    assert "pip install 'smalti[speech]'" in without.missing()["pesq"]
    assert "stoi" in without.figures("test set")


def test_the_lag_is_one_for_all_and_none_by_chance(pairs):
    x, x_hat = pairs
    quality = SoundQuality(Sound(1, 16000))
    quality.update(x, noise(*x.shape, seed=9) / 100)
    assert quality.lag is None
    quality.update(x, x_hat)
    quality.update(x, x_hat.roll(3, 2))
    assert quality.lag == -8
    assert "(found 8 samples early)" in quality.figures("x")["stoi"]["protocol"]
    chance = SoundQuality(Sound(1, 16000), judged=0)
    chance.update(x, noise(*x.shape, seed=9) / 100)
    assert "(found in time)" in chance.figures("x")["si_sdr"]["protocol"]

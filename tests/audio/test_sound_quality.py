"""Measures of sound: known values, alignment, silence, and mistakes of users."""

import math
import re

import pytest
import torch
from torch.nn import functional as F

from smalti.errors import InputError
from smalti.modalities.audio.alignment import align, correlate, envelope, find_lag, shift
from smalti.modalities.audio.quality import (
    _mel_bands,
    mel_distance,
    pesq,
    si_sdr,
    stft_distance,
    stoi,
)
from voices import noise, voice

RATE = 16000


@pytest.fixture(scope="module")
def speech():
    return voice()


def test_si_sdr_of_a_scaled_signal_with_noise_at_a_right_angle():
    x = noise(2, 3, 4000)
    x = x - x.mean(-1, keepdim=True)
    other = noise(2, 3, 4000, seed=1)
    other = other - other.mean(-1, keepdim=True)
    other = other - (other * x).sum(-1, keepdim=True) / x.square().sum(-1, keepdim=True) * x
    other = other / other.norm(dim=-1, keepdim=True) * x.norm(dim=-1, keepdim=True)
    for scale in (1e-3, 1.0, -7.0):
        found = si_sdr(x + 5.0, scale * (x + 10 ** (-15 / 20) * other))
        assert found.values.tolist() == pytest.approx([15.0, 15.0], abs=1e-6)
        assert found.reasons == (None, None)


def test_a_codec_eight_samples_early_loses_13_db_unless_aligned(speech):
    noisy = speech + 0.02 * speech.norm() / len(speech) ** 0.5 * noise(len(speech), seed=3)
    whole = si_sdr(speech, noisy).values
    early = F.pad(noisy[8:], (0, 8))
    lost = whole - si_sdr(speech, early).values
    aligned = align(speech, early, most=320)
    assert lost > 13
    assert aligned.lag.tolist() == [-8]
    assert si_sdr(aligned.x, aligned.x_hat).values == pytest.approx(float(whole), abs=0.02)


@pytest.mark.parametrize("lag", [-50, -8, 0, 1, 50])
def test_lags_are_found_in_batches_of_several_channels(lag):
    x = noise(3, 2, 3000)
    late = F.pad(x, (lag, 0)) if lag >= 0 else x[..., -lag:]
    assert find_lag(x, late, most=50).tolist() == [lag] * 3
    aligned = align(x, late, most=50)
    assert torch.equal(aligned.x, aligned.x_hat) and aligned.x.shape[-1] >= 2900
    assert correlate(x, late, 50).amax(1).min() > 0.98


def test_each_sound_of_a_batch_has_a_lag_of_its_own():
    x = noise(3, 1, 2000)
    x_hat = torch.stack(
        [F.pad(s, (8, 8))[:, 8 + n : 2008 + n] for s, n in zip(x, (5, 0, -7), strict=True)]
    )
    aligned = align(x, x_hat, most=20)
    assert aligned.lag.tolist() == [-5, 0, 7]
    assert aligned.x.shape == aligned.x_hat.shape == (3, 1, 2000 - 5 - 7)
    assert torch.equal(aligned.x, aligned.x_hat)


def test_a_lag_beyond_the_bound_is_not_found():
    x = noise(2000)
    assert abs(int(find_lag(x, F.pad(x, (30, 0)), most=20))) <= 20


def test_silence_has_no_lag_and_short_sounds_can_be_aligned():
    assert find_lag(torch.zeros(400), noise(400), most=10).tolist() == [0]
    assert align(noise(1, 1, 3), noise(1, 1, 3), most=100).x.shape[-1] > 0
    with pytest.raises(InputError, match="share none"):
        shift(noise(5), noise(5), torch.tensor([9]))


def test_envelopes_find_the_delay_of_a_codec_that_keeps_no_waveform(speech):
    other = voice(pitch=97.0, seed=5)[None, None]  # the same rises, another wave
    late = F.pad(other, (640, 0))
    lag = find_lag(envelope(speech[None, None], 40), envelope(late, 40), 50)
    assert abs(int(lag) - 640 / 40) <= 1


def test_distances_of_equal_sounds_are_0_and_grow_with_noise(speech):
    x = torch.stack([speech, speech.flip(0)])[:, None]
    for distance in (lambda a, b: mel_distance(a, b, RATE), stft_distance):
        assert distance(x, x).tolist() == [0.0, 0.0]
        grows = [distance(x, x + level * noise(*x.shape)) for level in (1e-4, 1e-3, 1e-2)]
        assert bool((grows[0] < grows[1]).all() and (grows[1] < grows[2]).all())
        assert distance(x, x + 0.1)[0] == pytest.approx(float(distance(x[0, 0], x[0, 0] + 0.1)))


def test_half_as_loud_is_2_log10_2_in_each_window_and_the_magnitudes_beside():
    x = noise(8000)  # loud enough that nothing is at the floor
    expected = 0.0
    for w in (2048, 512):
        magnitudes = torch.stft(
            x, w, w // 4, window=torch.hann_window(w, dtype=x.dtype), return_complex=True
        ).abs()
        expected += 2 * math.log10(2) + 0.5 * magnitudes.mean().item()
    assert stft_distance(x, x / 2) == pytest.approx(expected, rel=1e-6)
    # Slaney's bands have an area of 1, so that white noise has about as much in all of them.
    logs = mel_distance(1e3 * x, 1e3 * x / 2, RATE) - mel_distance(2e3 * x, 1e3 * x, RATE) / 2
    assert logs == pytest.approx(2 * math.log10(2), rel=1e-6)


def test_bands_peak_where_slaneys_scale_says_and_have_an_area_of_1():
    highest = 15 + 27 * math.log(8) / math.log(6.4)  # mels of 8 kHz: 1 kHz is 15, then logarithmic
    bands = _mel_bands(RATE, 512)
    assert bands.shape == (257, 80)
    for i in (0, 10, 40, 79):
        mel = highest * (i + 1) / 81
        hertz = 200 / 3 * mel if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)
        assert abs(int(bands[:, i].argmax()) - hertz * 512 / RATE) < 1
    assert (bands[:, 60] * RATE / 512).sum() == pytest.approx(1.0, rel=0.05)


def test_pesq_of_the_same_speech_is_the_best(speech):
    pytest.importorskip("pesq")
    assert pesq(speech, speech, RATE).values == pytest.approx(4.644, abs=1e-3)
    assert pesq(speech, speech, RATE, "narrow").values == pytest.approx(4.549, abs=1e-3)
    assert pesq(voice(rate=8000), voice(rate=8000), 8000).values == pytest.approx(4.549, abs=1e-3)
    noisy = speech + 0.02 * noise(len(speech))
    batch = torch.stack([speech, noisy, speech.new_zeros(len(speech))])[:, None]
    found = pesq(speech.expand(3, 1, -1), batch, RATE)
    assert found.values[0] > 4.6 and 1.0 <= found.values[1] < 3.0 and found.values[2].isnan()
    assert found.reasons == (None, None, "the reconstruction is silent")


def test_stoi_of_the_same_speech_is_1_and_falls_with_noise(speech):
    noisy = torch.stack([speech + level * noise(len(speech)) for level in (0, 0.01, 0.1)])
    found = stoi(speech.expand(3, 1, -1), noisy[:, None], RATE).values
    assert found[0] == pytest.approx(1.0, abs=1e-6)
    assert found[0] > found[1] > found[2]


def test_undefined_measures_say_why(speech):
    pytest.importorskip("pesq")
    silent = torch.zeros(1, 1, len(speech))
    x = speech[None, None]
    assert si_sdr(silent, x).reasons == ("the original is silent",)
    assert si_sdr(x, silent + 0.3).reasons == ("the reconstruction is silent",)
    assert stoi(silent, x, RATE).reasons == ("the original is silent",)
    assert stoi(x, silent, RATE).values.tolist() == [0.0]
    assert pesq(silent, x, RATE).values.isnan().all()
    short = x[..., 2000:4000]
    assert pesq(short, short, RATE).reasons == ("it is shorter than a quarter of a second",)
    assert stoi(short, short, RATE).reasons == ("less than 0.4 s of it is not silent",)
    assert mel_distance(silent, silent, RATE).tolist() == [0.0]
    assert mel_distance(noise(5), noise(5), RATE) == 0  # shorter than a window


def test_one_silent_channel_is_left_out_of_the_mean(speech):
    stereo = torch.stack([speech, torch.zeros_like(speech)])[None]
    found = stoi(stereo, stereo, RATE)
    assert found.values.tolist() == pytest.approx([1.0], abs=1e-6)
    assert found.reasons == (None,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: si_sdr(x, x[:-1]), "have the same shape, got (100,) and (99,)"),
        (lambda x: si_sdr(x[None], x[None]), "(B, C, T), or (T,) for one"),
        (lambda x: si_sdr(x[:0], x[:0]), "no length of 0"),
        (lambda x: stft_distance(x.long(), x), "must be floating-point"),
        (lambda x: stft_distance(x, x / 0), "must be finite"),
        (lambda x: mel_distance(x, x, 0), "samples per second above 0, got 0"),
        (lambda x: mel_distance(x, x, "fast"), "must be a number"),
        (lambda x: pesq(x, x, 8000, "wide"), "takes 16000 Hz at least, got 8000 Hz"),
        (lambda x: pesq(x, x, 16000, "wb"), "narrow or wide, got 'wb'"),
        (lambda x: stoi(x, x, 16000.5), "a whole number, got 16000.5"),
        (lambda x: find_lag(x, x, -1), "must be at least 0, got -1"),
        (lambda x: align(x, x[None, None], 5), "have the same shape"),
    ],
)
def test_mistakes_are_one_line(call, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        call(torch.rand(100))
    assert "\n" not in str(caught.value)

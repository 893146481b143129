"""Files of sounds for a trained model: read at its rate, completed, marked, shown and judged."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import torch

from smalti.errors import InputError
from smalti.modalities.audio import Sound, modality
from smalti.modalities.audio.classifier import SoundClassifier, mel_filters
from smalti.modalities.audio.drawing import spectrogram
from smalti.outputs import MARK, written_by_smalti

SECOND = Sound(1, 8000, (8000,))


def write(path, seconds: float, rate: int = 8000, channels: int = 1):
    t = np.arange(round(seconds * rate)) / rate
    x = 0.5 * np.sin(2 * np.pi * 440 * t)
    soundfile.write(path, np.stack([x] * channels, 1), rate)
    return path


def test_another_rate_and_form_are_converted_and_a_shorter_sound_padded(tmp_path):
    x = modality().read(write(tmp_path / "a.flac", 0.5, 16_000, 2), SECOND)
    assert x.shape == (1, 8000) and (x[:, 4000:] == 0).all()
    expected = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(4000) / 8000)
    torch.testing.assert_close(x[0, 100:3900], expected[100:3900], atol=5e-3, rtol=0)
    assert modality().read(tmp_path / "a.flac", Sound(1, 8000)).shape == (1, 4000)


def test_a_longer_sound_is_cut_where_asked_for_alone(tmp_path):
    file = write(tmp_path / "long.wav", 1.5)
    with pytest.raises(InputError, match=r"of 1 s, got 1.5 s .* --any_size, or --convert"):
        modality().read(file, SECOND)
    whole = modality().read(file, Sound(1, 8000))
    assert torch.equal(modality().read(file, SECOND, convert=True), whole[:, :8000])


def test_sounds_are_as_loud_as_those_that_the_model_learned_from(tmp_path):
    file = write(tmp_path / "a.wav", 1)
    x = modality().read(file, SECOND, source={"loudness": -20.0})
    assert x.square().mean().sqrt().item() == pytest.approx(0.1, rel=1e-3)


def test_of_a_beginning_the_rest_is_made(tmp_path):
    short, long = write(tmp_path / "short.wav", 0.25), write(tmp_path / "long.wav", 3)
    for file, keep, first, last in (
        (short, None, 0, 2000),  # all there is
        (long, None, 0, 4000),  # half
        (long, "begin 0.125", 0, 1000),
        (long, "end", 4000, 8000),
        (long, "end 0.5 s", 4000, 8000),
    ):
        x, given = modality().read_partial(file, SECOND, keep)
        wanted = torch.zeros(8000, dtype=torch.bool)
        wanted[first:last] = True
        assert torch.equal(given, wanted) and (x[:, ~given] == 0).all()
        whole = modality().read(file, Sound(1, 8000))
        n = last - first
        assert torch.equal(x[:, given], whole[:, -n:] if keep and "end" in keep else whole[:, :n])
    for keep in ("begin 1", "begin 0", "middle", "begin -1", "begin 1e9"):
        with pytest.raises(InputError):
            modality().read_partial(long, SECOND, keep)


def test_stretches_of_seconds_are_a_mask(tmp_path):
    mask = modality().read_mask("0.25-0.5, 0.75-", SECOND)
    assert mask.nonzero()[:, 0].tolist() == [*range(2000, 4000), *range(6000, 8000)]
    for wrong in ("2-3", "0.5-0.5", "0.5", str(write(tmp_path / "long.wav", 2))):
        with pytest.raises(InputError):
            modality().read_mask(wrong, SECOND)


def test_a_file_is_marked_and_another_of_the_user_is_not_replaced(tmp_path):
    x = torch.linspace(-1, 1, 8000)[None]
    for suffix in (".wav", ".flac"):
        ours, theirs = tmp_path / f"ours{suffix}", write(tmp_path / f"theirs{suffix}", 1)
        modality().write(x, ours, signal=SECOND)
        assert written_by_smalti(ours) and MARK.encode() in ours.read_bytes()
        assert not written_by_smalti(theirs)
        modality().write(x, ours, signal=SECOND)
        with pytest.raises(InputError, match="not written by smalti"):
            modality().write(x, theirs, signal=SECOND)
        assert soundfile.info(ours).samplerate == 8000
        assert (modality().read(ours, SECOND) - x).abs().max() <= 2**-15
    with pytest.raises(InputError, match=r"\.wav or \.flac"):
        modality().write(x, tmp_path / "a.mp3", signal=SECOND)


def test_players_hold_each_sound_and_a_file_all_of_them():
    x = torch.rand(3, 1, 8000) - 0.5
    shown = modality().render(x, "Three.", signal=SECOND)
    assert shown.to_html().count("<audio") == 3 and "Three." in shown.to_html()
    together, rate = soundfile.read(io.BytesIO(shown.files()[".wav"]))
    assert rate == 8000 and len(together) == 3 * 8000 + 2 * 2000
    pairs = modality().compare(x, x, "Pairs.", SECOND)
    assert pairs.to_html().count("<audio") == 6


def test_a_spectrogram_shows_a_tone_at_its_pitch_and_level():
    t = torch.arange(16_000) / 16_000
    power = spectrogram((0.1 * torch.sin(2 * torch.pi * 2000 * t))[None, None], 16_000)
    assert power.shape[1] == 257
    assert power[0, :, 20].argmax() * 16_000 / 512 == 2000
    assert power[0, :, 20].max() == pytest.approx(-20, abs=0.1)


def test_mel_filters_cover_the_spectrum_without_holes():
    for rate, length in ((8000, 256), (22_050, 1024), (48_000, 2048)):
        filters = mel_filters(rate, length, 40)
        assert (filters >= 0).all() and (filters.amax(1) > 0).all()
        assert (filters[:, 2 : -length // 16].sum(0) > 0.3).all()


def test_the_classifier_tells_tones_from_noise_at_any_loudness():
    torch.manual_seed(0)
    t = torch.arange(2000) / 8000
    hertz = 200 + 3000 * torch.rand(64, 1)
    tones = torch.sin(2 * torch.pi * hertz * t)
    x = torch.cat([tones, torch.randn(64, 2000)])[:, None] * torch.rand(128, 1, 1) * 0.3
    labels = torch.arange(2).repeat_interleave(64)
    network = SoundClassifier(8000, 2, width=4)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), labels).backward()
        optimizer.step()
    network.eval()
    assert (network(x).argmax(1) == labels).float().mean() > 0.95
    assert network(x[:, :, :50]).shape == (128, 2)  # shorter than a window

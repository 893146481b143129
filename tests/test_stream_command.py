"""`smalti stream`: chunk by chunk at the pace of the signal, and as fast as possible."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import soundfile
import torch

from mistakes import mistake
from small_autoencoders import assemble
from smalti.autoencoders import DiscreteAutoencoder
from smalti.cli import main
from smalti.errors import InputError
from smalti.generation import Model
from smalti.generation.live import stream_live
from smalti.modalities.audio import Sound
from smalti.modalities.image import Image
from smalti.modalities.series import Series
from smalti.networks import SEANetEncoder
from smalti.quantizers import EMACodebook, FiniteScalarQuantizer, ResidualQuantizer, VectorQuantizer

RATE = 8000


def model(signal, causal: bool = True) -> Model:
    torch.manual_seed(0)
    encoder = SEANetEncoder(signal, 6, hidden=4, strides=[4, 5], causal=causal)
    quantizer = VectorQuantizer(EMACodebook(codebook_size=16, dim=6))
    quantizer.codebook.initialize(torch.randn(16, 6) / 8)
    decoder = encoder.mirror(signal, 6)
    return Model(DiscreteAutoencoder(encoder, quantizer, decoder, signal).eval())


@pytest.fixture
def folder(tmp_path):
    model(Sound(1, RATE, (800,))).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def file(tmp_path):
    wave = 0.5 * np.sin(np.arange(2405) / 5).astype(np.float32)
    soundfile.write(tmp_path / "in.wav", wave, RATE, subtype="FLOAT")
    return tmp_path / "in.wav"


def test_a_file_is_streamed_at_its_pace_and_is_that_of_the_whole(folder, file, tmp_path, capsys):
    out = tmp_path / "out.wav"
    began = time.monotonic()
    assert main(["stream", str(folder), str(file), "--out", str(out), "--chunk", "7.5"]) == 0
    assert time.monotonic() - began > 2405 / RATE  # it took as long as the sound
    told = capsys.readouterr().out
    assert "0.301 s in chunks of 7.5 ms, 1 thread\n" in told
    # Chunks of 60 and patches of 20 values end together: a value waits for its chunk alone.
    assert re.search(
        r"latency: .* at worst: 7.5 ms until .*\(algorithmic 2.5 ms, 20 values\)", told
    )
    assert told.count("times real time") == 2 and "keep" in told
    known = Model.load(folder)
    x = torch.from_numpy(soundfile.read(file, dtype="float32")[0])[None, None]
    x_hat = known.reconstruct(x, any_size=True)[0, 0]
    streamed = soundfile.read(out, dtype="float32")[0]
    assert streamed.shape == (2405,)
    assert np.abs(streamed - x_hat.numpy()).max() < 2 / 2**15  # 16 bits


def test_without_a_pace_it_takes_what_computing_takes(folder, file, capsys):
    assert (
        main(["stream", str(folder), str(file), "--fast", "--chunk", "20", "--threads", "1"]) == 0
    )
    assert "in chunks of 20 ms" in capsys.readouterr().out


def test_what_is_slower_than_its_signal_is_told(folder, file, capsys):
    """At a rate at which no machine keeps up."""
    series = model(Series(1))
    series.save(folder.parent / "series")
    values = folder.parent / "values.csv"
    values.write_text("a\n" + "\n".join(f"{x:.3f}" for x in np.sin(np.arange(200))), "utf-8")
    words = ["stream", str(folder.parent / "series"), str(values)]
    assert main([*words, "--rate", "1e7", "--chunk", "0.01"]) == 0
    assert "It does not keep up: a second takes" in capsys.readouterr().out
    assert "say no rate, got none: give --rate" in mistake(capsys, *words)
    assert "--rate is above 0, got -1" in mistake(capsys, *words, "--rate", "-1")


def test_delays_count_from_arrival_and_seconds_are_told():
    told = []
    autoencoder = model(Sound(1, 100)).autoencoder
    live = stream_live(
        autoencoder, torch.zeros(1, 250), 10, 100, None, False, lambda at, delays: told.append(at)
    )
    assert told == [1.0, 2.0]
    assert len(live.delays.seconds) == len(live.encoding.seconds) == 26  # and the end
    assert live.lasts == 2.5 and live.x_hat.shape == (1, 250)
    assert live.load == (live.encoding.total + live.decoding.total) / 2.5


def test_fewer_codebooks_are_streamed_as_they_are_decoded():
    autoencoder = model(Sound(1, 100)).autoencoder
    with pytest.raises(InputError, match="got 1 of a model with one codebook: leave it out"):
        stream_live(autoencoder, torch.zeros(1, 100), 10, 100, 1, False)
    stages = [autoencoder.quantizer, FiniteScalarQuantizer([5] * 6)]
    autoencoder.quantizer = ResidualQuantizer(stages)
    x = torch.rand(1, 100) - 0.5
    live = stream_live(autoencoder, x, 30, 100, 1, False)
    x_hat = Model(autoencoder).reconstruct(x[None], any_size=True, codebooks=1)[0]
    assert torch.allclose(live.x_hat, x_hat, atol=1e-5)


def test_mistakes_are_one_line(folder, file, tmp_path, capsys):
    words = ["stream", str(folder), str(file)]
    assert "is an input and would be overwritten" in mistake(capsys, *words, "--out", str(file))
    assert "8000 values per second, got --rate 100" in mistake(capsys, *words, "--rate", "100")
    assert "--chunk is above 0" in mistake(capsys, *words, "--chunk", "0")
    assert "--threads is at least 1, got 0" in mistake(capsys, *words, "--threads", "0")
    model(Sound(1, RATE), causal=False).save(tmp_path / "centred")
    assert "positions ahead" in mistake(capsys, "stream", str(tmp_path / "centred"), str(file))
    Model(assemble(Image(1, (8, 8)))).save(tmp_path / "images")
    line = mistake(capsys, "stream", str(tmp_path / "images"), str(file))
    assert "signals that go on in time, got images" in line

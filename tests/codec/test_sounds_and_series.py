"""Signals of one dimension and any length: learned, at fewer codebooks, and in parts."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from mistakes import mistake
from smalti.autoencoders import DiscreteAutoencoder
from smalti.cli import main
from smalti.generation import Model
from smalti.modalities.audio import Sound
from smalti.modalities.series import Series
from smalti.networks import SEANetEncoder
from smalti.priors import TransformerPrior
from smalti.quantizers import EMACodebook, ResidualQuantizer, VectorQuantizer
from walks import large

RATE = 8000


def saved(signal, folder) -> Model:
    """A model with new weights: 3 codebooks of 16, 20 values a position, 12 positions."""
    torch.manual_seed(0)
    encoder = SEANetEncoder(signal, 6, hidden=4, strides=[4, 5], causal=True)
    stages = [VectorQuantizer(EMACodebook(codebook_size=16, dim=6)) for _ in range(3)]
    for stage in stages:
        stage.codebook.initialize(torch.randn(16, 6) / 8)
    quantizer = ResidualQuantizer(stages)
    tokenizer = DiscreteAutoencoder(encoder, quantizer, encoder.mirror(signal, 6), signal)
    sizes = {"hidden": 8, "layers": 2, "heads": 2, "pattern": "delayed"}
    prior = large(TransformerPrior([16] * 3, tokenizer.layout.shape, **sizes)).float()
    model = Model(tokenizer.eval(), prior.requires_grad_(False))
    model.save(folder)
    return model


@pytest.fixture
def sounds(tmp_path):
    wave = 0.5 * np.sin(np.arange(2405) / 5).astype(np.float32)
    soundfile.write(tmp_path / "in.wav", wave, RATE, subtype="FLOAT")
    return saved(Sound(1, RATE, (240,)), tmp_path / "model"), tmp_path


def test_a_sound_comes_back_at_its_own_length(sounds):
    model, folder = sounds
    run, file, small, out = (str(folder / n) for n in ("model", "in.wav", "x.smt", "out.wav"))
    assert main(["compress", run, file, "--out", small, "--any_size"]) == 0
    assert main(["decompress", run, small, "--out", out]) == 0
    wave, rate = soundfile.read(out, dtype="float32")
    x = torch.from_numpy(soundfile.read(file, dtype="float32")[0])[None, None]
    assert rate == RATE and wave.shape == (2405,)
    assert np.abs(wave - model.reconstruct(x, any_size=True)[0, 0].numpy()).max() < 2 / 2**15
    content = (folder / "x.smt").read_bytes()
    assert model.decompress(content).shape == (1, 1, 2405)


@pytest.mark.parametrize("codebooks", [1, 2, 3])
def test_fewer_codebooks_take_fewer_bytes(sounds, codebooks):
    model, _ = sounds
    x = torch.rand(40, 1, 240) - 0.5
    content = model.compress(x, prior="uniform", codebooks=codebooks)
    assert torch.equal(model.decompress(content), model.reconstruct(x, codebooks=codebooks))
    assert len(content) <= 40 * 12 * codebooks * 4 / 8 + 64
    long = torch.rand(1, 1, 1001) - 0.5
    content = model.compress(long, prior="uniform", codebooks=codebooks, any_size=True)
    x_hat = model.reconstruct(long, any_size=True, codebooks=codebooks)
    assert torch.allclose(model.decompress(content), x_hat, atol=1e-5)


def test_a_learned_prior_is_over_all_codebooks(sounds, capsys):
    _, folder = sounds
    run, file = str(folder / "model"), str(folder / "in.wav")
    words = ["compress", run, file, "--any_size", "--out", str(folder / "x.smt"), "--codebooks"]
    assert "over all 3 codebooks, got --codebooks 2" in mistake(capsys, *words, "2")
    assert "codebooks" in mistake(capsys, *words, "4")
    assert main([*words, "2", "--prior", "uniform"]) == 0


def test_a_part_of_a_long_series_is_decoded_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("smalti.codec.codec.BLOCK", 1500)
    model = saved(Series(2, (240,), 64.0, ("a", "b")), tmp_path / "model")
    x = np.random.default_rng(0).normal(size=(8000, 2)).round(3)
    file, small = tmp_path / "in.csv", str(tmp_path / "x.smt")
    file.write_text("a,b\n" + "\n".join(",".join(map(str, row)) for row in x))
    run = str(tmp_path / "model")
    words = ["compress", run, str(file), "--out", small, "--any_size", "--prior", "uniform"]
    assert main(words) == 0
    out, part = str(tmp_path / "out.csv"), str(tmp_path / "part.csv")
    assert main(["decompress", run, small, "--out", out]) == 0
    assert main(["decompress", run, small, "--out", part, "--blocks", "1:3"]) == 0
    whole, some = (
        np.genfromtxt(path, delimiter=",", names=True, encoding="utf-8") for path in (out, part)
    )
    assert len(whole) == 8000
    rows = 1500 // (12 * 3 * 4) * 240
    assert len(some) == 2 * rows
    # Causal: what is decoded alone differs at its beginning, where the past is missing.
    assert np.allclose(some["b"][1000:], whole["b"][rows : rows + len(some)][1000:], atol=1e-3)
    assert torch.isfinite(model.decompress((tmp_path / "x.smt").read_bytes())).all()

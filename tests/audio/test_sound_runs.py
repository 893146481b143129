"""Sounds go all the way: from a folder to tokens, samples, files and a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch

from smalti import load, runs
from smalti.cli import main
from smalti.modalities.audio import Sound, Sounds
from smalti.recipes import schema
from smalti.training.batch_order import StepSampler, training_loader
from smalti.training.callbacks import Progress
from tiny import clocks_recipe, write_recipe

RATE, SIZE = 4000, 400


def fill(folder: Path) -> Path:
    """Two labels, high and low tones, some of them longer than an excerpt."""
    for label, hertz in (("low", 200), ("high", 900)):
        (folder / label).mkdir(parents=True)
        for i in range(20):
            t = np.arange(300 + 40 * i) / RATE
            tone = 0.4 * np.sin(2 * np.pi * (hertz + 10 * i) * t)
            soundfile.write(folder / label / f"{i}.wav", tone, RATE)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("sounds") / "data")


@pytest.fixture(scope="module")
def run(tmp_path_factory, folder):
    fields = clocks_recipe()
    place = {"path": str(folder), "seconds": SIZE / RATE}
    fields["data"] = {"class_path": "Sounds", "init_args": place}
    fields["tokenizer"]["encoder"]["init_args"]["downsampling"] = 8
    fields["prior"] |= {"views": 2, "shift": 0.05}
    out = tmp_path_factory.mktemp("run") / "run"
    recipe = write_recipe(out.parent / "sounds.yaml", fields)
    assert main(["fit", str(recipe), "--out", str(out)]) == 0
    return out


def test_a_report_has_players_and_figures(run):
    report = json.loads((run / "report.json").read_text())
    assert report["figures"]["reconstruction"]["mse_over_variance"]["value"] > 0
    assert report["figures"]["frechet"]["prior"]["value"] >= 0
    page = (run / "report.html").read_text()
    assert page.count("<audio") >= 16
    heard = sorted((run / "samples").glob("*.wav"))
    assert heard and all(soundfile.info(file).samplerate == RATE for file in heard)


def test_samples_of_a_label_are_one_file_or_a_file_each(run, tmp_path):
    out = tmp_path / "low.wav"
    words = ["sample", str(run), "--label", "low", "--n", "3", "--seed", "0"]
    assert main([*words, "--out", str(out)]) == 0
    together, rate = soundfile.read(out)
    assert rate == RATE and len(together) == 3 * SIZE + 2 * RATE // 4
    assert main([*words, "--out", f"{tmp_path}/each"]) == 0
    files = sorted((tmp_path / "each").iterdir())
    assert [file.name for file in files] == ["00000.wav", "00001.wav", "00002.wav"]
    for place, file in enumerate(files):
        first = place * (SIZE + RATE // 4)
        np.testing.assert_array_equal(soundfile.read(file)[0], together[first : first + SIZE])
    assert main([*words, "--out", str(out)]) == 0  # which replaces its own
    assert main([*words, "--out", f"{tmp_path}/low.png"]) == 0


def test_a_beginning_is_continued_and_a_stretch_edited(run, folder, tmp_path):
    whole = str(folder / "high" / "19.wav")
    begin = tmp_path / "begin.wav"
    soundfile.write(begin, soundfile.read(whole)[0][:200], RATE)
    for words in (
        ["sample", str(run), "--complete", str(begin), "--label", "high"],
        ["sample", str(run), "--complete", whole, "--keep", "begin 0.03", "--label", "high"],
        ["edit", str(run), whole, "--mask", "0.02-0.05", "--convert", "--label", "high"],
    ):
        assert main([*words, "--n", "2", "--out", f"{tmp_path}/made.wav"]) == 0
        assert soundfile.info(tmp_path / "made.wav").frames == 2 * SIZE + RATE // 4


def test_a_file_of_any_length_is_reconstructed_at_its_length(run, tmp_path):
    soundfile.write(tmp_path / "long.wav", 0.3 * np.sin(np.arange(20_011) / 3), 2 * RATE)
    words = ["reconstruct", str(run), f"{tmp_path}/long.wav", "--out", f"{tmp_path}/made.wav"]
    for more, frames in (([], 10_006), (["--any_size"], 10_006), (["--convert"], SIZE)):
        assert main([*words, *more]) == 0
        info = soundfile.info(tmp_path / "made.wav")
        assert (info.samplerate, info.frames) == (RATE, frames)
    # In a picture all are as long as the excerpts of the model, or as they are where asked for.
    shown = ["reconstruct", str(run), f"{tmp_path}/long.wav", "--out", f"{tmp_path}/made.png"]
    assert main(shown) == 2
    assert main([*shown, "--any_size"]) == 0


def test_a_model_keeps_the_rate_and_its_tokens_decode(run):
    model = load(run)
    assert model.signal == Sound(1, RATE, (SIZE,))
    x = model.sample(2, {"label": "low"}, seed=0)
    assert x.shape == (2, 1, SIZE) and x.abs().max() <= 1


def test_a_training_that_goes_on_sees_the_excerpts_that_it_would_have_seen(folder):
    train = Sounds(str(folder), seconds=SIZE / RATE).load().train

    def batches(start: int, workers: int = 0) -> list[torch.Tensor]:
        sampler = StepSampler(len(train), 8, seed=3, start=start, versions=True)
        loader = iter(training_loader(train, sampler, workers))
        return [next(loader).x for _ in range(12 - start)]

    whole, later = batches(0), batches(7)
    assert all(map(torch.equal, whole[7:], later))
    assert all(map(torch.equal, whole, batches(0, workers=1)))
    first = {tuple(row[0, :4].tolist()) for batch in whole[:5] for row in batch}
    again = {tuple(row[0, :4].tolist()) for batch in whole[6:11] for row in batch}
    assert len(first - again) > 8  # another excerpt in the next pass


def test_a_killed_tokenizer_ends_with_the_same_weights(folder, tmp_path, monkeypatch):
    fields = clocks_recipe()
    fields["data"] = {"class_path": "Sounds", "init_args": {"path": str(folder), "seconds": 0.1}}
    fields["tokenizer"]["encoder"]["init_args"]["downsampling"] = 8
    fields["prior"] = None

    def fit(name: str) -> dict[str, torch.Tensor]:
        run, _ = runs.fit(schema.parsed(fields), tmp_path / name)
        return safetensors.torch.load_file(run.tokenizer / "model.safetensors")

    def stop(self, trainer, *rest):
        if trainer.global_step == 7:
            raise RuntimeError("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_train_batch_end", stop)
        with pytest.raises(RuntimeError, match="went down"):
            fit("killed")
    whole, killed = fit("whole"), fit("killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_networks_of_magnitudes_begin_with_the_directions_of_the_training_sounds(folder, tmp_path):
    fields = clocks_recipe()
    fields["data"] = {
        "class_path": "Sounds",
        "init_args": {"path": str(folder), "seconds": SIZE / RATE},
    }
    sizes = {"hidden": 16, "layers": 1, "downsampling": 20, "frames": 1}
    fields["tokenizer"]["encoder"] = {"class_path": "SpectrogramEncoder", "init_args": sizes}
    still = {"class_path": "Adam", "init_args": {"lr": 1e-30}}
    fields["tokenizer"]["training"] = {"steps": 1, "batch_size": 8, "optimizer": still}
    fields["prior"], fields["evaluation"] = None, {"classifier_steps": 0}
    recipe = write_recipe(tmp_path / "magnitudes.yaml", fields)
    assert main(["fit", str(recipe), "--out", str(tmp_path / "run")]) == 0
    decoder = load(tmp_path / "run").autoencoder.decoder
    assert type(decoder).__name__ == "SpectrogramDecoder"
    train = runs.load_run_data(runs.Run(tmp_path / "run")).train
    sounds = train.__getitems__(list(range(len(train)))).x
    v = decoder.inverse.magnitudes(sounds)
    assert torch.allclose(decoder.layers[-2][0].bias, v.mean((0, 2, 3)), atol=1e-3)
    assert float(decoder.spread) == pytest.approx(v.var((0, 2, 3)).mean().sqrt().item(), rel=0.05)

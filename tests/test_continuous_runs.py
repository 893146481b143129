"""Runs of continuous autoencoders, from a recipe to pictures, and one clear line for mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import smalti
from mistakes import mistake
from smalti import runs
from smalti.artifacts import load_model
from smalti.autoencoders import PlainAutoencoder, VariationalAutoencoder
from smalti.building import build_autoencoder
from smalti.cli import main
from smalti.losses.likelihoods import Gaussian
from smalti.modalities.image.signal import Image as ImageSignal
from smalti.recipes import schema
from smalti.synthetic import Clocks
from smalti.training.callbacks import Progress
from tiny import clocks_recipe, vae_recipe, write_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of a tiny VAE."""
    folder = tmp_path_factory.mktemp("continuous")
    recipe = write_recipe(folder / "tiny.yaml", vae_recipe())
    assert main(["fit", str(recipe), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def files(tmp_path):
    """Two pictures of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    for name, pixels in zip("ab", noise, strict=True):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return [str(tmp_path / f"{name}.png") for name in "ab"]


def test_a_fit_leaves_a_whole_run_directory(run):
    there = {path.name for path in run.iterdir()}
    assert {"config.yaml", "autoencoder", "state", "samples", "report.html", "report.json"} <= there
    assert not there & {"tokenizer", "tokens", "prior"}
    assert json.loads((run / "report.json").read_text())


def test_a_second_fit_does_nothing_again(run):
    made = (run / "autoencoder" / "model.safetensors").stat().st_mtime_ns
    assert main(["fit", str(run.parent / "tiny.yaml"), "--out", str(run)]) == 0
    assert (run / "autoencoder" / "model.safetensors").stat().st_mtime_ns == made


def test_the_model_knows_how_its_training_latents_lie(run):
    model = load_model(run / "autoencoder")
    assert isinstance(model, VariationalAutoencoder)
    x = schema.build(schema.parsed(vae_recipe())).data.load().train.__getitems__(range(48)).x
    z = model.encode(x)
    torch.testing.assert_close(model.latent_mean, z.mean(0))
    torch.testing.assert_close(model.latent_covariance, torch.cov(z.T))
    assert (model.latent_kl > 0).all()


def test_an_interrupted_fit_ends_with_the_same_weights(run, tmp_path, monkeypatch):
    config = schema.read(str(run.parent / "tiny.yaml"))

    def stop(self, trainer, *rest):
        if trainer.global_step == 9:
            raise RuntimeError("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_train_batch_end", stop)
        with pytest.raises(RuntimeError, match="went down"):
            runs.fit(config, tmp_path / "run")
    resumed, _ = runs.fit(config, tmp_path / "run")
    whole, again = (load_model(folder / "autoencoder") for folder in (run, resumed.folder))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


@pytest.mark.parametrize("model", ["PlainAutoencoder", "VariationalAutoencoder"])
def test_both_kinds_have_the_likelihood_of_their_recipe(model):
    options = ["--autoencoder.model", model, "--data.size", "28"]
    recipe = schema.build(schema.read("vae-fashion-mnist", options)).autoencoder
    built = build_autoencoder(recipe, ImageSignal(1, (28, 28)))
    assert isinstance(built.likelihood, Gaussian)


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        (["--autoencoder.model", "PlainAutoencoder"], PlainAutoencoder),
        (["--autoencoder.beta", "4"], None),
    ],
)
def test_one_option_makes_a_plain_autoencoder_or_a_beta_vae(tmp_path, overrides, kind):
    recipe = write_recipe(tmp_path / "tiny.yaml", vae_recipe())
    words = [*overrides, "--autoencoder.training.steps", "3"]
    run, _ = runs.fit(schema.read(str(recipe), words), tmp_path / "run")
    assert isinstance(load_model(run.autoencoder), kind or VariationalAutoencoder)
    assert smalti.load(run.folder).sample(2, seed=0).shape == (2, 3, 16, 16)


def test_samples_repeat_under_a_seed(run, tmp_path):
    for name in "ab":
        words = ["sample", str(run), "--n", "2", "--seed", "3", "--out", str(tmp_path / name)]
        assert main(words) == 0
    a, b = (sorted((tmp_path / name).iterdir()) for name in "ab")
    assert [x.read_bytes() for x in a] == [x.read_bytes() for x in b]
    assert len(a) == 2


def test_encode_and_decode(run, tmp_path, files):
    latents = tmp_path / "latents.npz"
    assert main(["encode", str(run), *files, "--out", str(latents)]) == 0
    assert np.load(latents)["latents"].shape == (2, 6)
    assert main(["decode", str(run), str(latents), "--out", str(tmp_path / "out")]) == 0
    assert main(["reconstruct", str(run), *files, "--out", str(tmp_path / "recon")]) == 0
    decoded, reconstructed = (sorted((tmp_path / name).iterdir()) for name in ("out", "recon"))
    assert [x.read_bytes() for x in decoded] == [x.read_bytes() for x in reconstructed]


def test_interpolate_and_traverse(run, tmp_path, files, capsys):
    for number, ends in enumerate((files, ["3", "5"], [files[0], "5"])):
        out = tmp_path / f"way-{number}"
        assert main(["interpolate", str(run), *ends, "--steps", "5", "--out", str(out)]) == 0
        assert len(list(out.iterdir())) == 5
    for number, start in enumerate((files[0], "7")):
        out = tmp_path / f"rows-{number}"
        words = ["traverse", str(run), start, "--rows", "2", "--steps", "3", "--out", str(out)]
        assert main(words) == 0
        assert len(list(out.iterdir())) == 6
    assert "dimensions, row by row: " in capsys.readouterr().out


def test_only_the_test_images_that_are_named_are_made(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Clocks, "load", lambda self: pytest.fail("all were drawn"))
    out = str(tmp_path / "way.png")
    assert main(["interpolate", str(run), "0", "1", "--out", out]) == 0


def test_python_api(run):
    model = smalti.load(run)
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    z = model.encode(x)
    assert z.shape == (2, model.autoencoder.dim)
    assert model.decode(z).shape == x.shape
    assert torch.equal(model.sample(2, seed=1), model.sample(2, seed=1))
    still = model.sample(2, seed=1, temperature=0.0)
    torch.testing.assert_close(still[0], still[1])
    torch.testing.assert_close(model.interpolate(x[0], x[1], 3)[0], model.decode(z)[0])
    assert model.traverse(x[0], steps=3).shape == (6, 3, 3, 16, 16)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["sample", "RUN", "--time", "10:10"], "no option --time: this model has no condition"),
        (["sample", "RUN", "--top_k", "3"], "samples without top_k, got top_k=3"),
        (["sample", "RUN", "--prior", "uniform"], "one prior, got 'uniform'"),
        (["sample", "RUN", "--temperature", "-1"], "temperature"),
        (["sample", "RUN", "--n", "0"], "at least 1"),
        (["decode", "RUN", "indices.npz"], "holds no whole latents"),
        (["decode", "RUN", "small.npz"], "have the shape (B, 6), got (1, 2)"),
        (["decode", "RUN", "nowhere.npz"], "no file"),
        (["encode", "RUN", "a.png", "--out", "z.parquet"], "name it z.npz"),
        (["edit", "RUN", "a.png", "--strength", "0.5"], "which a continuous model has none of"),
        (["interpolate", "RUN", "a.png"], "between two signals, got 1 signal:"),
        (["interpolate", "RUN", "3", "500"], "16 test images, numbered from 0, got 500"),
        (["interpolate", "RUN", "a.png", "16"], "16 test images, numbered from 0, got 16"),
        (["interpolate", "RUN", "a.png", "c.png"], "no image file c.png: check the path"),
        (["interpolate", "RUN", "a.png", "RUN"], "between two signals, got 14 signals"),
        (["interpolate", "RUN", "1", "2", "--steps", "1"], "steps=1"),
        (["traverse", "RUN", "1", "--reach", "-1"], "reach of a traversal is above 0, got -1"),
        (["traverse", "RUN", "1", "--reach", "0"], "reach of a traversal is above 0, got 0"),
        (["traverse", "RUN", "a.png", "--rows", "0"], "got 0 rows: give 1 to 6"),
        (["traverse", "RUN", "a.png", "--rows", "7"], "got 7 rows: give 1 to 6"),
        (["interpolate", "RUN", "1", "2", "--columns", "0"], "column"),
        (["decode", "RUN", "nan.npz"], "not all are finite"),
        (["decode", "RUN", "empty.npz"], "of the shape (0, 6)"),
        (["decode", "RUN", "z.parquet"], "give one that smalti encode wrote"),
        (["fit", "both.yaml"], "a tokenizer or an autoencoder, got both"),
        (["fit", "neither.yaml"], "a tokenizer or an autoencoder, got neither"),
        (["fit", "prior.yaml"], "learned over tokens"),
        (["fit", "tiny.yaml", "--autoencoder.dim", "0"], "autoencoder.dim is at least 1"),
        (["fit", "tiny.yaml", "--autoencoder.beta", "-1"], "at least 0, got -1"),
        (["fit", "tiny.yaml", "--autoencoder.model", "Frob"], "Frob"),
        (["fit", "tiny.yaml", "--autoencoder.reconstruction", "L1"], "set likelihood"),
        (["fit", "both-losses.yaml"], "got Gaussian and MSE: leave one out"),
        (["fit", "scale.yaml"], "scale is above 0"),
        (["fit", "tiny.yaml", "--autoencoder.frob", "1"], "no field autoencoder.frob:"),
        (
            ["fit", "tiny.yaml", "--autoencoder.encoder.frob", "1"],
            "no field autoencoder.encoder.frob:",
        ),
        (["fit", "tiny.yaml", "--prior.model", "PixelCNN"], "it needs prior.training.steps:"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes(run, capsys, tmp_path, files, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    np.savez("indices.npz", indices=np.zeros((1, 4, 4), dtype=int))
    np.savez("small.npz", latents=np.zeros((1, 2), dtype=np.float32))
    np.savez("nan.npz", latents=np.full((1, 6), np.nan))
    np.savez("empty.npz", latents=np.zeros((0, 6)))
    vae, clocks = vae_recipe(), clocks_recipe()
    wrong = {"class_path": "Gaussian", "init_args": {"scale": -1.0}}
    recipes = {
        "tiny": vae,
        "both": {**vae, "tokenizer": clocks["tokenizer"]},
        "neither": {"data": vae["data"]},
        "prior": {**vae, "prior": clocks["prior"]},
        "scale": {**vae, "autoencoder": {**vae["autoencoder"], "likelihood": wrong}},
        "both-losses": {
            **vae,
            "autoencoder": {
                **vae["autoencoder"],
                "model": "PlainAutoencoder",
                "likelihood": {"class_path": "Gaussian"},
                "reconstruction": {"class_path": "MSE"},
            },
        },
    }
    for name, recipe in recipes.items():
        write_recipe(tmp_path / f"{name}.yaml", recipe)
    assert line in mistake(capsys, *(str(run) if word == "RUN" else word for word in words))

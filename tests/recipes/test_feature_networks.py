"""Runs with a network of features: trained first and without labels, kept, told of, and reused."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

import smalti
from smalti import runs
from smalti.artifacts import load_model, save_model
from smalti.cli import main
from smalti.errors import InputError
from smalti.modalities.image import Image
from smalti.networks import ConvEncoder, ConvFeatures
from smalti.recipes import schema
from smalti.training.callbacks import Progress
from smalti.training.vicreg import random_views, vicreg
from tiny import clocks_recipe, write_recipe

NETWORK = {"class_path": "ConvFeatures", "init_args": {"hidden": 4, "layers": 2}}
TRAINING = {"steps": 6, "batch_size": 8, "validate_every": 3, "save_every": 2}


def perceptual_recipe(**features) -> dict:
    """A tokenizer alone whose objective has an adversary and a distance of features."""
    plain = {"class_path": "TokenizerObjective", "init_args": {"reconstruction": "MSE"}}
    near = {"class_path": "PerceptualObjective", "init_args": {"objective": plain}}
    judge = {"class_path": "PatchDiscriminator", "init_args": {"hidden": 4, "layers": 2}}
    objective = {"objective": near, "discriminator": judge, "start": 3, "ramp": 2}
    recipe = clocks_recipe()
    recipe["tokenizer"] |= {
        "features": features or {"network": NETWORK, "training": TRAINING},
        "objective": {"class_path": "AdversarialObjective", "init_args": objective},
        "training": {**TRAINING, "steps": 8, "validate_every": 2},
    }
    return recipe | {"prior": None}


def weights(run, name):
    return safetensors.torch.load_file(run / name / "model.safetensors")


def test_a_run_that_is_killed_at_its_features_ends_alike_and_says_what_they_are(
    tmp_path, monkeypatch
):
    file = write_recipe(tmp_path / "recipe.yaml", perceptual_recipe())
    killed: list[str] = []

    def stop(self, trainer, *rest):
        name = trainer.lightning_module.name
        if trainer.global_step == 5 and name not in killed:
            killed.append(name)
            raise RuntimeError("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_train_batch_end", stop)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="went down"):
                runs.fit(schema.read(str(file)), tmp_path / "killed")
    assert killed == ["features", "tokenizer"]
    assert main(["fit", str(file), "--out", str(tmp_path / "killed")]) == 0
    runs.fit(schema.read(str(file)), tmp_path / "whole")
    for name in ("features", "tokenizer"):
        whole, resumed = (weights(tmp_path / run, name) for run in ("whole", "killed"))
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    report = json.loads((tmp_path / "killed" / "report.json").read_text())
    found = report["figures"]["feature_distance"]
    assert 0 < found["reconstructions"]["value"] < 4
    assert "on the training images of this run alone, without labels" in str(found)
    page = (tmp_path / "killed" / "report.html").read_text()
    assert "trained for 6 steps on the training images of this run alone, without" in page
    assert "It is not LPIPS" in page and "heard from about step" in page
    _damaged_features_are_refused(file, tmp_path / "killed")
    _a_folder_is_taken_as_it_is(tmp_path)


def _damaged_features_are_refused(file, run):
    other = load_model(run / "features")
    torch.nn.init.zeros_(other.layers[0][0].weight)
    save_model(other, run / "features", made_from=smalti.artifacts.made_from(run / "features"))
    with pytest.raises(InputError, match="tokenizer was made from another network of features"):
        runs.fit(schema.read(str(file)), run)


def _a_folder_is_taken_as_it_is(tmp_path):
    kept = tmp_path / "whole" / "features"
    recipe = perceptual_recipe(folder=str(kept))
    runs.fit(schema.parsed(recipe), tmp_path / "second")
    for name in ("features", "tokenizer"):
        first, second = (weights(tmp_path / run, name) for run in ("whole", "second"))
        assert all(torch.equal(first[key], second[key]) for key in first)


def line(recipe: dict, run) -> str:
    with pytest.raises(InputError) as caught:
        runs.fit(schema.parsed(recipe), run)
    assert "\n" not in str(caught.value) and not run.exists()
    return str(caught.value)


def test_mistakes_of_features_show_before_training(tmp_path):
    run = tmp_path / "run"
    save_model(ConvEncoder(Image(3), 4, hidden=4), tmp_path / "encoder")
    assert "holds a ConvEncoder, no network of features" in line(
        perceptual_recipe(folder=str(tmp_path / "encoder")), run
    )
    save_model(ConvFeatures(Image(1), hidden=4), tmp_path / "grey")
    grey = perceptual_recipe(folder=str(tmp_path / "grey"))
    assert "ConvFeatures cannot take (1, 3, 16, 16)" in line(grey, run)
    assert "has no weights of its own, got no training" in line(
        perceptual_recipe(network=NETWORK), run
    )
    grey["tokenizer"]["features"]["training"] = TRAINING
    assert "leave one of the two out" in line(grey, run)
    single = perceptual_recipe(network=NETWORK, training={**TRAINING, "batch_size": 1})
    assert "got a batch_size of 1: set it to 2" in line(single, run)


def test_features_learn_to_tell_signals_apart():
    """VICReg's terms by hand, and views that keep shape and range."""
    z = torch.tensor([[2.0, 2.0], [-2.0, -2.0], [1.0, 1.0], [-1.0, -1.0]])
    terms = vicreg(z, z + 1)
    assert terms["invariance"].item() == pytest.approx(1)
    assert terms["variance"].item() == 0
    # The covariance of both dimensions is 10 / 3; two entries off the diagonal, E = 2, two views.
    assert terms["covariance"].item() == pytest.approx(2 * (10 / 3) ** 2)
    assert terms["loss"].item() == pytest.approx(25 + 2 * (10 / 3) ** 2)
    constant = vicreg(torch.ones(4, 2), torch.ones(4, 2))
    assert constant["variance"].item() == pytest.approx(2 * 0.99)  # 1 − √ε, of both views
    for size in ((12,), (8, 12)):
        x = torch.linspace(-1, 1, 12).expand(5, 2, *size)
        views = random_views(x)
        assert views.shape == x.shape and not torch.equal(views[0], views[1])
        # A part of a rising signal rises, more slowly.
        rise = views.diff(dim=-1).flatten(2).mean(2)
        assert bool((rise > 0).all()) and bool((rise < 1.4 * 2 / 11 + 0.05).all())

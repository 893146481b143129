"""Recipes whose tokenizer has a likelihood, from the command line to the report."""

from __future__ import annotations

import json

import pytest
import torch

import smalti
from smalti.cli import main
from tiny import clocks_recipe, write_recipe


def fitted(tmp_path, likelihood, **tokenizer):
    recipe = clocks_recipe()
    recipe["tokenizer"] |= {"likelihood": likelihood, **tokenizer}
    path = write_recipe(tmp_path / "tiny.yaml", recipe)
    return main(["fit", str(path), "--out", str(tmp_path / "run")]), tmp_path / "run"


@pytest.mark.parametrize(
    "likelihood",
    [
        {"class_path": "Categorical", "init_args": {"num_values": 16}},
        {"class_path": "Gaussian", "init_args": {"learned": True}},
        {
            "class_path": "PixelCNNLikelihood",
            "init_args": {"signal_channels": 3, "num_values": 4, "hidden": 8, "layers": 2},
        },
        "Bernoulli",
    ],
    ids=str,
)
def test_a_recipe_with_a_likelihood_goes_from_end_to_end(tmp_path, likelihood):
    status, run = fitted(tmp_path, likelihood)
    assert status == 0
    model = smalti.load(run)
    name = likelihood if isinstance(likelihood, str) else likelihood["class_path"]
    assert type(model.autoencoder.likelihood).__name__ == name
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    assert model.autoencoder.nll(x).shape == (2,)
    assert model.decode(model.encode(x)).shape == x.shape
    assert model.sample(2, condition="10:10").shape == x.shape
    bits = json.loads((run / "report.json").read_text())["figures"]["bits_per_dim"]
    assert bits["uniform"]["value"] > bits["reconstruction"]["value"] > 0


def test_a_likelihood_of_other_images_is_refused_at_once(tmp_path, capsys):
    likelihood = {"class_path": "PixelCNNLikelihood", "init_args": {"signal_channels": 1}}
    status, run = fitted(tmp_path, likelihood)
    assert status == 2
    assert "set its signal_channels to 3" in capsys.readouterr().err
    assert not run.exists()


def test_a_likelihood_and_a_distance_exclude_each_other(tmp_path, capsys):
    status, run = fitted(tmp_path, "Categorical", reconstruction="L1")
    assert status == 2
    assert "has a likelihood or a reconstruction loss, got Categorical and L1" in (
        capsys.readouterr().err
    )
    assert not run.exists()

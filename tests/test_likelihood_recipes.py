"""Recipes whose tokenizer has a likelihood, from the command line to the report."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

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
        {"class_path": "Categorical", "init_args": {"levels": 16}},
        {"class_path": "LogisticMixture", "init_args": {"components": 2}},
        {"class_path": "Gaussian", "init_args": {"learned": True}},
        "Bernoulli",
    ],
    ids=str,
)
def test_a_recipe_with_a_likelihood_goes_from_end_to_end(tmp_path, likelihood):
    status, run = fitted(tmp_path, likelihood)
    assert status == 0
    model = smalti.load(run)
    name = likelihood if isinstance(likelihood, str) else likelihood["class_path"]
    assert type(model.tokenizer.likelihood).__name__ == name
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    assert model.tokenizer.nll(x).shape == (2,)
    assert model.decode(model.encode(x)).shape == x.shape
    assert model.sample(2, condition="10:10").shape == x.shape
    assert json.loads((run / "report.json").read_text())


def test_a_run_of_before_there_were_likelihoods_is_of_the_same_recipe(tmp_path):
    """Its config has no such field, and neither has the config of its tokenizer."""
    recipe = str(write_recipe(tmp_path / "tiny.yaml", clocks_recipe()))
    run = tmp_path / "run"
    assert main(["fit", recipe, "--out", str(run)]) == 0
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["tokenizer"].pop("likelihood") is None
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", recipe, "--out", str(run)]) == 0


def test_a_likelihood_and_a_distance_exclude_each_other(tmp_path, capsys):
    status, run = fitted(tmp_path, "Categorical", reconstruction="L1")
    assert status == 2
    assert "has a likelihood or a reconstruction loss, got Categorical and L1" in (
        capsys.readouterr().err
    )
    assert not run.exists()

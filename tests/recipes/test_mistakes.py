"""A mistake in a recipe is told with its whole place, and how to mend it."""

from __future__ import annotations

import pytest

from smalti.errors import InputError
from smalti.recipes import schema
from tiny import clocks_recipe, write_recipe

LIKELIHOOD = "tokenizer.likelihood has fields but no class: give --tokenizer.likelihood CLASS"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--seed x", "seed takes a value of the type int, got x: smalti fit --help"),
        ("--frob 3", "there is no field frob: smalti fit --help"),
        ("--data.frob 3", "there is no field data.frob: smalti fit --help"),
        ("--data.length x", "data.length takes a value of the type int or null, got x:"),
        ("--data.path photos", "makes its own data"),
        ("--tokenizer.encoder.frob 3", "no field tokenizer.encoder.frob: smalti fit RECIPE --tok"),
        ("--tokenizer.likelihood.components 0", LIKELIHOOD),
        ("--prior.training.schedule.warmup 3", "prior.training.schedule has fields but no class"),
        ("--tokenizer.likelihood Mixture", "no class Mixture for tokenizer.likelihood:"),
        (
            "--tokenizer.quantizer.codebook.codebook_size many",
            "tokenizer.quantizer.codebook.codebook_size takes a",
        ),
        ("--tokenizer.quantizer.codebook.frob 3", "no field tokenizer.quantizer.codebook.frob:"),
        (
            "--tokenizer.quantizer.dead_code_reset.every x",
            "quantizer.dead_code_reset.every takes a value of the t",
        ),
        ("--tokenizer.quantizer null", "tokenizer.quantizer cannot be null: give it a value"),
        ("--tokenizer.loss_weights 3", "tokenizer.loss_weights takes a value of the type dict or"),
        ("--tokenizer.fine_levels.downsampling 3", "it needs tokenizer.fine_levels.quantizer:"),
        ("--prior.model.hidden x", "prior.model.hidden takes a value of the type int, got x: smal"),
        ("--prior.model.frob 3", "no field prior.model.frob:"),
        ("--prior.training.optimizer.lr x", "optimizer.lr takes a value of the type float, got x:"),
        ("--data Images --data.size 9 --data.path x --data.crop 3", "data.crop takes one of 'cent"),
    ],
)
def test_of_an_option(tmp_path, options, said):
    path = write_recipe(tmp_path / "tiny.yaml", clocks_recipe())
    with pytest.raises(InputError) as told:
        schema.read(str(path), options.split())
    assert said in str(told.value)
    assert "class '" not in str(told.value)  # nothing of Python's own names


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.pop("data"), "it needs data: give --data"),
        (lambda r: r["tokenizer"]["training"].pop("steps"), "it needs tokenizer.training.steps:"),
        (
            lambda r: r["tokenizer"]["encoder"]["init_args"].update(frob=3),
            "no field tokenizer.encoder.frob:",
        ),
        (lambda r: r["tokenizer"].update(likelihood={"components": 0}), LIKELIHOOD),
        (
            lambda r: r["tokenizer"].update(fine_levels=[{"downsampling": 2}]),
            "tokenizer.fine_levels.quantizer",
        ),
        (lambda r: r.update(tokenizer=3), "tokenizer is not the fields of a TokenizerRecipe:"),
        (lambda r: r.update(seed="a b"), "seed takes a value of the type int, got a b:"),
    ],
)
def test_of_a_yaml(change, said):
    recipe = clocks_recipe()
    change(recipe)
    with pytest.raises(InputError) as told:
        schema.parsed(recipe)
    assert said in str(told.value)

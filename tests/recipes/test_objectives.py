"""Recipes choose an objective, such as one with an adversary."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from smalti import cli, runs
from smalti.errors import InputError
from smalti.recipes import schema
from smalti.recipes.allowed_classes import allow_module
from smalti.training.callbacks import Progress
from tiny import clocks_recipe, vae_recipe, write_recipe

SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}}


@pytest.fixture(autouse=True)
def allowed():
    allow_module("toy_adversary")


def plain_vae_recipe() -> dict:
    """That of a VAE, without the weights that an objective takes over."""
    recipe = vae_recipe()
    for name in ("beta_warmup", "free_bits"):
        del recipe["autoencoder"][name]
    return recipe


def adversarial(recipe: dict, part: str, **arguments) -> dict:
    """A recipe whose tokenizer or autoencoder has an adversary, without a prior."""
    toy = {"class_path": "toy_adversary.ToyAdversarial", "init_args": {"channels": 3, **arguments}}
    recipe[part] |= {"objective": toy}
    recipe[part]["training"]["adversary_optimizer"] = SGD
    return recipe | ({"prior": None} if part == "tokenizer" else {})


@pytest.mark.parametrize(
    ("recipe", "part"), [(clocks_recipe, "tokenizer"), (plain_vae_recipe, "autoencoder")]
)
def test_a_killed_fit_of_a_recipe_with_an_adversary_ends_with_the_same_weights(
    tmp_path, monkeypatch, recipe, part
):
    file = write_recipe(tmp_path / "recipe.yaml", adversarial(recipe(), part))
    words = ["--allow", "toy_adversary", "fit", str(file), "--out"]

    def fit(run) -> dict:
        runs.fit(schema.read(str(file)), run)
        state = torch.load(run / "state" / f"{part}.ckpt", weights_only=True)
        return {
            **safetensors.torch.load_file(run / part / "model.safetensors"),
            **{name: value for name, value in state["state_dict"].items() if "critic" in name},
        }

    def stop(self, trainer, *rest):
        if trainer.global_step == 9:
            raise RuntimeError("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_train_batch_end", stop)
        with pytest.raises(RuntimeError, match="went down"):
            cli.main([*words, str(tmp_path / "killed")])
    whole, resumed = fit(tmp_path / "whole"), fit(tmp_path / "killed")
    assert whole.keys() == resumed.keys()
    assert any("critic" in name for name in whole)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_objective_that_a_recipe_names_is_the_one_it_builds_by_itself(tmp_path):
    """Bit for bit, where the arguments are the same."""
    plain, named = clocks_recipe(), clocks_recipe()
    plain["tokenizer"] |= {"reconstruction": {"class_path": "L1"}, "commitment_weight": 0.5}
    arguments = {"reconstruction": {"class_path": "L1"}, "commitment_weight": 0.5}
    named["tokenizer"]["objective"] = {"class_path": "TokenizerObjective", "init_args": arguments}
    weights = []
    for name, recipe in (("plain", plain), ("named", named)):
        runs.fit(schema.parsed({**recipe, "prior": None}), tmp_path / name)
        weights.append((tmp_path / name / "tokenizer" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def line(recipe: dict, run) -> str:
    with pytest.raises(InputError) as caught:
        runs.fit(schema.parsed(recipe), run)
    assert "\n" not in str(caught.value) and not run.exists()
    return str(caught.value)


def test_what_an_objective_leaves_without_meaning_is_refused(tmp_path):
    run = tmp_path / "run"
    recipe = adversarial(clocks_recipe(), "tokenizer")
    recipe["tokenizer"] |= {"commitment_weight": 0.5, "reconstruction": {"class_path": "MSE"}}
    assert "got reconstruction and commitment_weight beside ToyAdversarial" in line(recipe, run)
    recipe = adversarial(vae_recipe(), "autoencoder")
    assert "got beta_warmup and free_bits beside" in line(recipe, run)
    recipe = clocks_recipe()
    recipe["tokenizer"]["training"]["adversary_optimizer"] = SGD
    assert "A tokenizer has no adversary" in line(recipe, run)
    recipe["tokenizer"]["objective"] = {
        "class_path": "TokenizerObjective",
        "init_args": {"reconstruction": {"class_path": "MSE"}},
    }
    assert "whose objective is TokenizerObjective has no adversary" in line(recipe, run)
    recipe = clocks_recipe()
    recipe["prior"]["training"]["adversary_optimizer"] = SGD
    assert "A prior has no adversary" in line(recipe, run)


def test_a_mistake_of_an_objective_shows_before_training(tmp_path):
    run = tmp_path / "run"
    wrong = adversarial(clocks_recipe(), "tokenizer", channels=1)
    assert "ToyAdversarial cannot be computed of (2, 3, 16, 16)" in line(wrong, run)
    slow = adversarial(clocks_recipe(), "tokenizer")
    slow["tokenizer"]["training"]["adversary_optimizer"] = {
        "class_path": "torch.optim.SGD",
        "init_args": {"lr": 0.1, "nesterov": True},
    }
    assert "The optimizer of a ToyAdversarial cannot be made" in line(slow, run)


def test_a_recipe_of_a_stranger_imports_no_objective(tmp_path, monkeypatch):
    monkeypatch.setattr("smalti.recipes.allowed_classes._by_the_user", [])
    assert "give --allow toy_adversary" in line(
        adversarial(clocks_recipe(), "tokenizer"), tmp_path / "run"
    )

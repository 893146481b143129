"""A training that diverges says so at once, and leaves what was good as it was."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from smalti import runs
from smalti.artifacts import load_model, save_model
from smalti.cli import main
from smalti.conditions import Label
from smalti.errors import InputError
from smalti.evaluation.classifier import train_classifier
from smalti.priors import PixelCNN, SamplingConfig
from smalti.recipes import schema
from smalti.training import AutoencoderStage, PriorStage
from smalti.training.divergence import Diverged
from smalti.weights import first_not_finite
from tiny import clocks_recipe, vae_recipe, write_recipe


def recipe_of(part: str) -> dict[str, Any]:
    return vae_recipe() if part == "autoencoder" else clocks_recipe()


@pytest.mark.parametrize("lr", [1e9, 1e30])
@pytest.mark.parametrize("part", ["tokenizer", "prior", "autoencoder"])
def test_a_rate_that_is_far_too_large_ends_the_fit_and_saves_no_model(tmp_path, part, lr):
    recipe = recipe_of(part)
    recipe[part]["training"]["optimizer"] = {"class_path": "Adam", "init_args": {"lr": lr}}
    with pytest.raises(Diverged, match=rf"of the {part} has diverged, at step \d+ .*lower"):
        runs.fit(schema.parsed(recipe), tmp_path / "run")
    assert not (tmp_path / "run" / part).exists()
    state = tmp_path / "run" / "state" / f"{part}.ckpt"
    if state.exists():
        assert first_not_finite(torch.load(state, weights_only=True)["state_dict"]) is None


def test_the_command_line_says_it_in_one_line_and_writes_no_report(tmp_path, capfd):
    recipe = clocks_recipe()
    recipe["prior"]["training"]["optimizer"] = {"class_path": "Adam", "init_args": {"lr": 1e9}}
    file = write_recipe(tmp_path / "far.yaml", recipe)
    words = ["fit", str(file), "--out", str(tmp_path / "run")]
    for _ in range(2):  # the same again says the same
        assert main(words) == 2
        said = capfd.readouterr().err.splitlines()
        assert sum("diverged" in line for line in said) == 1
        assert said[-1].startswith("smalti: The training of the prior has diverged, at step ")
    assert not list((tmp_path / "run").glob("report.*"))
    assert main(["sample", str(tmp_path / "run"), "--out", str(tmp_path / "a.png")]) == 2


@pytest.mark.parametrize(
    ("part", "weight"), [("tokenizer", "commitment_weight"), ("autoencoder", "beta")]
)
def test_a_weight_of_the_loss_that_is_no_number_ends_the_fit(tmp_path, part, weight):
    recipe = recipe_of(part)
    recipe[part][weight] = math.nan
    with pytest.raises(InputError):  # when it is read, or else at the first step
        runs.fit(schema.parsed(recipe), tmp_path / "run")
    assert not (tmp_path / "run" / part).exists()


def fails_from(monkeypatch, stage: type, step: int, value: float) -> None:
    """Gives the losses of training a factor from a step on."""
    objective = stage.objective

    def failing(self, batch):
        terms = objective(self, batch)
        bad = self.training and self.trainer.global_step + 1 >= step
        return {**terms, "loss": terms["loss"] * value} if bad else terms

    monkeypatch.setattr(stage, "objective", failing)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("part", "stage"), [("tokenizer", AutoencoderStage), ("prior", PriorStage)]
)
def test_the_last_good_state_is_kept_and_goes_on(tmp_path, monkeypatch, part, stage, value):
    config = schema.parsed(clocks_recipe())  # 12 steps, a state every 4
    run, whole = tmp_path / "run", tmp_path / "whole"
    with monkeypatch.context() as patch:
        fails_from(patch, stage, 8, value)
        with pytest.raises(Diverged, match=f"at step 8 the loss is .*state/{part}.ckpt"):
            runs.fit(config, run)
    assert torch.load(run / "state" / f"{part}.ckpt", weights_only=True)["global_step"] == 4
    assert not (run / part).exists()

    runs.fit(config, run)
    runs.fit(config, whole)
    one, other = weights(run / part), weights(whole / part)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_a_loss_that_stays_huge_is_a_divergence_and_one_that_is_large_a_warning(
    tmp_path, monkeypatch, capsys
):
    recipe = clocks_recipe()
    recipe["prior"]["training"]["steps"] = 130
    recipe["prior"]["training"]["optimizer"] = {"class_path": "SGD", "init_args": {"lr": 1e-12}}
    config = schema.parsed(recipe)
    with monkeypatch.context() as patch:
        fails_from(patch, PriorStage, 3, 1e8)
        with pytest.raises(Diverged, match="at step 22 the loss has been above"):
            runs.fit(config, tmp_path)
    fails_from(monkeypatch, PriorStage, 3, 1e4)
    runs.fit(config, tmp_path)
    said = capsys.readouterr().err
    assert said.count("may be diverging") == 1


def test_a_validation_that_gives_no_number_is_a_divergence(tmp_path, monkeypatch):
    objective = PriorStage.objective

    def failing(self, batch):
        terms = objective(self, batch)
        return terms if self.training else {"loss": terms["loss"] * math.nan}

    monkeypatch.setattr(PriorStage, "objective", failing)
    with pytest.raises(Diverged, match="at step 6 the validation loss is nan"):
        runs.fit(schema.parsed(clocks_recipe()), tmp_path)


def test_no_model_with_weights_that_are_no_numbers_is_saved_or_loads(tmp_path, monkeypatch):
    for bad in (math.nan, math.inf, -math.inf):
        prior = PixelCNN(4, (2, 2), hidden=4, layers=1)
        save_model(prior, tmp_path / "good")
        with torch.no_grad():
            prior.embedding.weight.view(-1)[3] = bad
        for write in (save_model, lambda model, folder: model.save_pretrained(folder)):
            with pytest.raises(InputError, match="not all finite .*embedding"):
                write(prior, tmp_path / "good")
        assert load_model(tmp_path / "good") is not None  # what was there is still there
        with monkeypatch.context() as patch:
            patch.setattr("smalti.artifacts.first_not_finite", lambda _: None)
            save_model(prior, tmp_path / "bad")
        with pytest.raises(InputError, match="not finite .*embedding"):
            load_model(tmp_path / "bad")


@pytest.mark.parametrize("how", [{}, {"temperature": 0.0}, {"top_k": 2}, {"top_p": 0.5}])
def test_a_prior_that_has_diverged_says_so_when_it_draws(how):
    for bad in (math.nan, math.inf):
        prior = PixelCNN(4, (2, 2), hidden=4, layers=1)
        with torch.no_grad():
            prior.second.bias[1] = bad
        with pytest.raises(InputError, match="the prior has diverged"):
            prior.sample(3, config=SamplingConfig(**how))


def test_the_classifier_of_the_evaluation_says_so(monkeypatch):
    splits = schema.build(schema.parsed(clocks_recipe())).data.load()
    labels = [torch.randint(3, (48,)), torch.full((128, 3, 16, 16), math.nan)]
    condition = Label(["a", "b", "c"])
    train = type(
        "Bad",
        (),
        {
            "__len__": lambda _: 48,
            "__getitems__": lambda _, at: (labels[1], labels[0][at]),
            "varies": False,
        },
    )()
    with pytest.raises(InputError, match="classifier of the evaluation has diverged"):
        train_classifier(splits._replace(train=train, condition=condition), 2, 0)

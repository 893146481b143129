"""What a recipe leaves to the data becomes a number, which is written down and stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from smalti import recipes, runs
from smalti.errors import InputError
from smalti.priors import DepthPixelCNN, PixelCNN, PixelSNAIL, TransformerPrior, Uniform
from smalti.priors.regularisation import MOST, advise_regularisation, advise_views
from smalti.recipes import schema
from smalti.runs import Run
from smalti.token_cache import read_cache
from smalti.training import PriorStage, Tokens, Training
from tiny import clocks_recipe


def left_open() -> dict:
    recipe = clocks_recipe()
    recipe["prior"]["model"]["init_args"]["dropout"] = "auto"
    recipe["prior"] |= {"token_noise": "auto", "weight_decay": "auto"}
    recipe["prior"]["training"]["optimizer"] = {"class_path": "AdamW", "init_args": {"lr": 0.01}}
    return recipe


def numbers(run: Run) -> tuple[float, float, float]:
    prior = run.read_config()["prior"]
    return prior["model"]["init_args"]["dropout"], prior["token_noise"], prior["weight_decay"]


def test_recipes_mirror_nothing_and_those_for_any_images_leave_the_amounts_to_the_data():
    for name in recipes.names():
        given = [] if "clocks" in name else ["--data.path", "anywhere"]
        config = schema.read(name, given)
        assert not config.data.init_args.get("flip"), name
        if name in ("images32", "images64", "hierarchical64"):
            for prior in (config.prior, *(config.prior.fine_levels or [])):
                amounts = prior.model.init_args.dropout, prior.token_noise, prior.weight_decay
                assert amounts == ("auto", "auto", "auto"), name
                assert prior.training.keep_best and prior.training.patience, name
            assert (config.prior.views, config.prior.shift) == ("auto", "auto"), name


def test_the_less_there_is_the_more_a_prior_is_held_back():
    given = [
        advise_regularisation(1_000_000, tokens, 10)
        for tokens in (10**8, 10**7, 10**6, 10**5, 10**4)
    ]
    assert given[0] == (0, 0, 0)
    assert given == sorted(given)
    assert given[-1] == MOST
    assert (
        advise_regularisation(10**6, 10**6, 100)
        == advise_regularisation(10**6, 10**5, 10)
        == advise_regularisation(10**7, 10**6, 10)
    )


def test_only_few_examples_get_more_views():
    def views(name: str, examples: int) -> int:
        training = schema.read(name, ["--data.path", "anywhere"]).prior.training
        return advise_views(training.steps * training.batch_size / examples)

    # Garments and emoji of docs/figures.md, whose figures are of one view.
    assert (views("images32", 7695), views("images64", 1900)) == (1, 1)
    assert [views("images32", n) for n in (2400, 1200, 473, 100)] == [1, 7, 25, 32]


def photographs(folder: Path, n: int = 24) -> dict:
    """A recipe for n pictures of noise in two folders, which leaves the views open."""
    generator = np.random.default_rng(0)
    for number in range(n):
        file = folder / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    recipe = left_open()
    recipe["data"] = {"class_path": "Images", "init_args": {"path": str(folder), "size": 16}}
    recipe["prior"] |= {"views": "auto", "shift": "auto"}
    recipe["prior"]["training"] |= {"steps": 30, "batch_size": 64}
    return recipe


def test_few_images_are_seen_moved_and_a_run_goes_on_with_as_many_views(tmp_path):
    config = schema.parsed(photographs(tmp_path / "images"))
    run, splits = runs.fit(config, tmp_path / "run")
    prior, n = run.read_config()["prior"], len(splits.train)
    assert (prior["views"], prior["shift"]) == (advise_views(30 * 64 / n), 1 / 16)
    assert prior["views"] > 1
    grids = read_cache(run.tokens, "train").levels[0]
    assert len(grids) == prior["views"] * n
    first, *others = grids.split(n)
    assert all(not torch.equal(view, first) for view in others)  # no copies
    assert len(read_cache(run.tokens, "test").levels[0]) == len(splits.test)

    weights = (run.prior / "model.safetensors").read_bytes()
    shutil.rmtree(run.prior)
    shutil.rmtree(run.tokens)
    runs.fit(config, tmp_path / "run")  # the same words: the same run, and the same views
    assert (run.prior / "model.safetensors").read_bytes() == weights
    assert run.read_config()["prior"] == prior


def test_nothing_is_moved_that_shows_something_else_then_or_that_somebody_counted(tmp_path):
    clocks = left_open()
    clocks["prior"] |= {"views": "auto", "shift": "auto"}
    counted = photographs(tmp_path / "images")
    counted["prior"]["views"] = 2
    for name, recipe, views in (("clocks", clocks, 1), ("counted", counted, 2)):
        run, _ = runs.fit(schema.parsed(recipe), tmp_path / name)
        prior = run.read_config()["prior"]
        assert (prior["views"], prior["shift"]) == (views, 0), name


def test_the_numbers_are_written_and_a_run_goes_on_with_them(tmp_path):
    config = schema.parsed(left_open())
    run, _ = runs.fit(config, tmp_path / "run")
    found = numbers(run)
    assert all(isinstance(number, float) for number in found)
    assert found[0] > 0
    runs.fit(config, tmp_path / "run")  # the same words: the same run
    assert numbers(run) == found
    runs.fit(schema.read(str(run.config)), tmp_path / "again")  # and so are the numbers
    assert run.read_config() == Run(tmp_path / "again").read_config()

    other = left_open() | {"seed": 3}
    with pytest.raises(InputError, match="another recipe"):
        runs.fit(schema.parsed(other), tmp_path / "run")


def test_a_run_keeps_its_numbers_where_others_would_be_advised_now(tmp_path):
    config = schema.parsed(left_open())
    run, _ = runs.fit(config, tmp_path)
    text = run.config.read_text().replace(f"dropout: {numbers(run)[0]}", "dropout: 0.123")
    run.config.write_text(text)
    runs.fit(config, tmp_path)
    assert numbers(run)[0] == 0.123


def test_a_number_that_is_given_wins(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(left_open()))
    config = schema.read(str(file), ["--prior.model.dropout", "0.25", "--prior.token_noise", "0"])
    run, _ = runs.fit(config, tmp_path / "run")
    dropout, noise, decay = numbers(run)
    assert (dropout, noise) == (0.25, 0)
    assert decay > 0


def test_each_level_of_a_hierarchy_has_its_own(tmp_path):
    recipe = left_open()
    quantizer = recipe["tokenizer"]["quantizer"]
    recipe["tokenizer"]["fine_levels"] = [{"quantizer": quantizer, "downsampling": 2}]
    finer = {name: recipe["prior"][name] for name in ("model", "training", "weight_decay")}
    recipe["prior"]["fine_levels"] = [finer | {"token_noise": 0.05}]
    run, _ = runs.fit(schema.parsed(recipe), tmp_path)
    below = run.read_config()["prior"]["fine_levels"][0]
    assert below["token_noise"] == 0.05
    # four times the tokens: held back less
    assert 0 <= below["model"]["init_args"]["dropout"] < numbers(run)[0]


@pytest.mark.parametrize("words", [("token_noise", 1.0), ("token_noise", -0.1)])
def test_amounts_out_of_range_are_refused(words):
    recipe = clocks_recipe()
    recipe["prior"][words[0]] = words[1]
    with pytest.raises(InputError, match=words[0]):
        schema.build(schema.parsed(recipe))


def test_a_prior_itself_takes_numbers_only():
    kinds = (PixelCNN, PixelSNAIL, TransformerPrior)
    for kind, grid in (*((kind, (4, 4)) for kind in kinds), (DepthPixelCNN, (4, 4, 2))):
        with pytest.raises(InputError, match="auto.*give a number"):
            kind(8, grid, dropout="auto")


@pytest.mark.parametrize("kind", [PixelCNN, PixelSNAIL, DepthPixelCNN, TransformerPrior])
def test_noise_changes_what_is_seen_and_not_what_is_predicted(kind):
    torch.manual_seed(0)
    prior = kind(8, (3, 3, 2) if kind is DepthPixelCNN else (3, 3), hidden=8, layers=1)
    indices = torch.randint(8, (5, *prior.grid))
    torch.testing.assert_close(prior.loss_of_noisy(indices, None, 0.0), prior.loss(indices))
    assert not torch.equal(prior.loss_of_noisy(indices, None, 0.9), prior.loss(indices))
    # A prior that sees nothing of the others is not disturbed, however strong the noise.
    with torch.no_grad():
        for name, weight in prior.named_parameters():
            if "embedding" in name:
                weight.zero_()
    torch.testing.assert_close(prior.loss_of_noisy(indices, None, 0.9), prior.loss(indices))


def test_noise_and_decay_that_cannot_be_are_refused():
    tokens = Tokens(torch.randint(4, (8, 2, 2)))
    uniform = Uniform(4, (2, 2))
    with pytest.raises(InputError, match="Token noise"):
        PriorStage(uniform, Training(1), tokens, tokens, seed=0, token_noise=0.1)
    made = PriorStage(
        PixelCNN(4, (2, 2), hidden=4, layers=1),
        Training(1, optimizer=torch.optim.AdamW),
        tokens,
        tokens,
        seed=0,
        weight_decay=0.3,
    ).optimizer()
    decayed = {
        len(g["params"]) > 0 and p.ndim > 1: g["weight_decay"]
        for g in made.param_groups
        for p in g["params"]
    }
    assert decayed == {True: 0.3, False: 0.0}

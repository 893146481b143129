"""More steps for a finished run: what was learned goes on, and what follows is learned anew."""

from __future__ import annotations

import logging
import shutil

import pytest
import torch
import yaml

from smalti import runs
from smalti.artifacts import checksum, load_model, made_from
from smalti.cli import main
from smalti.data.manifest import read_manifest
from smalti.provenance import stage_checksums
from smalti.recipes import schema
from smalti.runs import Run
from tiny import clocks_recipe, vae_recipe, write_recipe


def fitted(folder, recipe, extend=False):
    return runs.fit(schema.parsed(recipe), folder, extend=extend)[0]


def longer(recipe, **steps):
    """The recipe with other steps, by the name of the stage."""
    for stage, number in steps.items():
        recipe[stage]["training"]["steps"] = number
    return recipe


def weights(folder):
    return load_model(folder).state_dict()


def assert_equal(one, other):
    for name, tensor in weights(one).items():
        assert torch.equal(weights(other)[name], tensor), name


def assert_consistent(run, recipe):
    """What the run holds was made from what it holds, by the recipe that it says."""
    config = yaml.safe_load(schema.dump(schema.parsed(recipe)))
    assert run.read_config() == config or recipe["prior"]  # whose "auto" is a number there
    wanted = stage_checksums(run.read_config())
    assert read_manifest(run.data).recipe == wanted
    assert made_from(run.prior)["tokenizer"] == checksum(run.tokenizer)
    assert made_from(run.prior)["recipe"] == wanted["prior"]
    before = checksum(run.tokenizer), checksum(run.prior)
    fitted(run.folder, recipe)  # what is done is not done again
    assert before == (checksum(run.tokenizer), checksum(run.prior))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of clocks, and one whose tokenizer took more steps from the start."""
    folder = tmp_path_factory.mktemp("finished")
    fitted(folder / "run", clocks_recipe())
    fitted(folder / "straight", longer(clocks_recipe(), tokenizer=18))
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """The run of clocks, to be changed."""
    return Run(shutil.copytree(finished / "run", tmp_path / "run"))


def test_a_prior_goes_on_as_one_that_was_longer_from_the_start(run, tmp_path):
    straight = fitted(tmp_path / "straight", longer(clocks_recipe(), prior=18))
    tokenizer = checksum(run.tokenizer)
    fitted(run.folder, longer(clocks_recipe(), prior=18), extend=True)
    assert checksum(run.tokenizer) == tokenizer
    assert_equal(straight.prior, run.prior)
    assert_consistent(run, longer(clocks_recipe(), prior=18))
    fitted(run.folder, longer(clocks_recipe(), prior=24), extend=True)  # and once more
    assert_consistent(run, longer(clocks_recipe(), prior=24))


def test_what_follows_from_a_longer_tokenizer_is_learned_anew(finished, run, caplog):
    straight = Run(finished / "straight")
    with caplog.at_level(logging.WARNING):
        fitted(run.folder, longer(clocks_recipe(), tokenizer=18), extend=True)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "follow from its tokenizer: made anew" in said
    assert f"goes on from {run.folder / 'state' / 'tokenizer.ckpt'}" in said
    assert_equal(straight.tokenizer, run.tokenizer)
    assert_equal(straight.prior, run.prior)
    assert_consistent(run, longer(clocks_recipe(), tokenizer=18))


def test_without_a_state_the_stage_starts_over_and_says_so(tmp_path, caplog):
    straight = fitted(tmp_path / "straight", longer(vae_recipe(), autoencoder=18))
    run = fitted(tmp_path / "run", vae_recipe())
    (run.folder / "state" / "autoencoder.ckpt").unlink()
    fitted(run.folder, longer(vae_recipe(), autoencoder=18), extend=True)
    assert "No state of the autoencoder" in caplog.text
    assert_equal(straight.autoencoder, run.autoencoder)


def test_an_extension_that_was_killed_goes_on(finished, run, monkeypatch):
    recipe = longer(clocks_recipe(), tokenizer=18)

    def killed(*_):
        raise KeyboardInterrupt

    for where in ("write_text", "_recorded", "fit_autoencoder", "cache_tokens", "fit_prior"):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(runs, where, killed)
            fitted(run.folder, recipe, extend=True)
    fitted(run.folder, recipe)
    assert_equal(Run(finished / "straight").prior, run.prior)


@pytest.mark.parametrize("words", [["--prior.training.steps", "24"], ["--prior.training.steps=6"]])
def test_other_steps_are_refused_in_one_line_without_extend(run, tmp_path, capsys, words):
    recipe = write_recipe(tmp_path / "recipe.yaml", clocks_recipe())
    before = checksum(run.prior)
    assert main(["fit", str(recipe), "--out", str(run.folder), *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "prior.training.steps is 12 there" in said
    assert ("give --extend to go on" in said) == (words[-1] == "24")
    # Fewer steps, or more and something else, are another recipe with --extend too.
    more = ["--prior.training.batch_size", "4"]
    for options in [["--prior.training.steps", "6"], ["--prior.training.steps", "24", *more]]:
        assert main(["fit", str(recipe), "--out", str(run.folder), "--extend", *options]) == 2
        assert "holds a run of another recipe" in capsys.readouterr().err
    assert checksum(run.prior) == before and Run(run.folder).tokens.exists()

"""One tokenizer for several priors: its run is taken over, and only the prior is learned."""

from __future__ import annotations

import shutil

import pytest
import torch

from smalti import runs
from smalti.artifacts import checksum, load_model
from smalti.cli import main
from smalti.data.manifest import read_manifest
from smalti.recipes import schema
from smalti.runs import Run
from smalti.token_cache import cached_tokenizer
from tiny import clocks_recipe, write_recipe


def other_prior(**changes):
    """The recipe of clocks with another prior."""
    recipe = clocks_recipe()
    recipe["prior"] |= {"model": {"class_path": "MaskedPrior", "init_args": {"hidden": 8}}}
    return recipe | changes


def fitted(folder, recipe, source=None):
    return runs.fit(schema.parsed(recipe), folder, tokenizer_from=source)[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("finished") / "run", clocks_recipe())


def test_the_prior_is_that_of_a_run_that_learned_all_by_itself(finished, tmp_path, monkeypatch):
    alone = fitted(tmp_path / "alone", other_prior())
    with monkeypatch.context() as patched:
        patched.setattr("smalti.run_stages.encode_examples", None)  # tokens are not made again
        run = fitted(tmp_path / "run", other_prior(), finished.folder)
    assert checksum(run.tokenizer) == checksum(finished.tokenizer)
    assert checksum(run.prior) == checksum(alone.prior)
    assert read_manifest(run.data).recipe == read_manifest(alone.data).recipe
    assert (run.folder / "logs" / "tokenizer").is_dir()
    fitted(run.folder, other_prior())  # and goes on as any other
    assert checksum(run.prior) == checksum(alone.prior)


def test_what_was_killed_goes_on(finished, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    for where in ("write_text", "_recorded", "reuse.take_tokenizer", "fit_autoencoder"):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(f"smalti.runs.{where}", killed)
            fitted(tmp_path / "run", other_prior(), finished.folder)
    run = fitted(tmp_path / "run", other_prior(), finished.folder)
    assert checksum(run.tokenizer) == checksum(finished.tokenizer)


def test_tokens_that_the_recipe_makes_otherwise_are_made_anew(finished, tmp_path):
    recipe = other_prior()
    recipe["prior"]["examples"] = 24
    run = fitted(tmp_path / "run", recipe, finished.folder)
    assert cached_tokenizer(run.tokens) == checksum(finished.tokenizer)
    assert checksum(run.tokenizer) == checksum(finished.tokenizer)


def test_another_tokenizer_data_or_seed_are_refused_in_one_line(finished, tmp_path, capsys):
    unlike = other_prior()
    unlike["tokenizer"]["encoder"]["init_args"]["hidden"] = 16
    data = other_prior()
    data["data"]["init_args"]["length"] = 40
    unfinished = Run(shutil.copytree(finished.folder, tmp_path / "unfinished"))
    shutil.rmtree(unfinished.tokenizer)
    for recipe, source, said in (
        (unlike, finished, "whose tokenizer or seed differ"),
        (other_prior(seed=3), finished, "whose tokenizer or seed differ"),
        (data, finished, "which was made from others"),
        (other_prior(), unfinished, "which has none yet"),
        (other_prior(), Run(tmp_path), "is not a run directory"),
    ):
        words = ["fit", str(write_recipe(tmp_path / "recipe.yaml", recipe))]
        words += ["--out", str(tmp_path / "run"), "--tokenizer_from", str(source.folder)]
        assert main(words) == 2
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert said in last and "Traceback" not in last, last
        assert not (tmp_path / "run").exists()


def residual_recipe(stages=3):
    """The recipe of clocks with a residual quantizer, and a prior of its depth."""
    recipe = clocks_recipe()
    dim = recipe["tokenizer"]["encoder"]["init_args"].get("dim", 4)
    codebook = {"class_path": "EMACodebook", "init_args": {"codebook_size": 8, "dim": dim}}
    stage = {"class_path": "VectorQuantizer", "init_args": {"codebook": codebook}}
    recipe["tokenizer"]["quantizer"] = {
        "class_path": "ResidualQuantizer",
        "init_args": {"stages": [stage] * stages, "dropout": 0.5},
    }
    recipe["prior"] |= {"model": {"class_path": "DepthPixelCNN", "init_args": {"hidden": 8}}}
    return recipe


def test_the_first_stages_of_a_tokenizer_have_a_prior_of_their_own(tmp_path, capsys):
    whole = fitted(tmp_path / "whole", residual_recipe())
    words = ["fit", str(write_recipe(tmp_path / "recipe.yaml", residual_recipe()))]
    words += ["--tokenizer_from", str(whole.folder), "--out", str(tmp_path / "two")]
    assert main([*words, "--stages", "2"]) == 0
    two, three = load_model(tmp_path / "two" / "tokenizer"), load_model(whole.tokenizer)
    x = torch.rand(4, 3, 16, 16) * 2 - 1
    assert two.quantizer.codebook_sizes == (8, 8)
    codes = three.encode(x)
    assert torch.equal(two.encode(x), codes[..., :2])
    assert torch.equal(two.decode(codes[..., :2]), three.decode(codes[..., :2]))
    before = checksum(tmp_path / "two" / "prior")
    fitted(tmp_path / "two", residual_recipe(2))  # and goes on as any other run
    assert checksum(tmp_path / "two" / "prior") == before
    for stages, said in ("4", "has 3 stages, got 4"), ("none", "number of stages, got none"):
        assert main([*words[:-1], str(tmp_path / "new"), "--stages", stages]) == 2
        assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "new").exists()


def test_stages_are_of_a_residual_quantizer(tmp_path, capsys):
    words = ["fit", str(write_recipe(tmp_path / "recipe.yaml", other_prior())), "--stages", "2"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "got 2 of a recipe without" in last

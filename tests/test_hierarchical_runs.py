"""A hierarchy from the recipe to the report: two levels, a prior each, and every command."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import smalti
from mistakes import mistake
from smalti.cli import main
from smalti.conditions import CoarseTokens
from smalti.priors import Cascade, TransformerPrior
from smalti.runs import Run
from smalti.token_cache import read_cache
from smalti.tokens import read_tokens
from tiny import clocks_recipe, write_recipe


def hierarchical_recipe() -> dict:
    """Clocks of 16 px, 2×2 and 4×4 tokens."""
    recipe = clocks_recipe()
    tokenizer, prior = recipe["tokenizer"], recipe["prior"]
    quantizer = dict(tokenizer["quantizer"])
    tokenizer["fine_levels"] = [{"quantizer": quantizer, "downsampling": 4}]
    tokenizer["encoder"]["init_args"]["downsampling"] = 8
    prior["fine_levels"] = [{"model": dict(prior["model"]), "training": dict(prior["training"])}]
    return recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hierarchy")
    recipe = write_recipe(folder / "tiny.yaml", hierarchical_recipe())
    assert main(["fit", str(recipe), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def model(run):
    return smalti.load(run)


def signals(model, n=3):
    return torch.rand(n, model.signal.channels, *model.signal.size) * 2 - 1


def test_each_level_has_its_tokens_and_its_prior(run, model):
    assert sorted(path.name for path in (run / "prior").iterdir()) == ["0", "1"]
    assert json.loads((run / "tokens" / "tokens.json").read_text())["grids"] == [[2, 2], [4, 4]]
    cached = read_cache(run / "tokens", "train")
    assert [tuple(grid.shape) for grid in cached.levels] == [(48, 2, 2), (48, 4, 4)]
    assert isinstance(model.prior, Cascade)
    top, bottom = model.prior.levels
    assert bottom.condition.equals(CoarseTokens([16], [(2, 2)], top.condition))
    assert list(Run(run).curves()) == ["tokenizer", "prior-0", "prior-1"]


def test_what_a_finished_fit_does_again_is_nothing(run):
    made = (run / "prior" / "1" / "model.safetensors").stat().st_mtime_ns
    assert main(["fit", str(run.parent / "tiny.yaml"), "--out", str(run)]) == 0
    assert (run / "prior" / "1" / "model.safetensors").stat().st_mtime_ns == made


def test_tuples_in_and_out(model):
    x = signals(model)
    grids = model.encode(x)
    assert [tuple(grid.shape) for grid in grids] == [(3, 2, 2), (3, 4, 4)]
    assert torch.equal(model.decode(grids), model.autoencoder.decode(grids))
    assert torch.equal(model.decode(grids[:1]), model.autoencoder.decode(grids[:1]))
    drawn = model.sample_latents(2, "10:10", seed=1)
    assert torch.equal(model.decode(drawn), model.sample(2, "10:10", seed=1))
    way = model.interpolate(x[0], x[1], 3)
    torch.testing.assert_close(way[[0, -1]], model.decode(model.encode(x[:2])))


def test_known_tokens_of_every_level_stay(model):
    x = signals(model, 1)
    given = torch.zeros(1, *model.signal.size, dtype=torch.bool)
    given[:, :8] = True
    known = model.known_tokens(x, given)
    top, bottom = model.layout.unpack(known)
    assert (top[:, 0] >= 0).all()
    assert (top[:, 1] == -1).all()
    assert (bottom[:, :2] >= 0).all()
    assert (bottom[:, 2:] == -1).all()
    drawn = model.layout.pack(model.sample_latents(2, known=known, seed=0))
    assert torch.equal(torch.where(known >= 0, known, drawn), drawn)


@pytest.mark.parametrize("prior", ["learned", "histogram", "uniform"])
def test_every_prior_samples(run, tmp_path, prior):
    words = ["sample", str(run), "--prior", prior, "--n", "3", "--out", str(tmp_path / "a.png")]
    assert main(words) == 0


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_an_array_a_level_and_prefixes_on_the_command_line(run, model, tmp_path, suffix):
    files = sorted(str(path) for path in (run / "samples").glob("samples-*.png"))[:1]
    tokens, out = str(tmp_path / f"tokens.{suffix}"), str(tmp_path / "out")
    assert main(["encode", str(run), *files, "--out", tokens, "--convert"]) == 0
    read = read_tokens(tokens)
    assert [tuple(grid.shape) for grid in read.levels] == [(1, 2, 2), (1, 4, 4)]
    if suffix == "npz":
        np.savez(tmp_path / "top.npz", indices=read.levels[0].numpy())
        assert main(["decode", str(run), str(tmp_path / "top.npz"), "--out", out]) == 0
        prefix = ["reconstruct", str(run), *files, "--convert", "--levels", "1"]
        assert main([*prefix, "--out", str(tmp_path / "prefix")]) == 0
        (one,), (two,) = ((tmp_path / name).iterdir() for name in ("out", "prefix"))
        assert one.read_bytes() == two.read_bytes()
    assert main(["decode", str(run), tokens, "--out", str(tmp_path / "whole")]) == 0


def test_the_report_says_what_each_level_holds(run):
    report = json.loads((run / "report.json").read_text())["figures"]
    assert list(report["levels"]) == ["0", "1"]
    an_image = [level["bits_per_image"]["value"] for level in report["levels"].values()]
    assert sum(an_image) == pytest.approx(report["rate"]["prior"]["bits_per_image"]["value"])
    assert report["rate"]["uniform"]["bits_per_image"]["value"] == pytest.approx(20 * 4)
    whole = report["levels"]["1"]["psnr"]["value"]
    assert whole == pytest.approx(report["reconstruction"]["psnr"]["value"])
    assert "Levels" in (run / "report.html").read_text()


def all_at_once(recipe: dict) -> dict:
    recipe["prior"]["model"] = {"class_path": "TransformerPrior", "init_args": {"hidden": 8}}
    for stage in ("tokenizer", "prior"):
        recipe[stage]["training"] |= {"steps": 4, "validate_every": 2, "save_every": 4}
    recipe["evaluation"] = {"samples": 4, "classifier_steps": 0, "feature_steps": 2, "test": 8}
    return recipe


def test_one_transformer_is_the_prior_of_all_levels(tmp_path):
    recipe = all_at_once(hierarchical_recipe())
    del recipe["prior"]["fine_levels"]
    path, out = write_recipe(tmp_path / "tiny.yaml", recipe), tmp_path / "run"
    assert main(["fit", str(path), "--out", str(out)]) == 0
    model = smalti.load(out)
    assert isinstance(model.prior, TransformerPrior) and model.prior.layout == model.layout
    assert list(Run(out).curves()) == ["tokenizer", "prior"]
    assert model.sample_latents(3, seed=0)[1].shape == (3, 4, 4)
    figures = json.loads((out / "report.json").read_text())["figures"]
    assert figures["rate"]["uniform"]["bits_per_image"]["value"] == pytest.approx(20 * 4)
    assert main(["sample", str(out), "--time", "10:10", "--out", str(tmp_path / "s.png")]) == 0


def test_the_scales_of_a_quantizer_are_levels_of_a_transformer(tmp_path):
    recipe = all_at_once(clocks_recipe())
    inner = recipe["tokenizer"]["quantizer"]
    recipe["tokenizer"]["quantizer"] = {
        "class_path": "MultiScaleQuantizer",
        "init_args": {"quantizer": inner, "scales": [[1, 1], [2, 2], [4, 4]]},
    }
    path, out = write_recipe(tmp_path / "tiny.yaml", recipe), tmp_path / "run"
    assert main(["fit", str(path), "--out", str(out)]) == 0
    model = smalti.load(out)
    assert model.prior.layout.grids == ((1, 1), (2, 2), (4, 4))
    drawn = model.sample_latents(3, seed=0)
    assert drawn.shape == (3, 21) and model.decode(drawn).shape[0] == 3


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda r: r["prior"].pop("fine_levels"), "got 2 levels and 1 prior"),
        (
            lambda r: r["tokenizer"]["encoder"]["init_args"].update(downsampling=4),
            "finer than the one before",
        ),
    ],
)
def test_levels_that_do_not_fit_are_refused(tmp_path, capsys, change, line):
    recipe = hierarchical_recipe()
    change(recipe)
    path = write_recipe(tmp_path / "tiny.yaml", recipe)
    assert line in mistake(capsys, "fit", str(path), "--out", str(tmp_path / "run"))


def test_priors_that_are_not_whole_or_not_in_their_places(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    out = str(tmp_path / "new.png")
    shutil.rmtree(folder / "prior" / "1")
    told = mistake(capsys, "sample", str(folder), "--out", out)
    assert "are not whole: give the same smalti fit again" in told
    assert main(["sample", str(folder), "--prior", "uniform", "--n", "1", "--out", out]) == 0
    for wrong, reason in (("prior/0", "are not of its levels: copy"), ("tokenizer", "made from")):
        shutil.copytree(run / wrong, folder / "prior" / "1")
        told = mistake(capsys, "sample", str(folder), "--out", out)
        assert reason in told
        shutil.rmtree(folder / "prior" / "1")

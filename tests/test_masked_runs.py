"""A masked prior in a recipe: from the command line to samples, options, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

import smalti
from smalti.cli import main
from smalti.priors import BoundedCascade, CascadeWithoutLikelihood, MaskedPrior
from test_hierarchical_runs import hierarchical_recipe
from tiny import clocks_recipe, write_recipe

MODEL = {"class_path": "MaskedPrior", "init_args": {"hidden": 8, "layers": 1, "heads": 2}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    recipe = clocks_recipe()
    codebooks = [
        {"class_path": "EMACodebook", "init_args": {"codebook_size": size, "dim": 4}}
        for size in (16, 8)
    ]
    parts = [
        {"class_path": "VectorQuantizer", "init_args": {"codebook": codebook}}
        for codebook in codebooks
    ]
    recipe["tokenizer"]["quantizer"] = {
        "class_path": "ProductQuantizer",
        "init_args": {"parts": parts},
    }
    recipe["prior"] |= {
        "model": MODEL | {"init_args": MODEL["init_args"] | {"dropout": "auto"}},
        "condition_dropout": 0.1,
        "token_noise": "auto",
    }
    path = write_recipe(folder / "recipe.yaml", recipe)
    assert main(["fit", str(path), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_the_report_says_that_there_is_no_likelihood(run):
    prior = smalti.load(run).prior
    assert isinstance(prior, MaskedPrior)
    assert prior.layout.codebook_sizes == ((16, 8),)
    rate = json.loads((run / "report.json").read_text())["figures"]["rate"]
    assert rate["prior"]["value"] is None
    assert "no likelihood" in rate["prior"]["note"]
    assert rate["uniform"]["bits_per_index"]["value"] == pytest.approx(3.5)


def test_samples_follow_the_options(run, tmp_path, capsys):
    words = ["sample", str(run), "--n", "2", "--seed", "1", "--time", "3:00", "--out"]
    for name, options in {
        "a": ["--steps", "2"],
        "b": ["--steps", "2"],
        "c": ["--order", "confidence", "--choice_temperature", "2", "--guidance", "2"],
    }.items():
        assert main([*words, str(tmp_path / f"{name}.png"), *options]) == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c
    for options, said in (
        (["--order", "spiral"], "confidence, halton or random"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--prior", "histogram", "--steps", "3"], "samples without steps, got steps=3"),
        (["--prior", "histogram", "--order", "halton"], "samples without order"),
        (["--prior", "histogram", "--choice_temperature", "1"], "samples without choice_temp"),
    ):
        capsys.readouterr()
        assert main([*words, str(tmp_path / "x.png"), *options]) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1


def test_a_part_of_a_signal_is_drawn_anew_and_its_tokens_elsewhere_stay(run):
    model = smalti.load(run)
    x = model.sample(1, "3:00", seed=0)[0]
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[5:9, :3] = True  # none of its tokens is the last
    known = model.known_tokens(x[None], ~mask[None])[0]
    assert bool((known < 0).any())
    drawn = model.sample_latents(5, "3:00", known=known[None], seed=1)
    assert torch.equal(drawn[:, known >= 0], known[known >= 0].expand(5, -1))
    assert model.edit(x, mask, "3:00", n=2, seed=1).shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    "top, bottom", [("MaskedPrior", "MaskedPrior"), ("PixelCNN", "AbsorbingDiffusion")]
)
def test_the_levels_of_a_hierarchy(tmp_path, capsys, top, bottom):
    recipe = hierarchical_recipe()
    models = {name: MODEL | {"class_path": name} for name in (top, bottom)}
    models["PixelCNN"] = recipe["prior"]["model"]
    recipe["prior"]["model"] = models[top]
    recipe["prior"]["fine_levels"][0]["model"] = models[bottom]
    out = str(tmp_path / "run")
    assert main(["fit", str(write_recipe(tmp_path / "a.yaml", recipe)), "--out", out]) == 0
    model = smalti.load(out)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    rate, levels = (report["figures"][name] for name in ("rate", "levels"))
    page = (tmp_path / "run" / "report.html").read_text()
    if bottom == "MaskedPrior":
        assert isinstance(model.prior, CascadeWithoutLikelihood)
        assert rate["prior"]["value"] is None and "no likelihood" in rate["prior"]["note"]
        assert "nats_per_index" not in levels["1"]
        assert "not all priors have a likelihood" in page
    else:
        assert isinstance(model.prior, BoundedCascade)
        assert "a bound" in rate["prior"]["nats_per_index"]["protocol"]
        assert "a bound" in levels["1"]["nats_per_index"]["protocol"]
        assert "a bound" not in levels["0"]["nats_per_index"]["protocol"]
        nats = [levels[name]["nats_per_index"]["value"] for name in "01"]
        whole = rate["prior"]["nats_per_index"]["value"]
        assert whole == pytest.approx((4 * nats[0] + 16 * nats[1]) / 20, rel=0.1)
        assert "nats per index, at most" in page
    words = ["sample", out, "--n", "2", "--steps", "3", "--time", "3:00"]
    assert main([*words, "--out", str(tmp_path / "s.png")]) == 0
    x = model.sample(1, seed=0)[0]
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[5:7, 5:7] = True
    assert model.edit(x, mask, "3:00", n=2, seed=0).shape == (2, 3, 16, 16)
    model.save(tmp_path / "saved")
    assert type(smalti.load(tmp_path / "saved").prior) is type(model.prior)

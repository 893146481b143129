"""Latent diffusion in a recipe: from the command line to samples, editing, and what is refused."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

import smalti
from smalti import runs
from smalti.cli import main
from smalti.priors import LatentDiffusion
from smalti.recipes import schema
from smalti.training import PriorStage
from smalti.training.callbacks import Progress
from tiny import clocks_recipe, write_recipe

MODEL = {"class_path": "LatentDiffusion", "init_args": {"channels": 8, "blocks": 1}}


def latent_recipe() -> dict:
    recipe = clocks_recipe()
    recipe["prior"] |= {
        "model": MODEL | {"init_args": MODEL["init_args"] | {"dropout": "auto"}},
        "condition_dropout": 0.1,
        "token_noise": "auto",
    }
    recipe["prior"]["training"] |= {"weight_ema": 0.9, "keep_best": True}
    return recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent")
    path = write_recipe(folder / "recipe.yaml", latent_recipe())
    assert main(["fit", str(path), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_the_report_says_that_there_is_no_likelihood_and_compares_samples(run):
    prior = smalti.load(run).prior
    assert isinstance(prior, LatentDiffusion)
    figures = json.loads((run / "report.json").read_text())["figures"]
    assert figures["rate"]["prior"]["value"] is None
    assert "no likelihood" in figures["rate"]["prior"]["note"]
    assert figures["rate"]["uniform"]["bits_per_index"]["value"] == pytest.approx(4)
    assert "nats" not in json.dumps(figures["rate"]["prior"])


def test_it_has_the_axes_of_the_training_tokens_and_their_codewords(run):
    model = smalti.load(run)
    space, quantizer = model.prior.space, model.autoencoder.levels[0]
    indices = torch.arange(16)
    assert torch.equal(space.quantizer.decode(indices), quantizer.decode(indices))
    tokens = model.run.tokens
    found = smalti.token_cache.read_cache(tokens, "train").levels[0].long()
    again = LatentDiffusion(quantizer, (4, 4), channels=8, blocks=1)
    again.prepare(found)
    for name in ("mean", "axes", "scale", "used"):
        assert torch.equal(getattr(space, name), getattr(again.space, name))


def test_samples_follow_the_options(run, tmp_path, capsys):
    words = ["sample", str(run), "--n", "2", "--seed", "1", "--time", "3:00", "--out"]
    for name, options in {
        "a": ["--steps", "2"],
        "b": ["--steps", "2"],
        "c": ["--guidance", "2", "--temperature", "0.8"],
    }.items():
        assert main([*words, str(tmp_path / f"{name}.png"), *options]) == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c
    for options, said in (
        (["--order", "halton"], "samples without order"),
        (["--top_k", "3"], "samples without top_k"),
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
    mask[5:9, :3] = True
    known = model.known_tokens(x[None], ~mask[None])[0]
    assert bool((known < 0).any())
    drawn = model.sample_latents(5, "3:00", known=known[None], seed=1)
    assert torch.equal(drawn[:, known >= 0], known[known >= 0].expand(5, -1))
    assert model.edit(x, mask, "3:00", n=2, seed=1).shape == (2, 3, 16, 16)


def test_a_killed_run_ends_with_the_same_weights(tmp_path, monkeypatch):
    def fit(name: str) -> dict[str, torch.Tensor]:
        done, _ = runs.fit(schema.parsed(latent_recipe()), tmp_path / name)
        return safetensors.torch.load_file(done.prior / "model.safetensors")

    def stop(self, trainer, *rest):
        if isinstance(trainer.lightning_module, PriorStage) and trainer.global_step == 10:
            raise RuntimeError("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_train_batch_end", stop)
        with pytest.raises(RuntimeError, match="went down"):
            fit("killed")
    assert torch.load(tmp_path / "killed" / "state" / "prior.ckpt")["global_step"] == 8
    whole, resumed = fit("whole"), fit("killed")
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_a_tokenizer_of_several_levels_is_refused_in_one_line(tmp_path, capsys):
    recipe = latent_recipe()
    codebook = {"class_path": "EMACodebook", "init_args": {"codebook_size": 8, "dim": 8}}
    quantizer = {"class_path": "VectorQuantizer", "init_args": {"codebook": codebook}}
    scales = {"quantizer": quantizer, "scales": [[1, 1], [4, 4]]}
    several = {"class_path": "MultiScaleQuantizer", "init_args": scales}
    recipe["tokenizer"]["quantizer"] = several
    path = write_recipe(tmp_path / "recipe.yaml", recipe)
    assert main(["fit", str(path), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "tokenizer of one level, got 2 levels: choose TransformerPrior" in told
    assert told.count("\n") == 1

"""Codebooks without a table, of 2^36 codewords: trained, measured, written, or refused at once."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

import smalti
from smalti.cli import main
from smalti.errors import InputError
from smalti.priors import DepthPixelCNN, PixelCNN, PixelSNAIL, TransformerPrior, Uniform
from smalti.tokens import read_tokens
from tiny import clocks_recipe, write_recipe


def recipe() -> dict:
    made = clocks_recipe()
    made["tokenizer"] |= {
        "quantizer": {"class_path": "LookupFreeQuantizer", "init_args": {"bits": 36}},
        "loss_weights": {"sample_entropy": 0.01, "entropy_deficit": 0.01},
    }
    made["tokenizer"]["training"] |= {"steps": 4, "validate_every": 4, "save_every": 4}
    made["evaluation"] = {"samples": 4, "classifier_steps": 0, "feature_steps": 2}
    return made


def test_a_run_without_a_prior_goes_from_end_to_end(tmp_path):
    run = tmp_path / "run"
    path = write_recipe(tmp_path / "lfq.yaml", recipe() | {"prior": None})
    assert main(["fit", str(path), "--out", str(run)]) == 0
    figures = json.loads((run / "report.json").read_text())["figures"]["codebook"]
    assert 0 < figures["usage"]["value"] < 1e-6 and figures["perplexity"]["value"] >= 1
    model = smalti.load(run)
    indices = model.encode(torch.full((2, model.signal.channels, 16, 16), -1.0))
    assert model.sample(3, prior="uniform").isfinite().all()
    image, out = tmp_path / "image.png", tmp_path / "tokens.npz"
    Image.new("RGB" if model.signal.channels == 3 else "L", (16, 16)).save(image)
    assert main(["encode", str(run), str(image), "--out", str(out)]) == 0
    tokens = read_tokens(out).levels[0]
    assert tokens.shape[1:] == indices.shape[1:] and tokens.max() > 2**32


def test_a_prior_over_it_is_refused_before_anything_is_trained(tmp_path, capsys):
    run = tmp_path / "run"
    path = write_recipe(tmp_path / "lfq.yaml", recipe())
    assert main(["fit", str(path), "--out", str(run)]) == 2
    told = capsys.readouterr().err
    assert f"at most 2**24, got a codebook of {2**36}" in told and told.count("\n") == 1
    assert not run.exists()


@pytest.mark.parametrize("prior", [PixelCNN, PixelSNAIL, DepthPixelCNN, TransformerPrior])
def test_priors_with_a_table_say_so(prior):
    grid = (4, 4, 2) if prior is DepthPixelCNN else (4, 4)
    for size in (2**24 + 1, 2**40, 2**62):
        with pytest.raises(InputError, match=rf"at most 2\*\*24, got a codebook of {size}"):
            prior(size, grid)
    assert Uniform(2**62, (2, 2)).sample(5).max() > 2**50

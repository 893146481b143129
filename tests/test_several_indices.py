"""Recipes whose quantizer gives several indices per position, from the command line to pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import smalti
from mistakes import mistake
from smalti.cli import main
from tiny import clocks_recipe, write_recipe

PART = {
    "class_path": "VectorQuantizer",
    "init_args": {
        "codebook": {"class_path": "EMACodebook", "init_args": {"codebook_size": 16, "dim": 4}}
    },
}
STAGE = {**PART, "init_args": {"codebook": {**PART["init_args"]["codebook"]}}}
STAGE["init_args"]["codebook"]["init_args"] = {"codebook_size": 16, "dim": 8}
QUANTIZERS = {
    "product": {"class_path": "ProductQuantizer", "init_args": {"parts": [PART] * 2}},
    "residual": {"class_path": "ResidualQuantizer", "init_args": {"stages": [STAGE] * 3}},
}


def recipe_with(quantizer: dict, prior: str = "DepthPixelCNN") -> dict:
    recipe = clocks_recipe()
    recipe["tokenizer"] |= {
        "quantizer": quantizer,
        "likelihood": {"class_path": "Categorical", "init_args": {"num_values": 4}},
    }
    recipe["prior"]["model"]["class_path"] = prior
    return recipe


@pytest.fixture(scope="module", params=QUANTIZERS)
def run(request, tmp_path_factory):
    """A finished run, and Q."""
    folder = tmp_path_factory.mktemp("several")
    recipe = recipe_with(QUANTIZERS[request.param])
    path = write_recipe(folder / "tiny.yaml", recipe)
    assert main(["fit", str(path), "--out", str(folder / "run")]) == 0
    return folder / "run", 2 if request.param == "product" else 3


def test_tokens_prior_and_report_have_all_indices(run):
    folder, depth = run
    manifest = json.loads((folder / "tokens" / "tokens.json").read_text())
    assert manifest["grid"] == [4, 4, depth]
    assert manifest["codebook_sizes"] == [16] * depth
    figures = json.loads((folder / "report.json").read_text())["figures"]
    assert {"uniform", "histogram", "prior"} <= figures["rate"].keys()
    uniform = figures["rate"]["uniform"]["bits_per_image"]["value"]
    assert uniform == pytest.approx(16 * depth * 4)
    assert f"usage_{depth - 1}" in figures["codebook"]
    bits = {name: figure["value"] for name, figure in figures["bits_per_dim"].items()}
    assert bits["uniform"] - bits["reconstruction"] == pytest.approx(uniform / (3 * 16 * 16))


def test_a_model_samples_encodes_and_decodes(run):
    folder, depth = run
    model = smalti.load(folder)
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    indices = model.encode(x)
    assert indices.shape == (2, 4, 4, depth) == (2, *model.layout.shape)
    assert model.decode(indices).shape == x.shape
    for prior in ("learned", "histogram", "uniform"):
        assert model.sample_latents(3, prior=prior, seed=0).shape == (3, 4, 4, depth)
    assert model.sample(2, condition=["10:10", "3:00"]).shape == x.shape


def test_what_is_given_is_kept(run):
    folder, depth = run
    model = smalti.load(folder)
    given = torch.zeros(1, 16, 16, dtype=torch.bool)
    given[:, :8] = True
    known = model.known_tokens(torch.zeros(1, 3, 16, 16), given)
    assert (known[:, :2] >= 0).all()
    assert (known[:, 2:] == -1).all()
    drawn = model.sample_latents(3, known=known, seed=0)
    assert torch.equal(drawn[:, :2], known[:, :2].expand(3, -1, -1, -1))


def test_the_commands_take_such_tokens(run, tmp_path):
    folder, _ = run
    picture = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture)
    tokens, out = tmp_path / "tokens.npz", tmp_path / "out"
    assert main(["encode", str(folder), str(picture), "--out", str(tokens)]) == 0
    assert main(["decode", str(folder), str(tokens), "--out", str(out)]) == 0
    assert len(list(out.iterdir())) == 1
    assert main(["sample", str(folder), "--time", "10:10", "--out", str(tmp_path / "s.png")]) == 0


def test_the_first_codebooks_are_a_lower_rate(run, tmp_path, capsys):
    folder, depth = run
    picture, tokens = str(tmp_path / "a.png"), tmp_path / "tokens.npz"
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture)
    words = ["encode", str(folder), picture, "--out", str(tokens), "--codebooks"]
    model = smalti.load(folder)
    x = torch.from_numpy(noise).permute(2, 0, 1)[None].float() * 2 / 255 - 1
    if depth == 2:  # a product, whose parts say nothing of the whole
        assert "each say something of their own, got 1" in mistake(capsys, *words, "1")
        line = mistake(capsys, "reconstruct", str(folder), picture, "--codebooks", "1")
        assert "ProductQuantizer with dropout" in line
        np.savez(tokens, indices=model.encode(x)[..., :1].numpy())
        line = mistake(capsys, "decode", str(folder), str(tokens))
        assert "each say something of their own" in line
        return
    assert main([*words, "2"]) == 0
    assert np.load(tokens)["indices"].shape == (1, 4, 4, 2)
    out = tmp_path / "out"
    assert main(["decode", str(folder), str(tokens), "--out", str(out)]) == 0
    assert len(list(out.iterdir())) == 1
    words = ["reconstruct", str(folder), picture, "--codebooks", "1", "--out", f"{tmp_path}/r.png"]
    assert main(words) == 0
    whole = model.encode(x)
    for codebooks in (1, 2, 3):
        assert torch.equal(model.encode(x, codebooks=codebooks), whole[..., :codebooks])
        again = model.reconstruct(x, codebooks=codebooks)
        assert torch.equal(again, model.decode(whole[..., :codebooks]))
    for wrong in ("0", "4"):
        assert "from 1 to 3" in mistake(capsys, *words[:4], wrong)
    np.savez(tokens, indices=whole[:, :2].numpy())
    assert "this model's are (4, 4, 3)" in mistake(capsys, "decode", str(folder), str(tokens))


def unequal_product() -> dict:
    codebook = {"class_path": "EMACodebook", "init_args": {"codebook_size": 8, "dim": 4}}
    parts = [PART, {"class_path": "VectorQuantizer", "init_args": {"codebook": codebook}}]
    return {"class_path": "ProductQuantizer", "init_args": {"parts": parts}}


def test_codebooks_of_two_sizes_are_for_a_transformer(tmp_path):
    """From the command line to the report: 4 and 3 bits a position, of every prior."""
    recipe = recipe_with(unequal_product(), "TransformerPrior")
    recipe["prior"]["model"]["init_args"] |= {"heads": 2, "pattern": "delayed"}
    path = write_recipe(tmp_path / "tiny.yaml", recipe)
    assert main(["fit", str(path), "--out", str(tmp_path / "run")]) == 0
    figures = json.loads((tmp_path / "run" / "report.json").read_text())["figures"]["rate"]
    assert figures["uniform"]["bits_per_image"]["value"] == pytest.approx(16 * (4 + 3))
    assert figures["prior"]["share_of_uniform"]["value"] > 0
    model = smalti.load(tmp_path / "run")
    assert model.prior.layout.codebook_sizes == ((16, 8),)
    for prior in ("learned", "histogram", "uniform"):
        drawn = model.sample_latents(9, prior=prior, seed=0)
        assert drawn.shape == (9, 4, 4, 2) and drawn[..., 1].max() < 8
    assert (model.sample_latents(9, prior="uniform", seed=0)[..., 0] > 7).any()


def test_what_does_not_go_is_one_line(tmp_path, capsys):
    for recipe, line in [
        (recipe_with(unequal_product()), "has codebooks of 8, 16: choose TransformerPrior"),
        (recipe_with(QUANTIZERS["product"], "PixelCNN"), "take DepthPixelCNN"),
    ]:
        path = write_recipe(tmp_path / "wrong.yaml", recipe)
        assert main(["fit", str(path), "--out", str(tmp_path / "run")]) == 2
        assert line in capsys.readouterr().err
        assert not (tmp_path / "run").exists()

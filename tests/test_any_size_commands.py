"""Files at their own size: encoded, decoded and reconstructed by a model of another size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import smalti
from mistakes import mistake
from smalti import runs
from smalti.cli import main
from smalti.recipes import schema
from smalti.tokens import read_tokens
from tiny import clocks_recipe, vae_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = {**clocks_recipe(), "prior": None}
    return runs.fit(schema.parsed(recipe), tmp_path_factory.mktemp("any") / "run")[0].folder


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return runs.fit(schema.parsed(vae_recipe()), tmp_path_factory.mktemp("vae") / "run")[0].folder


@pytest.fixture
def photos(tmp_path):
    """Two photos of one size, and one of another."""
    sizes = {"a": (37, 50), "b": (37, 50), "c": (20, 16)}
    for name, size in sizes.items():
        noise = np.random.default_rng(len(name)).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
    return {name: str(tmp_path / f"{name}.png") for name in sizes}


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_a_photo_is_reconstructed_at_its_own_size(run, photos, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["reconstruct", str(run), *photos.values(), "--out", str(out), "--any_size"]
    assert main(words) == 0
    assert capsys.readouterr().out.count("PSNR") == 3
    for name, file in photos.items():
        assert pixels(out / f"{name}.png").shape == pixels(file).shape
    x = torch.from_numpy(pixels(photos["c"])).permute(2, 0, 1)[None] / 127.5 - 1
    x_hat = smalti.load(run).reconstruct(x, any_size=True)
    wanted = ((x_hat[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    assert np.array_equal(pixels(out / "c.png"), wanted)
    sheet = tmp_path / "sheet.png"
    words = ["reconstruct", str(run), photos["a"], photos["b"], "--out", str(sheet), "--any_size"]
    assert main(words) == 0
    assert pixels(sheet).shape[1] >= 2 * 50


def test_its_tokens_are_decoded_again(run, photos, tmp_path):
    tokens, out = str(tmp_path / "tokens.npz"), str(tmp_path / "out")
    files = [photos["a"], photos["b"]]
    assert main(["encode", str(run), *files, "--out", tokens, "--any_size"]) == 0
    grids = read_tokens(tokens).levels[0]
    assert grids.shape == (2, 10, 13)  # of patches of 4, the last of each side padded
    model = smalti.load(run)
    assert torch.equal(grids, model.encode(files, any_size=True))
    assert main(["decode", str(run), tokens, "--out", out, "--any_size"]) == 0
    assert pixels(tmp_path / "out" / "00000.png").shape == (40, 52, 3)


def test_without_it_the_message_names_it(run, vae, photos, tmp_path, capsys):
    for command in ("encode", "reconstruct"):
        line = mistake(capsys, command, str(run), photos["a"])
        assert "got" in line and "take it as it is with --any_size" in line
    tokens = str(tmp_path / "tokens.npz")
    assert main(["encode", str(run), photos["a"], "--out", tokens, "--any_size"]) == 0
    assert "or --any_size where signals" in mistake(capsys, "decode", str(run), tokens)
    different = [photos["a"], photos["c"], "--any_size"]
    assert "of different sizes: encode" in mistake(capsys, "encode", str(run), *different)
    line = mistake(capsys, "reconstruct", str(run), *different, "--out", str(tmp_path / "x.png"))
    assert "of one size, got different ones: give --out FOLDER" in line
    line = mistake(
        capsys, "encode", str(vae), photos["a"], "--out", str(tmp_path / "z.npz"), "--any_size"
    )
    assert "A VariationalAutoencoder takes images of one size, got any_size" in line

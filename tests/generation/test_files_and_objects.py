"""Files, folders, patterns and images of Pillow are encoded as what they hold."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image as Pillow

import smalti
from small_autoencoders import assemble
from smalti.artifacts import save_model
from smalti.autoencoders import DiscreteAutoencoder
from smalti.cli import main
from smalti.errors import InputError
from smalti.modalities.image import Image
from smalti.networks import ConvDecoder, ConvEncoder
from smalti.quantizers import EMACodebook, VectorQuantizer
from smalti.recipes import schema
from tiny import clocks_recipe, vae_recipe

SIGNAL = Image(3, (16, 16))
SIZES = {"hidden": 8, "residual_hidden": 4}


@pytest.fixture(scope="module", params=["tokens", "latents"])
def run(request, tmp_path_factory):
    """A run that holds a model which has learned nothing."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    recipe = clocks_recipe() if request.param == "tokens" else vae_recipe()
    (folder / "config.yaml").write_text(schema.dump(schema.parsed(recipe)))
    if request.param == "tokens":
        quantizer = VectorQuantizer(EMACodebook(codebook_size=16, dim=4))
        encoder, decoder = ConvEncoder(SIGNAL, 4, **SIZES), ConvDecoder(SIGNAL, 4, **SIZES)
        model = DiscreteAutoencoder(encoder, quantizer, decoder, SIGNAL).eval()
        save_model(model, folder / "tokenizer")
    else:
        save_model(assemble(SIGNAL, variational=False), folder / "autoencoder")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six images in three folders, and what is none."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.png", "10.PNG", "deep/z.bmp", "deep/er/y.png", "c.webp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        options = {"lossless": True} if name.endswith("webp") else {}
        Pillow.fromarray(pixels).save(folder / name, **options)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


ALL = ["10.PNG", "a.png", "b.png", "c.webp", "deep/z.bmp", "deep/er/y.png"]


def encoded(path):
    arrays = np.load(path)
    return arrays[next(name for name in arrays if name != "file")], arrays["file"].tolist()


def test_a_folder_is_encoded_in_order_and_the_file_names_are_kept(run, photos, tmp_path, capsys):
    out = tmp_path / "all.npz"
    assert main(["encode", str(run), str(photos), "--out", str(out)]) == 0
    values, names = encoded(out)
    assert names == [str(photos / name) for name in ALL]
    said = capsys.readouterr().out
    assert f"{photos}: 6 images (passed over: 1 hidden files and folders, 1 files .txt)" in said

    one_by_one = smalti.load(run).encode([photos / name for name in ALL])
    assert np.array_equal(values, one_by_one.numpy())
    reverse = [str(photos / name) for name in ALL[::-1]]  # single files stay in their order
    assert main(["encode", str(run), *reverse, "--out", str(out)]) == 0
    backwards, names = encoded(out)
    assert names == reverse and np.allclose(backwards, values[::-1], atol=1e-6)


def test_patterns_and_parquet(run, photos, tmp_path, capsys):
    out = tmp_path / "some.npz"
    assert main(["encode", str(run), str(photos / "*.png"), "--out", str(out)]) == 0
    assert encoded(out)[1] == [str(photos / name) for name in ("a.png", "b.png")]
    every = str(photos / "**" / "*.png")
    assert main(["encode", str(run), every, str(photos / "c.webp"), "--out", str(out)]) == 0
    names = ("a.png", "b.png", "deep/er/y.png", "c.webp")
    assert encoded(out)[1] == [str(photos / name) for name in names]
    if (run / "tokenizer").exists():
        table = tmp_path / "tokens.parquet"
        assert main(["encode", str(run), str(photos), "--out", str(table)]) == 0
        assert pq.read_table(table)["file"].to_pylist() == [str(photos / name) for name in ALL]
        assert main(["decode", str(run), str(table), "--out", str(tmp_path / "d.png")]) == 0
        assert main(["encode", str(run), str(photos), "--out", str(table)]) == 0  # its own again


def test_other_commands_take_folders_too(run, photos, tmp_path, capsys):
    out = str(tmp_path / "made") + "/"
    assert main(["reconstruct", str(run), str(photos), "--out", out]) == 0
    assert sorted(path.stem for path in (tmp_path / "made").iterdir()) == sorted(
        ["10", "a", "b", "c", "y", "z"]
    )
    ends = str(photos / "[ab].png")
    assert main(["interpolate", str(run), ends, "--out", str(tmp_path / "way.png")]) == 0
    assert main(["interpolate", str(run), str(photos), "--out", str(tmp_path / "w.png")]) == 2
    assert "Interpolation is between two signals, got 6 signals" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "*.jpg", "deep/*.txt"])
def test_where_nothing_is_found_one_line_says_so(run, tmp_path, capsys, name):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["encode", str(run), str(empty / name)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0 and f"There is no image in {empty / name}"[:40] in said


def test_a_model_takes_what_holds_an_image(run, photos):
    model, path = smalti.load(run), photos / "a.png"
    with Pillow.open(path) as image:
        pixels = np.array(image)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    wanted = model.encode(x)
    grey = Pillow.fromarray(pixels[..., 0])
    for given in (
        str(path),
        path,
        [path],
        [str(path)],
        (path,),
        Pillow.open(path),
        [Pillow.open(path)],
        Pillow.fromarray(pixels).convert("RGBA"),
        x.double(),
        x.numpy(),
        x.double().numpy(),
        x.tolist(),
    ):
        assert torch.allclose(model.encode(given).float(), wanted.float(), atol=1e-4)
    both = model.encode([Pillow.open(photos / "b.png"), path])
    assert len(both) == 2 and torch.allclose(both[1:].float(), wanted.float(), atol=1e-4)
    assert len(model.encode([grey, path])) == 2  # grey loses nothing in three channels


def test_what_a_model_does_not_guess_at_is_told_in_one_line(run, photos, tmp_path):
    model = smalti.load(run)
    pixels = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    large = Pillow.new("RGB", (32, 16))
    for given, match in (
        (pixels, r"Bytes are not guessed at.* scaled by x\.float\(\) \* 2 / 255 - 1"),
        (pixels[0], "Bytes are not guessed at"),
        (pixels.transpose(0, 3, 1, 2), r"scale them, bytes x by x\.float\(\) \* 2 / 255 - 1"),
        (large, "16×16 pixels, got an image in memory with 32×16"),
        ([photos / "a.png", large], "with 32×16"),
        (photos / "notes.txt", "cannot be read as an image"),
        (tmp_path / "none.png", "There is no image file"),
        (photos, "There is no image file"),
        ([photos / "a.png", 3], "The signals"),
        ([Pillow.new("RGB", (16, 16)), object()], "The signals"),
        (object(), "The signals must be a tensor"),
        ([], "got"),
    ):
        with pytest.raises(InputError, match=match) as error:
            model.encode(given)
        assert "\n" not in str(error.value)


def test_numbers_of_more_than_8_bits_are_read_as_the_data_were(tmp_path, photos):
    """A model's run says what is white in 16 bits; an image of Pillow is read likewise."""
    folder = tmp_path / "run"
    folder.mkdir()
    signal = Image(1, (16, 16))
    save_model(assemble(signal, variational=False), folder / "autoencoder")
    data = {"path": str(photos), "size": 16, "channels": 1, "range": [0, 1000]}
    recipe = {**vae_recipe(), "data": {"class_path": "Images", "init_args": data}}
    (folder / "config.yaml").write_text(yaml.safe_dump(recipe))
    deep = Pillow.fromarray(np.full((16, 16), 500, dtype=np.uint16))
    deep.save(tmp_path / "deep.png")
    model = smalti.load(folder)
    wanted = model.encode(torch.zeros(1, 1, 16, 16))
    for given in (deep, tmp_path / "deep.png"):
        assert torch.allclose(model.encode(given), wanted, atol=0.05)

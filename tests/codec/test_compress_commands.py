"""`smalti compress` and `smalti decompress`, and their like in Python."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import smalti
from mistakes import mistake
from smalti import runs
from smalti.cli import main
from smalti.errors import InputError
from smalti.recipes import schema
from tiny import clocks_recipe, fitted_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = clocks_recipe()
    return runs.fit(schema.parsed(recipe), tmp_path_factory.mktemp("coded") / "run")[0].folder


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    np.save(folder / "x.npy", x)
    recipe = fitted_recipe(folder / "x.npy")
    recipe["prior"] = None
    return runs.fit(schema.parsed(recipe), folder / "run")[0].folder


@pytest.fixture
def pictures(tmp_path):
    for name, size in {"a": (16, 16), "b": (16, 16), "c": (37, 50)}.items():
        noise = np.random.default_rng(len(name)).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
    return tmp_path


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


@pytest.mark.parametrize("prior", ["learned", "unigram", "uniform"])
def test_files_come_back_as_the_model_reconstructs_them(run, pictures, prior, capsys):
    small, out, again = (str(pictures / name) for name in ("x.smt", "out", "again.png"))
    files = [str(pictures / f"{name}.png") for name in "abc"]
    given = ["--time", "10:10"] if prior == "learned" else []
    words = ["compress", str(run), *files, "--out", small, "--any_size", "--prior", prior]
    assert main([*words, *given]) == 0
    assert f"3 images in {(pictures / 'x.smt').stat().st_size} bytes" in capsys.readouterr().out
    assert main(["decompress", str(run), small, "--out", out]) == 0
    assert main(["decompress", str(run), small, "--out", again, "--only", "c.png"]) == 0
    assert pixels(again).shape == (37, 50, 3)
    model = smalti.load(run)
    for file in files:
        x_hat = model.reconstruct([file], any_size=True)[0]
        wanted = ((x_hat + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        name = file.rpartition("/")[2]
        assert np.array_equal(pixels(pictures / "out" / name), wanted)
    assert np.array_equal(pixels(again), pixels(pictures / "out" / "c.png"))
    assert main([*words, *given]) == 0  # what smalti wrote is replaced


def test_python_does_the_same(run, pictures):
    model = smalti.load(run)
    x = torch.rand(5, 3, 16, 16) * 2 - 1
    content = model.compress(x, [f"{n}:30" for n in range(1, 6)])
    assert torch.equal(model.decompress(content), model.reconstruct(x))
    assert len(model.compress(x[:0], prior="uniform")) < 60
    small = str(pictures / "x.smt")
    files = [str(pictures / f"{name}.png") for name in "ab"]
    words = ["compress", str(run), *files, "--out", small, "--prior", "uniform"]
    assert main(words) == 0
    archive = (pictures / "x.smt").read_bytes()
    assert torch.equal(model.decompress(archive, "b.png"), model.reconstruct(files[1:]))
    with pytest.raises(InputError, match=r"holds 2 files \(a.png, b.png\): give the name"):
        model.decompress(archive)


def test_a_table_comes_back_with_its_names_and_in_parts(vectors, tmp_path):
    table, small = tmp_path / "x.parquet", str(tmp_path / "x.smt")
    x = np.random.default_rng(1).normal(size=(12_000, 6)).astype(np.float32)
    names = [f"item {n}" for n in range(12_000)]
    pq.write_table(pa.table({"item_id": names, "embedding": list(x)}), table)
    words = ["compress", str(vectors), str(table), "--out", small, "--prior"]
    assert main([*words, "uniform"]) == 0
    out, part = str(tmp_path / "out.parquet"), str(tmp_path / "part.parquet")
    assert main(["decompress", str(vectors), small, "--out", out]) == 0
    assert main(["decompress", str(vectors), small, "--out", part, "--blocks", "1:2"]) == 0
    whole, some = pq.read_table(out), pq.read_table(part)
    assert whole["item_id"].to_pylist() == names
    x_hat = np.stack(whole["embedding"].to_numpy())
    assert np.array_equal(x_hat, smalti.load(vectors).reconstruct(torch.from_numpy(x)).numpy())
    start = names.index(some["item_id"][0].as_py())
    assert 0 < start < start + len(some) <= len(names)
    assert some["embedding"].to_pylist() == whole["embedding"].to_pylist()[start:][: len(some)]


def test_mistakes_are_one_line(run, vectors, pictures, capsys):
    table = str(vectors.parent / "x.npy")
    line = mistake(capsys, "compress", str(vectors), table, "--out", "x.smt", "--prior", "unigram")
    assert "keeps none: code with prior 'uniform'" in line
    assert "No prior was learned" in mistake(capsys, "compress", str(vectors), table)
    small, file = str(pictures / "x.smt"), str(pictures / "a.png")
    assert "got --out" not in mistake(capsys, "compress", str(run), file, "--out", file)
    line = mistake(capsys, "compress", str(run), file, "--out", small)
    assert "conditioned on a time, got none: give it (--time)" in line
    line = mistake(capsys, "compress", str(run), file, "--out", small, "--prior", "best")
    assert "learned, unigram or uniform, got 'best'" in line
    words = ["compress", str(run), file, "--out", small, "--prior", "uniform"]
    assert "takes no condition" in mistake(capsys, *words, "--time", "10:10")
    assert main(words) == 0
    capsys.readouterr()
    other = mistake(capsys, "decompress", str(vectors), small)
    assert "coded with another tokenizer" in other
    for text, told in (
        ("1", "from:to"),
        ("2:1", "has the blocks 0 to 0"),
        ("0:9", "has the blocks"),
    ):
        words = ["decompress", str(run), small, "--blocks", text, "--out", str(pictures / "o.png")]
        assert told in mistake(capsys, *words)
    assert "There is no file" in mistake(capsys, "decompress", str(run), str(pictures / "no.smt"))
    assert "no whole file of smalti compress" in mistake(capsys, "decompress", str(run), file)
    assert "There is no 'z'" in mistake(capsys, "decompress", str(run), small, "--only", "z")
    line = mistake(capsys, "decompress", str(run), small, "--out", file)
    assert "a.png is there already and was not written by smalti" in line

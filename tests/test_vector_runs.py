"""Runs of vectors: the commands take tables of many, and tell of those that do not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from smalti import load
from smalti.cli import main
from tiny import write_recipe

D = 6


def items(n: int = 400, seed: int = 0) -> np.ndarray:
    """Vectors around eight centres."""
    draw = np.random.default_rng(seed)
    centres = 3 * np.random.default_rng(7).normal(size=(8, D)) + 1
    return (centres[np.arange(n) % 8] + 0.3 * draw.normal(size=(n, D))).astype(np.float32)


def write(path: Path, x: np.ndarray, first: int = 0) -> str:
    n = len(x)
    columns = {
        "item_id": [f"item {i}" for i in range(first, first + n)],
        "kind": [f"kind {i % 8}" for i in range(n)],
        "side": [f"side {i % 2}" for i in range(n)],
        "embedding": list(x),
    }
    pq.write_table(pa.table(columns), path)
    return str(path)


def tiny_recipe(path: str) -> dict:
    """An MLP, and two codebooks of 8."""
    codebook = {"class_path": "EMACodebook", "init_args": {"codebook_size": 8, "dim": 4}}
    stage = {"class_path": "VectorQuantizer", "init_args": {"codebook": codebook}}
    return {
        "data": {"class_path": "Vectors", "init_args": {"path": path, "normalize": "standardize"}},
        "tokenizer": {
            "encoder": {"class_path": "MLPEncoder", "init_args": {"hidden": 32, "layers": 1}},
            "quantizer": {
                "class_path": "ResidualQuantizer",
                "init_args": {"stages": [stage, stage]},
            },
            "training": {
                "steps": 120,
                "batch_size": 64,
                "validate_every": 60,
                "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}},
            },
        },
        "evaluation": {"samples": 16, "classifier_steps": 5, "feature_steps": 2},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    fields = tiny_recipe(write(folder / "items.parquet", items()))
    recipe = str(write_recipe(folder / "recipe.yaml", fields))
    assert main(["fit", recipe, "--out", str(folder / "run")]) == 0
    return folder / "run"


def said(capsys) -> str:
    return capsys.readouterr().err.strip()


def test_the_report_measures_vectors(run):
    figures = json.loads((run / "report.json").read_text())["figures"]["reconstruction"]
    assert figures["mse_over_variance"]["value"] < 0.3
    assert figures["cosine"]["value"] > 0.9
    assert "standard" not in json.dumps(figures)  # in the space of the vectors as they were given


def test_every_row_of_a_table_is_encoded_under_its_name(run, tmp_path):
    file = write(tmp_path / "new.parquet", items(50, seed=1), first=1000)
    out = tmp_path / "tokens.parquet"
    assert main(["encode", str(run), file, "--out", str(out)]) == 0
    table = pq.read_table(out)
    assert table["file"].to_pylist() == [f"item {i}" for i in range(1000, 1050)]
    model = load(run)
    x = torch.from_numpy(items(50, seed=1))
    indices = torch.tensor(table["indices"].to_pylist()).view(50, 1, 2)
    assert torch.equal(model.encode(x), indices)
    assert torch.equal(model.encode(file), indices)
    assert torch.equal(model.encode([file, file]), indices.repeat(2, 1, 1))


def test_rows_of_several_files_have_names_of_their_own(run, tmp_path, capsys):
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, items(5))
    assert main(["encode", str(run), str(tmp_path), "--out", f"{tmp_path}/t.npz"]) == 0
    assert "2 files of vectors" in capsys.readouterr().out
    names = np.load(tmp_path / "t.npz")["file"].tolist()
    assert len(set(names)) == 10 and names[7].endswith("b.npy:2")
    one = write(tmp_path / "a.parquet", items(5))
    two = write(tmp_path / "b.parquet", items(9), first=3)
    assert main(["encode", str(run), one, two, "--out", f"{tmp_path}/t.npz"]) == 2
    assert "The name item 3 comes in more than one of the files" in said(capsys)


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_decode_writes_all_vectors_to_one_file(run, tmp_path, suffix):
    file = write(tmp_path / "new.parquet", items(50, seed=1))
    tokens, out = f"{tmp_path}/t.npz", tmp_path / f"vectors{suffix}"
    assert main(["encode", str(run), file, "--out", tokens]) == 0
    assert main(["decode", str(run), tokens, "--out", str(out)]) == 0
    model = load(run)
    x_hat = model.reconstruct(file)
    if suffix == ".npy":
        made = np.load(out)
    else:
        made = np.array(pq.read_table(out)["embedding"].to_pylist(), dtype=np.float32)
    assert np.allclose(made, x_hat.numpy(), atol=1e-6)
    if suffix == ".parquet":  # what smalti wrote it replaces
        assert main(["decode", str(run), tokens, "--out", str(out)]) == 0


def test_reconstruct_draws_pairs_or_writes_a_table(run, tmp_path, capsys):
    file = write(tmp_path / "new.parquet", items(50, seed=1))
    assert main(["reconstruct", str(run), file, "--out", f"{tmp_path}/r.png"]) == 0
    out = capsys.readouterr().out
    assert "MSE / variance 0." in out
    assert "the first 8 of 50 vectors and their reconstructions in one picture" in out
    assert main(["reconstruct", str(run), file, "--out", f"{tmp_path}/r.parquet"]) == 0
    assert pq.read_table(tmp_path / "r.parquet")["item_id"].to_pylist()[3] == "item 3"


def test_interpolate(run, tmp_path, capsys):
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", items(1, seed=ord(name))[0])
    words = ["interpolate", str(run), f"{tmp_path}/a.npy", f"{tmp_path}/b.npy"]
    assert main([*words, "--steps", "5", "--out", f"{tmp_path}/i.npy"]) == 0
    assert np.load(tmp_path / "i.npy").shape == (5, D)
    np.save(tmp_path / "b.npy", items(3))
    assert main([*words, "--out", f"{tmp_path}/i.png"]) == 2
    assert "One vector is wanted, got 3" in said(capsys)


def test_a_file_of_another_dimension(run, tmp_path, capsys):
    np.save(tmp_path / "a.npy", items()[:, :5])
    assert main(["encode", str(run), f"{tmp_path}/a.npy", "--out", f"{tmp_path}/t.npz"]) == 2
    assert "trained on vectors of 6 dimensions, got 5 in" in said(capsys)
    assert not (tmp_path / "t.npz").exists()


@pytest.mark.parametrize(
    "prepare",
    [
        lambda x: x / np.linalg.norm(x, axis=1, keepdims=True),
        lambda x: 10 * x,
        lambda x: x + 20,
    ],
)
def test_vectors_that_were_prepared_otherwise(run, tmp_path, capsys, prepare):
    np.save(tmp_path / "a.npy", prepare(items(200, seed=3)).astype(np.float32))
    words = ["encode", str(run), f"{tmp_path}/a.npy", "--out", f"{tmp_path}/t.npz"]
    assert main(words) == 2
    assert "were not prepared as those of the run" in said(capsys)
    assert not (tmp_path / "t.npz").exists()
    assert main([*words, "--convert"]) == 0


def test_vectors_of_some_kinds_alone_are_taken(run, tmp_path):
    """What is merely a part of the kinds of items is no other preparation."""
    x = items(800, seed=3)
    np.save(tmp_path / "a.npy", x[np.arange(800) % 8 < 5])
    assert main(["encode", str(run), f"{tmp_path}/a.npy", "--out", f"{tmp_path}/t.npz"]) == 0


def test_vectors_that_cannot_be_used_are_told_of_or_left_out(run, tmp_path, capsys, caplog):
    x = items(60)
    x[7, 1], x[9] = np.nan, 0
    file = write(tmp_path / "new.parquet", x)
    words = ["encode", str(run), file, "--out", f"{tmp_path}/t.npz"]
    assert main(words) == 2
    assert "item 7 (a value is not finite), item 9 (all zero)" in said(capsys)
    assert main([*words, "--convert"]) == 0
    names = np.load(tmp_path / "t.npz")["file"].tolist()
    assert len(names) == 58 and not {"item 7", "item 9"} & set(names)
    assert "Left out 2 of 60 vectors" in caplog.text


def test_a_vector_has_no_parts_to_complete(run, tmp_path, capsys):
    np.save(tmp_path / "a.npy", items(1))
    assert main(["sample", str(run), "--complete", f"{tmp_path}/a.npy"]) == 2
    assert "A vector is given whole" in said(capsys)
    words = ["edit", str(run), f"{tmp_path}/a.npy"]
    assert main([*words, "--mask", f"{tmp_path}/a.npy"]) == 2
    assert "A vector has no parts to mark" in said(capsys)
    out = tmp_path / "varied.npy"
    assert main([*words, "--strength", "0.3", "--prior", "uniform", "--out", str(out)]) == 0
    assert np.load(out).shape == (1, items(1).shape[1])


def no_embedding(folder: Path) -> Path:
    pq.write_table(pa.table({"item_id": ["a", "b"], "rating": [1, 2]}), folder / "a.parquet")
    return folder / "a.parquet"


def several_lengths(folder: Path) -> Path:
    rows = [row[: 3 + i % 3].tolist() for i, row in enumerate(items(60))]
    pq.write_table(pa.table({"embedding": rows}), folder / "a.parquet")
    return folder / "a.parquet"


def text(folder: Path) -> Path:
    rows = [f"item {i},0.1 0.2,0.5,0.5" for i in range(60)]
    (folder / "a.csv").write_text("\n".join(["id,e0,e1,e2", *rows]))
    return folder / "a.csv"


def one_row(folder: Path) -> Path:
    np.save(folder / "a.npy", items(1))
    return folder / "a.npy"


def fewer_rows_than_codewords(folder: Path) -> Path:
    np.save(folder / "a.npy", items(9))
    return folder / "a.npy"


def numbers_in_the_first_line(folder: Path) -> Path:
    np.savetxt(folder / "a.csv", items(60), delimiter=",")
    return folder / "a.csv"


def cut_off(folder: Path) -> Path:
    path = Path(write(folder / "a.parquet", items()))
    path.write_bytes(path.read_bytes()[:3000])
    return path


def not_readable(folder: Path) -> Path:
    (folder / "a.parquet").symlink_to(folder / "nowhere")
    return folder / "a.parquet"


@pytest.mark.parametrize(
    "make, line",
    [
        (no_embedding, "whose columns are item_id .text., rating .*, has no embedding column"),
        (
            several_lengths,
            "40 of 60 vectors cannot be used, more than 1% .*: 1 .another length than 3",
        ),
        (text, "The embedding column e0 of .* holds text, .0.1 0.2. in row 1: an embedding is"),
        (one_row, "3 are needed here, got 1: add other vectors"),
        (fewer_rows_than_codewords, "Each of 8 codewords needs a training vector at least, got"),
        (numbers_in_the_first_line, "The first line of .* is numbers"),
        (cut_off, "cannot be read as .parquet"),
        (not_readable, "is a link that leads nowhere"),
    ],
)
def test_data_that_cannot_be_used_are_one_line_and_status_2(make, line, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    path = make(tmp_path / "data")
    recipe = str(write_recipe(tmp_path / "recipe.yaml", tiny_recipe("items.parquet")))
    assert main(["fit", recipe, "--data", str(path), "--out", str(tmp_path / "run")]) == 2
    told = [part for part in said(capsys).splitlines() if part.startswith("smalti: ")]
    assert len(told) == 1 and re.search(line, told[0])
    assert not (tmp_path / "run").exists()

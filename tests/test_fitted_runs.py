"""Runs whose tokenizer is fitted without gradients, from a table of vectors to the report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

import smalti
from mistakes import mistake
from smalti import automatic, runs
from smalti.cli import main
from smalti.errors import InputError
from smalti.recipes import schema
from smalti.training import quantizer_fitting
from smalti.training.checkpoints import AtomicCheckpointIO
from tiny import fitted_recipe, write_recipe

DIM = 6


def table(path: Path, n: int = 300, dim: int = DIM) -> Path:
    """Items in 12 clumps, with their names."""
    draw = np.random.default_rng(0)
    x = 3 * draw.standard_normal((12, dim))[draw.integers(12, size=n)]
    x = (x + draw.standard_normal((n, dim))).astype(np.float32)
    names = [f"item-{number}" for number in range(n)]
    pq.write_table(pa.table({"item_id": names, "embedding": list(x)}), path)
    return path


def product_recipe(data: Path, rotated: bool) -> dict:
    """A product of three parts of unequal codebook sizes, rotated or not."""
    recipe = fitted_recipe(data)
    parts = []
    for size in (8, 4, 8):
        codebook = {
            "class_path": "EMACodebook",
            "init_args": {"codebook_size": size, "dim": "auto"},
        }
        parts.append({"class_path": "VectorQuantizer", "init_args": {"codebook": codebook}})
    quantizer = {"class_path": "ProductQuantizer", "init_args": {"parts": parts}}
    if rotated:
        quantizer = {"class_path": "RotatedQuantizer", "init_args": {"inner": quantizer}}
    name = "OptimizedProduct" if rotated else "ProductKMeans"
    recipe["tokenizer"]["quantizer"] = quantizer
    recipe["tokenizer"]["fitting"] = {"class_path": name, "init_args": {"iterations": 3}}
    return recipe


def weights(run: Path) -> bytes:
    return (run / "tokenizer" / "model.safetensors").read_bytes()


@pytest.fixture
def recipe(tmp_path) -> dict:
    return fitted_recipe(table(tmp_path / "items.parquet"))


def test_a_run_goes_from_a_table_to_a_report_and_its_codes_decode(recipe, tmp_path, capsys):
    file, out = write_recipe(tmp_path / "tiny.yaml", recipe), tmp_path / "run"
    assert main(["fit", str(file), "--out", str(out)]) == 0
    assert "tokenizer: fitted" in capsys.readouterr().err
    config = yaml.safe_load((out / "config.yaml").read_text())
    stages = config["tokenizer"]["quantizer"]["init_args"]["stages"]
    assert [stage["init_args"]["codebook"]["init_args"]["dim"] for stage in stages] == [DIM, DIM]
    report = json.loads((out / "report.json").read_text())
    assert 0 < report["figures"]["reconstruction"]["mse_over_variance"]["value"] < 0.6
    assert "computed from all examples" in report["missing"]["Training curves"]
    assert report["facts"]["Training"].startswith("tokenizer ")
    model = smalti.load(out)
    splits = runs.load_run_data(model.run)
    x = splits.train.__getitems__(range(len(splits.train))).x
    codes = model.encode(x)
    assert codes.shape == (len(x), 1, 2)
    assert all(codes[..., stage].unique().numel() == 8 for stage in range(2))
    assert model.decode(codes).shape == x.shape
    before = weights(out)
    assert main(["fit", str(file), "--out", str(out)]) == 0  # what is done is not done again
    assert weights(out) == before


@pytest.mark.parametrize("rotated", [False, True])
def test_a_product_of_parts_goes_from_a_table_to_a_report(rotated, tmp_path):
    data = table(tmp_path / "items.parquet", dim=7)
    file = write_recipe(tmp_path / "tiny.yaml", product_recipe(data, rotated))
    out = tmp_path / "run"
    assert main(["fit", str(file), "--out", str(out)]) == 0
    model = smalti.load(out)
    assert model.autoencoder.quantizer.codebook_sizes == (8, 4, 8)
    x = runs.load_run_data(model.run).train.__getitems__(range(50)).x
    codes = model.encode(x)
    assert codes.shape == (50, 1, 3)
    report = json.loads((out / "report.json").read_text())
    assert 0 < report["figures"]["reconstruction"]["mse_over_variance"]["value"] < 0.6
    assert "each code of a product is of a part" in report["not_applicable"]["Tree of codes"]
    assert "neighbours" in report["figures"]


@pytest.mark.parametrize("kind", ["residual", "product", "rotated product"])
def test_a_fit_that_was_killed_goes_on_bit_for_bit(kind, recipe, tmp_path, monkeypatch):
    if kind != "residual":
        recipe = product_recipe(tmp_path / "items.parquet", kind == "rotated product")
    config = schema.parsed(recipe)
    runs.fit(config, tmp_path / "whole")
    save = quantizer_fitting._State.save

    def killed(state, stages):
        save(state, stages)
        raise KeyboardInterrupt

    monkeypatch.setattr(quantizer_fitting._State, "save", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            runs.fit(config, tmp_path / "killed")
        assert not (tmp_path / "killed" / "tokenizer").exists()
    monkeypatch.undo()
    runs.fit(config, tmp_path / "killed")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    # The state says what it is of.
    state = tmp_path / "killed" / "state" / "tokenizer.ckpt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    (tmp_path / "killed" / "tokenizer").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="tokenizer.ckpt is damaged"):
        runs.fit(config, tmp_path / "killed")


def trained_recipe(data: Path) -> dict:
    """Codes whose base codebooks are fitted, and which are trained with their networks then."""
    recipe = fitted_recipe(data)
    codebook = {"class_path": "GradientCodebook", "init_args": {"codebook_size": 8, "dim": "auto"}}
    stage = {"class_path": "VectorQuantizer", "init_args": {"codebook": codebook}}
    options = {"stages": [stage, stage], "hidden": 16, "layers": 1, "beam": 2}
    recipe["tokenizer"]["quantizer"] = {
        "class_path": "ImplicitResidualQuantizer",
        "init_args": options,
    }
    recipe["tokenizer"]["training"] = {
        "steps": 40,
        "batch_size": 64,
        "validate_every": 20,
        "save_every": 15,
        "optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.01}},
        "weight_ema": 0.9,
    }
    recipe["tokenizer"]["mixing"] = 0.02
    recipe["tokenizer"]["fitting"] = {"class_path": "ResidualKMeans", "init_args": {"refine": 0}}
    return recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a table and a run that is trained after a fit."""
    folder = tmp_path_factory.mktemp("trained")
    runs.fit(schema.parsed(trained_recipe(table(folder / "items.parquet"))), folder / "run")
    return folder


def test_a_training_starts_from_what_was_fitted(trained, tmp_path):
    recipe = trained_recipe(trained / "items.parquet")
    alone = {**recipe, "tokenizer": {**recipe["tokenizer"], "training": None, "mixing": 0.0}}
    errors = []
    runs.fit(schema.parsed(alone), tmp_path / "run")
    for folder in (tmp_path, trained):
        run = runs.Run(folder / "run")
        splits = runs.load_run_data(run)
        model = smalti.load(run.folder)
        x = splits.train.__getitems__(range(len(splits.train))).x
        errors.append((model.decode(model.encode(x)) - x).square().mean())
        codewords = model.autoencoder.quantizer.stages[0].codebook.weight.detach()
        assert codewords.isfinite().all()
    assert errors[1] < 0.97 * errors[0]
    assert list(run.curves()) == ["fitting", "tokenizer", "prior"]
    assert not any((run.folder / "logs" / "prior").glob("*"))
    state = trained / "run" / "state"
    assert (state / "fitting.ckpt").exists() and (state / "tokenizer.ckpt").exists()


@pytest.mark.parametrize("where", ["fitting", "training"])
def test_a_training_after_a_fit_goes_on_bit_for_bit(trained, tmp_path, monkeypatch, where):
    config = schema.parsed(trained_recipe(trained / "items.parquet"))
    owner, name = (
        (quantizer_fitting._State, "save")
        if where == "fitting"
        else (AtomicCheckpointIO, "save_checkpoint")
    )
    save = getattr(owner, name)

    def killed(self, *args, **options):
        save(self, *args, **options)
        if where == "fitting" or str(args[1]).endswith("tokenizer.ckpt"):
            raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            runs.fit(config, tmp_path / "killed")
        assert not (tmp_path / "killed" / "tokenizer").exists()
    monkeypatch.undo()
    runs.fit(config, tmp_path / "killed")
    assert weights(tmp_path / "killed") == weights(trained / "run")


def test_more_steps_go_on_from_a_training_after_a_fit(trained, tmp_path):
    recipe = trained_recipe(trained / "items.parquet")
    shutil.copytree(trained / "run", tmp_path / "run")
    fitted = (tmp_path / "run" / "state" / "fitting.ckpt").read_bytes()
    recipe["tokenizer"]["training"] |= {"steps": 60}
    runs.fit(schema.parsed(recipe), tmp_path / "run", extend=True)
    assert (tmp_path / "run" / "state" / "fitting.ckpt").read_bytes() == fitted


def test_the_seed_decides(recipe, tmp_path):
    for name, seed in ("a", 0), ("b", 0), ("c", 1):
        runs.fit(schema.parsed({**recipe, "seed": seed}), tmp_path / name)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_a_normalization_of_the_data_is_part_of_the_tokenizer(recipe, tmp_path):
    recipe["data"]["init_args"]["normalize"] = "whiten"
    run, splits = runs.fit(schema.parsed(recipe), tmp_path / "run")
    tokenizer = smalti.load(run.folder).autoencoder
    x = splits.train.__getitems__(range(20)).x
    y = tokenizer.normalization(x)
    wanted = tokenizer.normalization.inverse(
        tokenizer.quantizer.decode(tokenizer.quantizer.encode(y))
    )
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(x)), wanted)


def test_a_prior_is_learned_over_fitted_tokens(recipe, tmp_path):
    training = {"steps": 4, "batch_size": 8, "validate_every": 2}
    recipe["prior"] = {
        "model": {"class_path": "DepthPixelCNN", "init_args": {"hidden": 8, "layers": 1}},
        "training": training,
    }
    run, _ = runs.fit(schema.parsed(recipe), tmp_path / "run")
    assert smalti.load(run.folder).sample(3).shape == (3, DIM)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tokenizer.encoder", "MLPEncoder"], "a MLPEncoder would be as it is drawn"),
        (["--tokenizer.training.steps", "5"], "choose a model that learns"),
        (["--tokenizer.fitting", "null"], "a training or a fitting, got neither"),
        (["--tokenizer.loss_weights", "{kl: 1.0}"], "no losses and no batches, got loss_weights"),
        (["--tokenizer.mixing", "0.2"], "no losses and no batches, got mixing"),
        (["--extend"], "--extend takes more steps of a training"),
        (["--tokenizer.fitting.iterations", "-1"], "iterations"),
    ],
)
def test_what_does_not_fit_is_one_line(recipe, tmp_path, capsys, words, said):
    file = write_recipe(tmp_path / "tiny.yaml", recipe)
    line = mistake(capsys, "fit", str(file), "--out", str(tmp_path / "run"), *words)
    assert said in line
    assert not (tmp_path / "run" / "tokenizer").exists()


def test_fewer_rows_than_codewords_and_other_quantizers_are_one_line(recipe, tmp_path, capsys):
    small = {**recipe, "data": {"class_path": "Vectors", "init_args": {}}}
    small["data"]["init_args"]["path"] = str(table(tmp_path / "few.parquet", n=8))
    file = write_recipe(tmp_path / "tiny.yaml", small)
    out = ["--out", str(tmp_path / "run")]
    assert "for each of 8 codewords" in mistake(capsys, "fit", str(file), *out)
    recipe["tokenizer"]["quantizer"] = {
        "class_path": "ProjectedQuantizer",
        "init_args": {
            "inner": {"class_path": "FiniteScalarQuantizer", "init_args": {"num_values": [4, 4]}},
            "dim": DIM,
        },
    }
    file = write_recipe(tmp_path / "tiny.yaml", recipe)
    assert "ResidualKMeans fits a ResidualQuantizer" in mistake(capsys, "fit", str(file), *out)


def test_each_part_of_a_product_has_its_share_of_the_dimensions():
    codebook = {"class_path": "EMACodebook", "init_args": {"codebook_size": 4, "dim": "auto"}}
    part = {"class_path": "VectorQuantizer", "init_args": {"codebook": codebook}}
    recipe = fitted_recipe(Path("nowhere"))
    product = {"class_path": "ProductQuantizer", "init_args": {"parts": [part] * 3}}
    recipe["tokenizer"]["quantizer"] = product
    config = schema.parsed(recipe)
    assert automatic.has_auto_dim(config)
    settled = automatic.resolve_dims(config, 11)
    parts = settled.tokenizer.quantizer.init_args.parts
    assert [p.init_args.codebook.init_args.dim for p in parts] == [4, 4, 3]
    assert not automatic.has_auto_dim(settled) and automatic.has_auto_dim(config)
    with pytest.raises(InputError, match="no 3 parts"):
        automatic.resolve_dims(config, 2)
    mixed = json.loads(json.dumps(product))
    mixed["init_args"]["parts"][0]["init_args"]["codebook"]["init_args"]["dim"] = 5
    recipe["tokenizer"]["quantizer"] = mixed
    with pytest.raises(InputError, match="all of them auto, or none"):
        automatic.resolve_dims(schema.parsed(recipe), 11)


@pytest.mark.slow
def test_two_processes_fit_one_tokenizer(recipe, tmp_path):
    file = write_recipe(tmp_path / "tiny.yaml", recipe)
    words = ["--hardware.accelerator=cpu", "--hardware.strategy=ddp", "--hardware.devices=2"]
    done = subprocess.run(
        [sys.executable, "-m", "smalti", "fit", str(file), f"--out={tmp_path}/run", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("tokenizer: fitted") == 1
    assert json.loads((tmp_path / "run" / "report.json").read_text())

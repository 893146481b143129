"""The command line, from a recipe to pictures, and one clear line for each mistake."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import smalti
from smalti.cli import main
from tiny import clocks_recipe, write_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of tiny clocks."""
    folder = tmp_path_factory.mktemp("cli")
    recipe = write_recipe(folder / "tiny.yaml", clocks_recipe())
    assert main(["fit", str(recipe), "--out", str(folder / "run")]) == 0
    return folder / "run"


def picture(path, size=(16, 16), mode="RGB"):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], len(mode)), dtype=np.uint8)
    Image.fromarray(noise.squeeze(), mode if len(mode) > 1 else "L").save(path)
    return str(path)


def mistake(capsys, *words: str) -> str:
    """The line that a mistake gives."""
    assert main(list(words)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("smalti: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_fit_leaves_a_whole_run_directory(run):
    there = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "tokenizer",
        "tokens",
        "prior",
        "state",
        "samples",
        "report.html",
        "report.json",
    } <= there
    assert json.loads((run / "report.json").read_text())
    assert json.loads((run / "tokens" / "tokens.json").read_text())["splits"]["train"] == 48


def test_a_second_fit_does_nothing_again(run, capsys):
    made = (run / "prior" / "model.safetensors").stat().st_mtime_ns
    assert main(["fit", str(run.parent / "tiny.yaml"), "--out", str(run)]) == 0
    assert (run / "prior" / "model.safetensors").stat().st_mtime_ns == made


def test_sample_at_a_time(run, tmp_path):
    out = tmp_path / "clock.png"
    assert main(["sample", str(run), "--time", "10:10", "--n", "4", "--out", str(out)]) == 0
    with Image.open(out) as sheet:
        assert sheet.size[0] > 32


def test_samples_repeat_under_a_seed(run, tmp_path):
    for name in "ab":
        words = ["sample", str(run), "--n", "2", "--seed", "3", "--out", str(tmp_path / name)]
        assert main(words) == 0
    a, b = (sorted((tmp_path / name).iterdir()) for name in "ab")
    assert len(a) == 2
    assert [x.read_bytes() for x in a] == [x.read_bytes() for x in b]


@pytest.mark.parametrize("scheme", ["prior", "histogram", "uniform"])
def test_every_scheme_samples(run, tmp_path, scheme):
    out = tmp_path / "samples.png"
    assert main(["sample", str(run), "--scheme", scheme, "--n", "3", "--out", str(out)]) == 0
    assert out.exists()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_complete_keeps_what_is_given(run, tmp_path, mode):
    half = picture(tmp_path / "half.png", mode=mode)
    if mode == "RGBA":
        with Image.open(half) as image:
            pixels = np.array(image)
        pixels[:8, :, 3], pixels[8:, :, 3] = 255, 0
        Image.fromarray(pixels).save(half)
    words = ["sample", str(run), "--complete", half, "--n", "2", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_reconstruct(run, tmp_path, capsys):
    files = [picture(tmp_path / f"{name}.png") for name in "ab"]
    out = tmp_path / "recon.png"
    assert main(["reconstruct", str(run), *files, "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("PSNR") == 2
    assert out.exists()


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_encode_and_decode(run, tmp_path, suffix):
    files = [picture(tmp_path / f"{name}.png") for name in "ab"]
    tokens, out = tmp_path / f"tokens.{suffix}", tmp_path / "out"
    assert main(["encode", str(run), *files, "--out", str(tokens)]) == 0
    assert main(["decode", str(run), str(tokens), "--out", str(out)]) == 0
    assert main(["reconstruct", str(run), *files, "--out", str(tmp_path / "recon")]) == 0
    decoded, reconstructed = (sorted((tmp_path / name).iterdir()) for name in ("out", "recon"))
    assert [x.read_bytes() for x in decoded] == [x.read_bytes() for x in reconstructed]


def test_evaluate_writes_the_report_again(run):
    (run / "report.html").unlink()
    assert main(["evaluate", str(run)]) == 0
    assert (run / "report.html").exists()


def test_recipes(capsys):
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    for name in ("clocks", "fashion-mnist", "images32", "images64"):
        assert name in listed
        assert main(["recipes", name]) == 0
        assert yaml.safe_load(capsys.readouterr().out)["tokenizer"]


def test_python_api(run):
    model = smalti.load(run)
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    indices = model.encode(x)
    assert indices.shape == (2, 4, 4)
    assert model.decode(indices).shape == x.shape
    assert model.sample(2, condition=["10:10", "3:00"]).shape == (2, 3, 16, 16)
    assert model.sample(3, condition="10:10").shape == (3, 3, 16, 16)
    assert torch.equal(model.sample(2, seed=1), model.sample(2, seed=1))


def test_help_answers_at_once():
    """Median of three: under a second and a half, and no heavy import."""
    times = []
    for _ in range(3):
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "smalti", "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        times.append(time.monotonic() - start)
        assert "| torch" not in done.stderr
    assert "fit" in done.stdout
    assert sorted(times)[1] < 1.5


# Mistakes


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fly"], "no command 'fly'"),
        (["fit"], "takes a recipe first"),
        (["fit", "images32"], "give --data"),
        (["fit", "clocks", "--data", "photos"], "makes its own data"),
        (["fit", "clocks", "--prior.training.steps", "many"], "Got value: many"),
        (["fit", "clocks", "--data", "--seed"], "--data"),
        (["fit", "binary.png"], "not a YAML text"),
        (["fit", "list.yaml"], "not a mapping"),
        (["fit", "class.yaml"], "no class Frob"),
        (["sample", "RUN", "--seed", "99999999999999999999999"], "seed"),
        (["fit", "nonesuch"], "no recipe and no file named 'nonesuch'"),
        (["sample", "nowhere"], "not a run directory"),
        (["sample"], "folder"),
        (["sample", "RUN", "--time", "25:00"], "no time '25:00'"),
        (["sample", "RUN", "--label", "3"], "conditioned on a time"),
        (["sample", "RUN", "--n", "0"], "at least 1"),
        (["sample", "RUN", "--n", "many"], "n"),
        (["sample", "RUN", "--scheme", "magic"], "no sampling scheme"),
        (["sample", "RUN", "--temperature", "-1"], "temperature"),
        (["sample", "RUN", "--out", "x.gif"], ".png"),
        (["sample", "RUN", "--complete", "nowhere.png"], "nowhere.png"),
        (["reconstruct", "RUN", "nowhere.png"], "nowhere.png"),
        (["decode", "RUN", "nowhere.npz"], "no file"),
        (["decode", "RUN", "tokens.csv"], ".npz or .parquet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes(run, capsys, tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "binary.png").write_bytes(bytes([137, 80, 200]))
    (tmp_path / "list.yaml").write_text("- a")
    (tmp_path / "class.yaml").write_text("data: {class_path: Frob}")
    assert line in mistake(capsys, *(str(run) if word == "RUN" else word for word in words))


def test_wrong_images(run, capsys, tmp_path):
    large = picture(tmp_path / "large.png", (24, 16))
    assert "24×16" in mistake(capsys, "reconstruct", str(run), large)
    assert main(["reconstruct", str(run), large, "--convert", "--out", f"{tmp_path}/o"]) == 0
    capsys.readouterr()
    grey = picture(tmp_path / "grey.png", mode="L")
    assert "grey" in mistake(capsys, "encode", str(run), grey)
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes((tmp_path / "large.png").read_bytes()[:200])
    assert "truncated.png" in mistake(capsys, "encode", str(run), str(truncated))


def test_indices_out_of_range(run, capsys, tmp_path):
    np.savez(tmp_path / "tokens.npz", indices=np.full((1, 4, 4), 99))
    assert "99" in mistake(capsys, "decode", str(run), str(tmp_path / "tokens.npz"))


def test_an_unknown_key(capsys, tmp_path):
    recipe = clocks_recipe()
    recipe["tokenizer"]["colour"] = "red"
    path = write_recipe(tmp_path / "wrong.yaml", recipe)
    assert "colour" in mistake(capsys, "fit", str(path), "--out", str(tmp_path / "run"))
    path = write_recipe(tmp_path / "wrong.yaml", clocks_recipe())
    words = ["fit", str(path), "--out", str(tmp_path / "run"), "--tokenizer.network.hiden", "8"]
    assert "hiden" in mistake(capsys, *words)
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_recipe_is_left_alone(run, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    recipe = str(run.parent / "tiny.yaml")
    line = mistake(capsys, "fit", recipe, "--out", str(run), "--tokenizer.network.hidden", "16")
    assert "tokenizer.network.hidden is 8 there and 16 here" in line
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_folder_with_something_else_is_left_alone(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    recipe = write_recipe(tmp_path / "tiny.yaml", clocks_recipe())
    assert "not empty" in mistake(capsys, "fit", str(recipe), "--out", str(tmp_path))
    assert (tmp_path / "thesis.tex").read_text() == "dear"


def test_damaged_models(run, capsys, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    weights = copy / "prior" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert "truncated or edited" in mistake(capsys, "sample", str(copy))
    weights.unlink()
    assert "model.safetensors is missing" in mistake(capsys, "sample", str(copy))


def test_no_images(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    words = ["fit", "images32", "--out", str(tmp_path / "run"), "--data"]
    assert "empty" in mistake(capsys, *words, str(tmp_path / "empty"))
    assert "nowhere" in mistake(capsys, *words, str(tmp_path / "nowhere"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("room", [2_000, 30_000, 90_000])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path, room):
    """A limit on the size of files stands for the full disk: writing fails halfway too."""
    recipe = write_recipe(tmp_path / "tiny.yaml", clocks_recipe())
    command = [sys.executable, "-m", "smalti", "fit", str(recipe), "--out", str(tmp_path / "run")]

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    full = subprocess.run(
        command, capture_output=True, text=True, check=False, preexec_fn=little_room
    )
    assert full.returncode == 2, full.stderr
    assert "Traceback" not in full.stderr
    assert full.stderr.splitlines()[-1].startswith("smalti: File too large")
    assert not list((tmp_path / "run").rglob("*.partial*"))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert (tmp_path / "run" / "report.html").exists()

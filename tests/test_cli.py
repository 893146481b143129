"""The command line, from a recipe to pictures, and one clear line for each mistake."""

from __future__ import annotations

import json
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

import smalti
from mistakes import mistake
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


def announced(width: int, height: int) -> bytes:
    """The start of a PNG that is said to have this size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


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


def test_one_option_puts_attention_into_the_prior_and_one_lets_it_be_guided(run, tmp_path):
    words = ["--prior.model", "PixelSNAIL", "--prior.model.heads", "2", "--out", str(tmp_path)]
    words += ["--prior.condition_dropout", "0.2"]
    assert main(["fit", str(run.parent / "tiny.yaml"), *words]) == 0
    model = json.loads((tmp_path / "prior" / "config.json").read_text())
    assert (model["class"], model["heads"]) == ("PixelSNAIL", 2)
    assert model["hidden"] == 8  # what the recipe says of its own prior, where both have it
    out = str(tmp_path / "clock.png")
    words = ["sample", str(tmp_path), "--n", "2", "--seed", "0", "--out", out]
    for more in (["--guidance", "2"], ["--time", "10:10"], ["--time", "none"], ["--guidance", "0"]):
        assert main([*words, *more]) == 0
    model = smalti.load(tmp_path)
    without = model.sample(2, {"time": "none"}, seed=0)
    assert torch.equal(model.sample(2, "10:10", seed=0, guidance=0), without)
    assert not torch.equal(model.sample(2, "10:10", seed=0, guidance=9), without)


def test_a_prior_over_several_indices_a_position(tmp_path):
    recipe = clocks_recipe()
    part = recipe["tokenizer"]["quantizer"]
    recipe["tokenizer"]["quantizer"] = {
        "class_path": "ProductQuantizer",
        "init_args": {"parts": [part, part, part]},
    }
    recipe["prior"]["model"]["class_path"] = "DepthPixelCNN"
    words = [str(write_recipe(tmp_path / "depth.yaml", recipe)), "--out", str(tmp_path / "run")]
    assert main(["fit", *words]) == 0
    prior = smalti.load(tmp_path / "run").prior
    assert prior.grid == (4, 4, 3)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["figures"]["rate"]["prior"]["nats_per_index"]["value"] > 0
    half, out = picture(tmp_path / "half.png"), ["--n", "2", "--out", str(tmp_path / "drawn")]
    assert main(["sample", str(tmp_path / "run"), "--complete", half, *out]) == 0


def test_the_options_of_a_run_are_those_of_its_conditions(run, tmp_path, capsys):
    assert main(["sample", "--help"]) == 0
    without = capsys.readouterr().out
    assert "--time" not in without and "--label" not in without
    assert main(["sample", "--n", "4", str(run), "--help"]) == 0
    assert "--time TIME" in (listed := capsys.readouterr().out)
    assert "hours and minutes, e.g. 10:10" in " ".join(listed.split())
    line = mistake(capsys, "sample", "--label=3", str(run))
    assert "no option --label: this model is conditioned on a time, --time" in line


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


@pytest.mark.parametrize("prior", ["learned", "histogram", "uniform"])
def test_every_prior_samples(run, tmp_path, prior):
    out = tmp_path / "samples.png"
    assert main(["sample", str(run), "--prior", prior, "--n", "3", "--out", str(out)]) == 0
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


def test_a_folder_or_a_pattern_is_completed_file_by_file(run, tmp_path, capsys):
    (tmp_path / "halves").mkdir()
    one, two = (picture(tmp_path / "halves" / f"{name}.png") for name in ("one", "two"))
    (tmp_path / "halves" / "notes.txt").write_text("none")
    seeded = ["--seed", "0", "--n", "2", "--keep", "left"]
    alone = ["sample", str(run), "--complete", two, "--out", str(tmp_path / "alone"), *seeded]
    assert main(alone) == 0
    capsys.readouterr()
    for name, given in (("all", "halves"), ("matching", "halves/*.png")):
        words = ["--complete", str(tmp_path / given), "--out", str(tmp_path / name)]
        assert main(["sample", str(run), *words, *seeded]) == 0
        assert f"{given}: 2 images" in capsys.readouterr().out
        made = sorted((tmp_path / name).iterdir())
        names = ["00000-one.png", "00001-one.png", "00002-two.png", "00003-two.png"]
        assert [file.name for file in made] == names
        # What a file is completed to does not depend on which others are.
        for file, expected in zip(made[2:], sorted((tmp_path / "alone").iterdir()), strict=True):
            assert file.read_bytes() == expected.read_bytes()
    sheet = str(tmp_path / "sheet.png")
    words = ["--complete", str(tmp_path / "halves"), "--out", sheet, *seeded]
    assert main(["sample", str(run), *words]) == 0
    with Image.open(sheet) as rows:
        assert rows.size[0] == rows.size[1]  # two of each file in a row
    line = mistake(capsys, "sample", str(run), "--complete", one, two, *seeded)
    assert "takes one file, folder or pattern, got" in line and "two.png too" in line
    (tmp_path / "empty").mkdir()
    line = mistake(capsys, "sample", str(run), "--complete", str(tmp_path / "empty"))
    assert "There is no image in" in line


def test_a_half_to_keep_of_a_transparent_image_is_refused(run, tmp_path, capsys):
    half = picture(tmp_path / "half.png", mode="RGBA")
    with Image.open(half) as image:
        pixels = np.array(image)
    pixels[:8, :, 3], pixels[8:, :, 3] = 255, 0
    Image.fromarray(pixels).save(half)
    for keep in ("top", "left"):
        line = mistake(capsys, "sample", str(run), "--complete", half, "--keep", keep)
        assert f"has transparent pixels, which are what is filled in, got the half '{keep}'" in line


def test_what_says_how_to_complete_is_refused_without_an_image(run, capsys):
    for words in (["--keep", "left"], ["--keep", "middle"], ["--keep", "top"], ["--convert"]):
        line = mistake(capsys, "sample", str(run), *words)
        assert "no file to complete" in line and " ".join(words) in line


def test_a_run_directory_has_a_name(capsys):
    for command in (["evaluate"], ["sample"], ["encode"], ["decode"], ["reconstruct"]):
        rest = {"encode": ["a.png"], "decode": ["a.npz"], "reconstruct": ["a.png"]}
        for name in ("", " "):
            line = mistake(capsys, *command, name, *rest.get(command[0], []))
            assert "The name of the run directory is empty" in line


def test_reconstruct(run, tmp_path, capsys):
    files = [picture(tmp_path / f"{name}.png") for name in "ab"]
    out = tmp_path / "recon.png"
    assert main(["reconstruct", str(run), *files, "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("PSNR") == 2
    assert out.exists()


def test_interpolate(run, tmp_path, capsys):
    files = [picture(tmp_path / f"{name}.png") for name in "ab"]
    out = tmp_path / "way"
    assert main(["interpolate", str(run), *files, "--steps", "3", "--out", str(out)]) == 0
    assert len(list(out.iterdir())) == 3
    assert "continuous model, got one with tokens" in mistake(capsys, "traverse", str(run), "0")


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
    for name in ("cifar10-paper", "clocks", "fashion-mnist", "images32", "images64", "series"):
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
        (["fit", "clocks", "--prior.training.steps", "many"], "prior.training.steps takes a val"),
        (["fit", "clocks", "--data", "--seed"], "--data"),
        (["fit", "clocks", "--data.length", "null"], "set prior.examples"),
        (["fit", "clocks", "--tokenizer.training.batch_size", "0"], "batch_size"),
        (["fit", "clocks", "--prior.training.save_every", "0"], "save_every"),
        (["fit", "clocks", "--prior.views", "0"], "prior.views is at least 1, got 0"),
        (
            ["fit", "clocks", "--prior.model.init_args.hidden", "0"],
            "prior.model.hidden is at least 1",
        ),
        (["fit", "tiny.yaml", "--tokenizer.encoder.downsampling", "3"], "downsampling"),
        (["fit", "images32", "--data", ""], "--data is empty"),
        (["fit", "binary.yaml"], "not a YAML text"),
        (["recipes", "binary.png"], "no YAML file named 'binary.png'"),
        (["fit", "list.yaml"], "not a mapping"),
        (["fit", "class.yaml"], "no class Frob"),
        (["sample", "RUN", "--seed", "99999999999999999999999"], "seed"),
        (["fit", "nonesuch"], "no recipe and no YAML file named 'nonesuch'"),
        (["sample", "nowhere"], "not a run directory"),
        (["sample"], "folder"),
        (["sample", "RUN", "--time", "25:00"], "no time '25:00'"),
        (["sample", "RUN", "--label", "3"], "conditioned on a time"),
        (["sample", "RUN", "--guidance", "2"], "fit one with --prior.condition_dropout 0.1"),
        (["sample", "RUN", "--n", "0"], "at least 1"),
        (["sample", "RUN", "--n", "many"], "--n takes a value of the type int, got many"),
        (["sample", "RUN", "--top_k", "2.5"], "--top_k takes a value of the type int, got 2.5"),
        (
            ["sample", "RUN", "--colums", "3"],
            "no option --colums: this model is conditioned on a time",
        ),
        (["sample", "RUN", "--columns", "0"], "at least 1 column"),
        (["sample", "RUN", "--out", ""], "--out is empty"),
        (["sample", "RUN", "--prior", "uniform", "--time", "10:10"], "prior takes no condition"),
        (["sample", "RUN", "--prior", "magic"], "no prior"),
        (["sample", "RUN", "--temperature", "-1"], "temperature"),
        (["sample", "RUN", "--out", "x.gif"], ".png"),
        (["sample", "RUN", "--complete", "nowhere.png"], "nowhere.png"),
        (["reconstruct", "RUN", "nowhere.png"], "nowhere.png"),
        (["decode", "RUN", "nowhere.npz"], "no file"),
        (["decode", "RUN", "tokens.csv"], ".npz or .parquet"),
        (["decode", "RUN", "floats.npz"], "indices are float64, not integers"),
        (["decode", "RUN", "array.npz"], "holds no whole token grids"),
        (["decode", "RUN", "plain.parquet"], "holds no whole token grids"),
        (["decode", "RUN", "small.npz"], "holds grids (2, 2), this model's are (4, 4)"),
        (["encode", "RUN", "bomb.png"], "cannot be read as an image"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes(run, capsys, tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    for name in ("binary.png", "binary.yaml"):
        (tmp_path / name).write_bytes(bytes([137, 80, 200]))
    np.savez("floats.npz", indices=np.full((1, 4, 4), 0.7))
    np.savez("small.npz", indices=np.zeros((1, 2, 2), dtype=int))
    np.save("array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename("array.npz")
    pq.write_table(pa.table({"indices": [1, 2]}), "plain.parquet")
    (tmp_path / "bomb.png").write_bytes(announced(20_000, 20_000))
    (tmp_path / "list.yaml").write_text("- a")
    (tmp_path / "class.yaml").write_text("data: {class_path: Frob}")
    write_recipe(tmp_path / "tiny.yaml", clocks_recipe())
    assert line in mistake(capsys, *(str(run) if word == "RUN" else word for word in words))


def test_wrong_images(run, capsys, tmp_path):
    large = picture(tmp_path / "large.png", (24, 16))
    assert "24×16" in mistake(capsys, "reconstruct", str(run), large)
    assert main(["reconstruct", str(run), large, "--convert", "--out", f"{tmp_path}/o"]) == 0
    capsys.readouterr()
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes((tmp_path / "large.png").read_bytes()[:200])
    assert "truncated.png" in mistake(capsys, "encode", str(run), str(truncated))


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_a_grey_image_is_given_to_a_colour_model_as_it_is(run, tmp_path, mode):
    grey = tmp_path / "grey.png"
    Image.linear_gradient("L").resize((16, 16)).convert(mode).save(grey)
    with Image.open(grey) as image:
        image.convert("RGB").save(tmp_path / "colour.png")
    for name in ("grey", "colour"):
        words = [str(run), str(tmp_path / f"{name}.png"), "--out", str(tmp_path / f"{name}.npz")]
        assert main(["encode", *words]) == 0
        assert main(["reconstruct", *words[:-1], str(tmp_path / f"{name}-x.png")]) == 0
    with np.load(tmp_path / "grey.npz") as a, np.load(tmp_path / "colour.npz") as b:
        assert (a["indices"] == b["indices"]).all()
    words = ["--complete", str(grey), "--n", "2", "--out", str(tmp_path / "completed.png")]
    assert main(["sample", str(run), *words]) == 0


def test_indices_out_of_range(run, capsys, tmp_path):
    np.savez(tmp_path / "tokens.npz", indices=np.full((1, 4, 4), 99))
    assert "99" in mistake(capsys, "decode", str(run), str(tmp_path / "tokens.npz"))


def test_an_unknown_key(capsys, tmp_path):
    recipe = clocks_recipe()
    recipe["tokenizer"]["colour"] = "red"
    path = write_recipe(tmp_path / "wrong.yaml", recipe)
    assert "colour" in mistake(capsys, "fit", str(path), "--out", str(tmp_path / "run"))
    path = write_recipe(tmp_path / "wrong.yaml", clocks_recipe())
    words = ["fit", str(path), "--out", str(tmp_path / "run"), "--tokenizer.encoder.hiden", "8"]
    assert "hiden" in mistake(capsys, *words)
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_recipe_is_left_alone(run, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    recipe = str(run.parent / "tiny.yaml")
    line = mistake(capsys, "fit", recipe, "--out", str(run), "--tokenizer.encoder.hidden", "16")
    assert "tokenizer.encoder.init_args.hidden is 8 there and 16 here" in line
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_folder_with_something_else_is_left_alone(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    recipe = write_recipe(tmp_path / "tiny.yaml", clocks_recipe())
    assert "not empty" in mistake(capsys, "fit", str(recipe), "--out", str(tmp_path))
    assert (tmp_path / "thesis.tex").read_text() == "dear"


def test_an_input_is_not_overwritten(run, capsys, tmp_path):
    path = picture(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    words = ["reconstruct", str(run), path, "--out"]
    assert "would be overwritten" in mistake(capsys, *words, path)
    assert "would be overwritten" in mistake(capsys, *words, str(tmp_path))
    assert "would be" in mistake(capsys, "sample", str(run), "--complete", path, "--out", path)
    assert (tmp_path / "a.png").read_bytes() == before
    assert main([*words, str(tmp_path / "v1.0" / "o")]) == 0
    assert (tmp_path / "v1.0" / "o" / "a.png").is_file()


def test_a_start_that_fails_claims_nothing(capsys, tmp_path):
    recipe = str(write_recipe(tmp_path / "tiny.yaml", clocks_recipe()))
    out = ["--out", str(tmp_path / "run")]
    mistake(capsys, "fit", recipe, *out, "--tokenizer.encoder.downsampling", "3")
    mistake(capsys, "fit", recipe, *out, "--prior.model.init_args.kernel_size", "2")
    line = mistake(capsys, "fit", recipe, *out, "--tokenizer.loss_weights", "{entropy: 0.1}")
    assert "weights are given for entropy" in line
    assert not (tmp_path / "run").exists()
    wrong = "--hardware.devices=99", "--hardware.accelerator=gpu"
    assert "hardware cannot be used" in mistake(capsys, "fit", recipe, *out, *wrong)
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.1.partial.yaml").write_text("")
    assert main(["fit", recipe, *out]) == 0
    assert main(["fit", recipe, *out, "--evaluation.samples=8", "--hardware.devices=1"]) == 0


def test_a_lost_token_cache_is_made_again(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shard = copy / "tokens" / "train-00000.parquet"
    whole = shard.read_bytes()
    shard.unlink()
    assert main(["evaluate", str(copy)]) == 0  # what needs them is a line in the report
    missing = json.loads((copy / "report.json").read_text())["missing"]
    assert any("fit again" in why for why in missing.values())
    assert main(["fit", str(run.parent / "tiny.yaml"), "--out", str(copy)]) == 0
    assert shard.read_bytes() == whole


def test_a_damaged_state_is_one_line(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "prior")
    (copy / "state" / "prior.ckpt").write_bytes(b"noise")
    words = ["fit", str(run.parent / "tiny.yaml"), "--out", str(copy)]
    assert "prior.ckpt is damaged: delete it" in mistake(capsys, *words)
    (copy / "state" / "prior.ckpt").unlink()
    assert main(words) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_fit_that_is_asked_to_stop_says_that_it_did(tmp_path, sent, status):
    recipe = clocks_recipe()
    recipe["tokenizer"]["training"] |= {"steps": 100_000}
    path = write_recipe(tmp_path / "tiny.yaml", recipe)
    command = [sys.executable, "-m", "smalti", "fit", str(path), "--out", str(tmp_path / "run")]
    # A shell that starts the tests in the background has them and their children ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    state = tmp_path / "run" / "state" / "tokenizer.ckpt"
    try:
        while not state.exists() and process.poll() is None:
            time.sleep(0.2)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    assert "smalti: stopped; the same command goes on where it was" in errors


def test_models_that_changed_places(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "tokenizer").rename(copy / "x")
    assert "has no tokenizer yet" in mistake(capsys, "sample", str(copy))
    (copy / "prior").rename(copy / "tokenizer")
    (copy / "x").rename(copy / "prior")
    assert "changed places" in mistake(capsys, "sample", str(copy))


def test_damaged_models(run, capsys, tmp_path):
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


FITS_IN_LITTLE_ROOM = """
import pathlib, resource, sys
from smalti.cli import main

recipe, run = sys.argv[1:]
for room in (2_000, 30_000, 90_000, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    status = main(["fit", recipe, "--out", run])
    halves = len(list(pathlib.Path(run).rglob("*.partial*")))
    print("ended", status, halves, file=sys.stderr)
"""


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path):
    """A limit on the size of files stands for the full disk: writing fails halfway too."""
    recipe = write_recipe(tmp_path / "tiny.yaml", clocks_recipe())
    done = subprocess.run(
        [sys.executable, "-c", FITS_IN_LITTLE_ROOM, str(recipe), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    ended = [line for line in lines if line.startswith("ended")]
    assert ended == ["ended 2 0"] * 3 + ["ended 0 0"]
    told = [lines[place - 1] for place, line in enumerate(lines) if line == "ended 2 0"]
    assert all(line.startswith("smalti: File too large") for line in told)
    assert (tmp_path / "run" / "report.html").exists()

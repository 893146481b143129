"""What smalti did not write stays; where --out leads is known before any work is done for it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import smalti
from mistakes import mistake
from smalti.artifacts import load_model, save_model
from smalti.cli import main
from smalti.commands.evaluate import check_report_output
from smalti.commands.signal_output import SignalOutput
from smalti.comparison import Comparison, Outcome
from smalti.errors import InputError
from smalti.evaluation import Report, report_file_pattern
from smalti.latents import write_latents
from smalti.modalities.image.pictures import save_png, to_png
from smalti.modalities.image.signal import Image as ImageSignal
from smalti.outputs import check_output, path_from_option, written_by_smalti
from smalti.reporting import Picture, Section
from smalti.tokens import TokenGrids, write_tokens
from tiny import clocks_recipe, vae_recipe, write_recipe

GREY = ImageSignal(1, (8, 8))
GRIDS = TokenGrids((torch.randint(9, (3, 2, 2)),))


def write_png(path, overwrite=False):
    save_png(Image.new("L", (4, 4)), path, overwrite)


def write_indices(path, overwrite=False):
    write_tokens(path, GRIDS, 9, overwrite)


def write_z(path, overwrite=False):
    write_latents(path, torch.zeros(3, 2), overwrite)


class Short(Report):
    def to_html(self):
        return '<meta name="generator" content="smalti 1">'  # as in the template


def write_report(path, overwrite=False):
    Short("clocks").save(path.parent, overwrite)


def write_comparison(path, overwrite=False):
    curve = [(1, 0.1, 2.0), (2, 0.2, 1.0)]
    outcomes = [Outcome("ema", bits, 0, {"error": 1.0}, curve) for bits in (8, 9)]
    Comparison("clocks", "error", "loss", outcomes).save(path.parent, overwrite)


def of_the_user(path):
    """A file of the very kind, with nothing of smalti's in it."""
    if path.suffix == ".png":
        Image.new("RGB", (3, 3), "red").save(path)
    elif path.suffix == ".npz":
        np.savez(path, indices=np.zeros((1, 2, 2), np.uint8))
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"indices": [[1]], "price": [3.5]}), path)
    else:
        path.write_text('{"title": "mine"}')


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_png, "a.png"),
        (write_indices, "a.npz"),
        (write_indices, "a.parquet"),
        (write_z, "z.npz"),
        (write_report, "report.json"),
        (write_report, "report.html"),
        (write_comparison, "comparison.json"),
        (write_comparison, "comparison.md"),
        (write_comparison, "time.png"),
        (write_comparison, "bits.png"),
    ],
)
def test_a_file_of_the_user_is_replaced_when_asked_only_and_smaltis_own_at_once(
    tmp_path, write, name
):
    path = tmp_path / name
    write(path)
    assert written_by_smalti(path)
    write(path)  # its own, again
    for strange in (of_the_user, b"", b"\x00\x89PNG\xff"):
        path.write_bytes(strange) if isinstance(strange, bytes) else strange(path)
        before = path.read_bytes()
        with pytest.raises(InputError, match="was not written by smalti.*--overwrite"):
            write(path)
        assert path.read_bytes() == before
        write(path, overwrite=True)
        assert written_by_smalti(path)


def test_tokens_to_which_a_user_added_are_the_users(tmp_path):
    write_tokens(tmp_path / "a.parquet", GRIDS, 9)
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.append_column("price", pa.array([1.0, 2.0, 3.0])), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="not written by smalti"):
        write_tokens(tmp_path / "a.parquet", GRIDS, 9)
    write_tokens(tmp_path / "a.npz", GRIDS, 9)
    with np.load(tmp_path / "a.npz") as arrays:
        np.savez(tmp_path / "a.npz", **arrays, price=np.ones(3))
    with pytest.raises(InputError, match="not written by smalti"):
        write_tokens(tmp_path / "a.npz", GRIDS, 9)


def test_a_report_never_replaces_a_picture_of_the_user(tmp_path):
    section = Section("Samples", "samples")
    section.blocks["samples/prior"] = Picture(to_png(Image.new("L", (4, 4))), "")
    report = Report("clocks", sections=[section])
    report.save_pictures(tmp_path)
    report.save_pictures(tmp_path)
    of_the_user(tmp_path / "samples-prior.png")
    with pytest.raises(InputError, match="samples-prior.png"):
        report.save_pictures(tmp_path)


COMMANDS = {
    "sample": ["sample", "RUN", "--n", "3"],
    "edit": ["edit", "RUN", "a.png", "--strength", "0.5", "--n", "3"],
    "encode": ["encode", "RUN", "a.png"],
    "reconstruct": ["reconstruct", "RUN", "a.png"],
    "interpolate": ["interpolate", "RUN", "a.png", "b.png", "--steps", "3"],
}


@pytest.fixture
def idle(monkeypatch, tmp_path):
    """A working folder, where commands that begin to work fail."""

    def load(folder):
        raise AssertionError("the model is loaded before --out is looked at")

    for name in ("sample", "edit", "reconstruct", "interpolate"):
        monkeypatch.setattr(f"smalti.commands.{name}.load", load)
        monkeypatch.setattr(f"smalti.commands.{name}.read_signal", lambda folder: GREY)
    monkeypatch.setattr("smalti.commands.run_options.read_condition", lambda folder: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["sample", "edit", "reconstruct", "interpolate"])
def test_out_is_checked_before_any_work(idle, capsys, command):
    of_the_user(idle / "mine.png")
    (idle / "folder").mkdir()
    of_the_user(idle / "folder" / ("00001.png" if command != "reconstruct" else "a.png"))
    (idle / "file").touch()
    os.mkfifo(idle / "pipe.png")
    (idle / "loop.png").symlink_to("loop.png")
    for out, line in {
        "--out=": "The option --out is empty",
        "--out= ": "The option --out is empty",
        "--out=-run": "looks like an option: write ./-run",
        "--out=~nobody-here/a.png": "is no user here",
        "--out=mine.png": "mine.png is there already and was not written by smalti",
        "--out=folder": "is there already and was not written by smalti",
        "--out=file": "takes a folder here, got the file",
        "--out=file/a.png": "Not a directory (file)",
        "--out=a.jpg": "a .png, or of a folder, got a.jpg",
        "--out=pipe.png": "pipe.png is a pipe or a device",
        "--out=" + "x" * 300 + ".png": "File name too long",
    }.items():
        assert line in mistake(capsys, *COMMANDS[command], out)
    if command in ("sample", "edit", "interpolate"):
        line = mistake(capsys, *COMMANDS[command], "--columns", "0")
        assert "at least 1 column" in line
    names = sorted(path.name for path in idle.iterdir())
    assert names == ["file", "folder", "loop.png", "mine.png", "pipe.png"]


def test_fit_compare_and_their_out(idle, capsys):
    of_the_user(idle / "report.html")
    of_the_user(idle / "time.png")
    (idle / "file").touch()
    for command in (["fit", "clocks"], ["compare", "--data", "gaussian"]):
        for out, line in {
            "--out=": "The option --out is empty",
            "--out=-run": "looks like an option",
            "--out=file": "takes a folder here, got the file",
            "--out=file/run": "Not a directory (file)",
            "--out=.": "was not written by smalti",
        }.items():
            assert line in mistake(capsys, *command, out)
        assert "--out" in mistake(capsys, *command, "--out", "-run")
    assert sorted(path.name for path in idle.iterdir()) == ["file", "report.html", "time.png"]


def test_a_tilde_is_the_home_folder_in_every_form(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert check_output("~/a.png", (".png",)) == tmp_path / "a.png"
    assert check_output("~/run", folder=True) == tmp_path / "run"
    assert check_output("~", folder=True) == tmp_path
    assert check_output("./~", folder=True) == Path("~")
    for out in ("~/shots", "~/sheet.png"):
        SignalOutput(GREY, out, 2, default_name="a").write(torch.zeros(2, 1, 8, 8))
    assert sorted(file.name for file in (tmp_path / "shots").iterdir()) == [
        "00000.png",
        "00001.png",
    ]
    assert (tmp_path / "sheet.png").is_file()
    assert not (tmp_path / "~").exists()


def test_images_of_one_stem_have_files_of_their_own(tmp_path):
    inputs = ["a/x.png", "b/x.png", "c/X.jpg", "d/y.png"]
    SignalOutput(GREY, f"{tmp_path}/one", 4, default_name="a", inputs=inputs).write(
        torch.zeros(4, 1, 8, 8)
    )
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert names == ["00000-x.png", "00001-x.png", "00002-X.png", "00003-y.png"]
    SignalOutput(GREY, f"{tmp_path}/two", 2, default_name="a", inputs=["a/x.png", "b/y.png"]).write(
        torch.zeros(2, 1, 8, 8)
    )
    assert sorted(file.name for file in (tmp_path / "two").iterdir()) == ["x.png", "y.png"]
    SignalOutput(GREY, f"{tmp_path}/two.png/", 1, default_name="a").write(torch.zeros(1, 1, 8, 8))
    assert (tmp_path / "two.png" / "00000.png").is_file()


def test_other_files_in_a_folder_stay(tmp_path):
    for name in ("99999.png", "001.png", "00000.jpg", "1.png"):
        (tmp_path / name).write_text("mine")
    SignalOutput(GREY, str(tmp_path), 2, default_name="a").write(torch.zeros(2, 1, 8, 8))
    SignalOutput(GREY, str(tmp_path), 2, default_name="a").write(torch.zeros(2, 1, 8, 8))
    for name in ("99999.png", "001.png", "00000.jpg", "1.png"):
        assert (tmp_path / name).read_text() == "mine"


def test_an_input_is_not_overwritten_even_when_asked(tmp_path):
    write_png(tmp_path / "a.png")
    for out in (str(tmp_path / "a.png"), str(tmp_path)):
        with pytest.raises(InputError, match="is an input and would be overwritten"):
            SignalOutput(
                GREY, out, 1, default_name="a", inputs=[str(tmp_path / "a.png")], overwrite=True
            )


def test_overwrite_is_an_option_of_every_command_that_writes(capsys):
    pictures = ("sample", "edit", "encode", "decode", "reconstruct", "interpolate", "traverse")
    for command in (*pictures, "evaluate", "compare"):
        assert main([command, "--help"]) == 0
        assert "--overwrite" in capsys.readouterr().out


def test_a_folder_or_a_pipe_where_a_file_goes_is_one_line(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match=r"report\.html is a folder, and a file goes there"):
        check_report_output(tmp_path, overwrite=True)
    (tmp_path / "report.html").rmdir()
    os.mkfifo(tmp_path / "report.json")
    with pytest.raises(InputError, match=r"report\.json is a pipe or a device"):
        check_report_output(tmp_path, overwrite=True)
    (tmp_path / "report.json").unlink()
    (tmp_path / "samples").touch()
    with pytest.raises(InputError, match="samples is a file"):
        check_report_output(tmp_path, overwrite=True)


def test_a_place_that_cannot_be_written_to_is_said_before_any_work(idle, capsys, monkeypatch):
    monkeypatch.setattr("smalti.outputs.os.access", lambda *_: False)  # also for root
    with pytest.raises(PermissionError, match="Permission denied"):
        check_report_output(idle, overwrite=False)
    for words in (COMMANDS["sample"], ["fit", "clocks"], ["compare", "--data", "gaussian"]):
        for out in ("new/a.png", "a.png") if words[0] == "sample" else ("new/run", "run"):
            assert "Permission denied" in mistake(capsys, *words, "--out", out)


def of_a_run(folder, **made_from):
    """A run directory with a report and two pictures as they were written before marks."""
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").touch()
    report = {"smalti_version": "0.1.0", "made_from": {"tokenizer": "abc", **made_from}}
    (folder / "report.json").write_text(json.dumps(report))
    for name in ("reconstructions", "curves-prior-loss"):
        of_the_user(folder / "samples" / f"{name}.png")
    return folder


def test_pictures_of_an_older_run_are_its_own_and_others_are_refused_before_measuring(tmp_path):
    older = of_a_run(tmp_path / "older")
    check_report_output(older, overwrite=False)
    (older / "data").mkdir()  # a fit that went on wrote it
    check_report_output(older, overwrite=False)
    of_the_user(older / "samples" / "mine.png")  # no name of the report's: is never written
    check_report_output(older, overwrite=False)
    for spoil in (
        lambda: (older / "config.yaml").unlink(),
        lambda: (older / "report.json").write_text('{"title": "mine"}'),
        lambda: Image.new("L", (3, 3)).save(older / "samples" / "clocks.png", dpi=(300, 300)),
        lambda: (older / "samples" / "clocks.png").write_text("no picture"),
        lambda: (older / "samples" / "samples-prior.png").mkdir(),
    ):
        shutil.rmtree(older)
        of_a_run(older)
        spoil()
        with pytest.raises(InputError, match="older"):
            check_report_output(older, overwrite=False)
    newer = of_a_run(tmp_path / "newer", data="abc")
    (newer / "data").mkdir()
    with pytest.raises(InputError, match="was not written by smalti"):
        check_report_output(newer, overwrite=False)
    check_report_output(newer, overwrite=True)


@pytest.mark.parametrize("recipe", [clocks_recipe(), vae_recipe()], ids=["tokens", "latents"])
def test_every_picture_of_a_report_has_a_name_that_is_checked(recipe, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["fit", str(write_recipe(tmp_path / "tiny.yaml", recipe)), "--out", str(out)]) == 0
    names = [file.name for file in (out / "samples").iterdir()]
    assert len(names) > 4 and all(map(report_file_pattern().fullmatch, names))
    shutil.rmtree(out / "data")
    for file in (out / "samples").iterdir():
        Image.open(file).save(file)  # which leaves out the mark
    assert not any(map(written_by_smalti, (out / "samples").iterdir()))
    if "autoencoder" not in recipe:  # whose model says what it was made from
        for part in ("tokenizer", "prior"):
            save_model(load_model(out / part), out / part)
        assert main(["evaluate", str(out)]) == 0
        assert written_by_smalti(out / "samples" / "reconstructions.png")


def test_json_of_smalti_is_known_by_its_version(tmp_path):
    path = tmp_path / "a.json"
    for content, ours in (({"smalti_version": "0"}, True), ({"a": 1}, False), ([1], False)):
        path.write_text(json.dumps(content))
        assert written_by_smalti(path) is ours


@pytest.mark.parametrize("run", [None, 3, b"run"])
def test_what_is_no_name_of_a_run_is_one_line(run):
    with pytest.raises(InputError, match="is a text or a path, got"):
        smalti.load(run)


def test_what_is_no_picture_is_one_line(tmp_path):
    with pytest.raises(InputError, match="one of Pillow's, got a Tensor: make one"):
        save_png(torch.zeros(3, 4, 4), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_a_folder_behind_one_that_is_not_there_is_seen(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert path_from_option("missing/../run").is_dir()
    assert path_from_option("link/../run").is_dir()  # beside what the link leads to
    assert path_from_option("run").parts == ("run",)

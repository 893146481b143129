"""What is printed survives every terminal, and a reader that goes away."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from smalti import terminal
from smalti.cli import main


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_encoding(encoding, monkeypatch):
    streams = {}
    for name in ("stdout", "stderr"):
        streams[name] = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, name, streams[name])
    assert main(["recipes"]) == 0
    assert main(["recipes", "images32"]) == 0
    assert main(["sample", "été 日本 \udcff \x1b[2J"]) == 2
    for stream in streams.values():
        stream.flush()
    written = streams["stdout"].buffer.getvalue().decode(encoding)
    assert ("32x32" if encoding == "ascii" else "32×32") in written
    told = streams["stderr"].buffer.getvalue().decode(encoding)
    assert told.count("\n") == 1
    assert "\\xff" in told
    assert "\x1b" not in told


@pytest.mark.parametrize(
    "surroundings",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_bare_container(surroundings):
    done = subprocess.run(
        [sys.executable, "-m", "smalti", "recipes"],
        env={**os.environ, **surroundings},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"32x32" in done.stdout


@pytest.mark.parametrize(
    ("tail", "status", "said"),
    [("| true", 141, ""), ("> /dev/full", 2, "No space left"), (">&-", 0, "")],
)
def test_nobody_reads(tail, status, said):
    command = f"{{ sleep 0.1; {sys.executable} -m smalti recipes; echo $? >&2; }} {tail}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert lines[-1] == str(status)
    assert len(lines) == 1 + bool(said)
    assert said in done.stderr


def test_a_module_of_the_working_folder_is_not_run(tmp_path):
    for name in ("torch", "yaml", "strange"):
        (tmp_path / f"{name}.py").write_text("raise SystemError('was run')")
    (tmp_path / "r.yaml").write_text("data: {class_path: strange.Frob}")
    done = subprocess.run(
        [sys.executable, "-m", "smalti", "fit", "r.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--allow strange" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_line_has_a_length_that_can_be_read():
    assert len(terminal.as_one_line("x" * 10**6)) < 2_100
    assert terminal.as_one_line("a\n  b\t\x07") == "a b \\x07"

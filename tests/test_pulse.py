"""A kind of data from outside goes all the way through smalti, which is told of it by one file.

`tests/pulse.py` is that file. It is found as that of any package that is installed: by the entry
point in the package's metadata, which lie on the path beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from smalti import load
from smalti.cli import main
from smalti.modalities.base import modality_of
from tiny import clocks_recipe, write_recipe

LENGTH = 16


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """The package as an installer leaves it."""
    site = tmp_path_factory.mktemp("site")
    info = site / "pulse-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pulse\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[smalti.modalities]\npulse = pulse\n")
    sys.path.append(str(site))
    yield
    sys.path.remove(str(site))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    fields = clocks_recipe()
    fields["data"] = {"class_path": "Pulses", "init_args": {"length": LENGTH}}
    return str(write_recipe(tmp_path_factory.mktemp("recipe") / "pulse.yaml", fields))


@pytest.fixture(scope="module")
def run(tmp_path_factory, recipe):
    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(["fit", recipe, "--out", str(folder)]) == 0
    return folder


def pulses(folder: Path, n: int = 2, **change) -> list[str]:
    t = np.linspace(0, 1, LENGTH)
    names = [str(folder / f"{i}.npy") for i in range(n)]
    for i, name in enumerate(names):
        np.save(name, 2 * np.exp(-(((t - 0.3 - 0.2 * i) / 0.1) ** 2)) - 1)
    return names


def test_the_file_is_short_and_nothing_in_smalti_knows_it():
    assert len(Path(__file__).with_name("pulse.py").read_text().splitlines()) < 150
    package = Path(sys.modules["smalti"].__file__).parent
    known = [f for f in package.rglob("*.py") if "import pulse" in f.read_text()]
    assert not known


def test_fit_and_the_report(run):
    report = json.loads((run / "report.json").read_text())
    assert 0 < report["figures"]["reconstruction"]["mse"]["value"] < 4
    page = (run / "report.html").read_text()
    assert "pulses" in page.lower()
    assert "image" not in page.lower().replace("data:image/png", "").replace("<img", "")
    config = json.loads((run / "tokenizer" / "config.json").read_text())
    assert config["signal"]["class"] == "Pulse"
    assert type(modality_of(load(run).signal)).__name__ == "PulseModality"


def test_sample(run, tmp_path):
    assert (
        main(["sample", str(run), "--n", "3", "--label", "broad", "--out", f"{tmp_path}/s/"]) == 0
    )
    drawn = [np.load(file) for file in sorted((tmp_path / "s").iterdir())]
    assert len(drawn) == 3
    assert all(x.shape == (LENGTH,) and np.isfinite(x).all() for x in drawn)
    assert main(["sample", str(run), "--n", "3", "--out", f"{tmp_path}/s.png"]) == 0
    assert (tmp_path / "s.png").read_bytes()[1:4] == b"PNG"


def test_reconstruct(run, tmp_path, capsys):
    files = pulses(tmp_path)
    assert main(["reconstruct", str(run), *files, "--out", f"{tmp_path}/r.png"]) == 0
    said = capsys.readouterr().out
    assert said.count("MSE") == 2 and "4 pulses in one picture" in said


def test_encode_and_decode(run, tmp_path):
    files = pulses(tmp_path)
    tokens = f"{tmp_path}/tokens.npz"
    assert main(["encode", str(run), *files, "--out", tokens]) == 0
    assert np.load(tokens)["indices"].shape == (2, 4)
    assert main(["decode", str(run), tokens, "--out", f"{tmp_path}/d/"]) == 0
    assert sorted(f.name for f in (tmp_path / "d").iterdir()) == ["00000.npy", "00001.npy"]


def test_interpolate(run, tmp_path):
    words = ["interpolate", str(run), "0", "1", "--steps", "3", "--out", f"{tmp_path}/i/"]
    assert main(words) == 0
    assert len(list((tmp_path / "i").iterdir())) == 3


@pytest.mark.parametrize("missing", [False, True])
def test_complete(run, tmp_path, missing):
    """What is given is kept: its tokens are those of the file."""
    (file, *_) = pulses(tmp_path)
    x = np.load(file)
    if missing:
        x[LENGTH // 2 :] = np.nan
        np.save(file, x)
    out = f"{tmp_path}/c/"
    assert main(["sample", str(run), "--n", "4", "--complete", file, "--out", out]) == 0
    assert len(list((tmp_path / "c").iterdir())) == 4
    model = load(run)
    half, given = modality_of(model.signal).read_partial(file, model.signal)
    known = model.known_tokens(half[None], given[None])
    assert known[0, 2:].tolist() == [-1, -1]
    assert (known[0, :2] >= 0).all()
    drawn = model.sample_latents(4, known=known)
    assert (drawn[:, :2] == known[:, :2]).all()


@pytest.mark.slow
def test_compare(recipe, tmp_path):
    words = ["compare", "--recipe", recipe, "--quantizers", "ste,fsq", "--seeds", "1"]
    assert main([*words, "--bits", "4", "--budget", "12", "--out", f"{tmp_path}/c"]) == 0
    table = (tmp_path / "c" / "comparison.md").read_text()
    assert "MSE" in table
    assert "PSNR" not in table


def test_a_mistake_is_one_line_in_the_words_of_pulses(run, tmp_path, capsys):
    np.save(tmp_path / "long.npy", np.zeros(LENGTH + 3, dtype=np.float32))
    assert main(["encode", str(run), f"{tmp_path}/long.npy", "--out", f"{tmp_path}/t.npz"]) == 2
    assert "trained on pulses of size 16, got 19" in capsys.readouterr().err
    assert main(["interpolate", str(run), "0", "99"]) == 2
    assert "16 test pulses" in capsys.readouterr().err


def test_a_recipe_is_written_with_its_source(run):
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["class_path"].endswith(
        "Pulses"
    )

"""Series go all the way: from a table with gaps to tokens, samples, files and a report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from smalti import load
from smalti.cli import main
from smalti.modalities.series import Series
from tiny import clocks_recipe, write_recipe

RATE, SIZE = 20, 16


def waves(n: int, start: float = 0.0, rate: float = RATE) -> dict[str, np.ndarray]:
    """Two channels of a person who walks and rests."""
    t = start + np.arange(n) / rate
    walks = np.sin(2 * np.pi * t / 8) > 0
    x = np.sin(4 * np.pi * t) * walks + 50
    return {"time": t, "ankle": x, "knee": 100 * np.cos(4 * np.pi * t) * walks, "label": walks}


def write(path: Path, columns: dict[str, np.ndarray], gaps: slice = slice(0, 0)) -> str:
    rows = [list(map(str, row)) for row in zip(*columns.values(), strict=True)]
    for row in rows[gaps]:
        row[1] = ""
    path.write_text("\n".join([",".join(columns), *map(",".join, rows)]))
    return str(path)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    path = write(folder / "gait.csv", waves(1600), slice(200, 215))
    fields = clocks_recipe()
    fields["data"] = {"class_path": "TimeSeries", "init_args": {"path": path, "size": SIZE}}
    return str(write_recipe(folder / "series.yaml", fields))


@pytest.fixture(scope="module")
def run(tmp_path_factory, recipe):
    folder = tmp_path_factory.mktemp("run") / "run"
    assert main(["fit", recipe, "--out", str(folder)]) == 0
    return folder


def test_the_report_measures_channels_and_spectra(run):
    report = json.loads((run / "report.json").read_text())
    figures = report["figures"]
    assert 0 < figures["reconstruction"]["mse_over_variance"]["value"] < 2
    assert set(figures["channels"]["mse_over_variance"]) == {"ankle", "knee"}
    assert set(figures["spectrum"]) == {"slow", "middle", "fast"}
    assert 0 <= figures["frechet"]["prior"]["value"]
    shown = {path.name for path in (run / "samples").iterdir()}
    assert {"reconstructions.png", "spectrum.png", "samples-prior.png"} <= shown
    page = (run / "report.html").read_text()
    assert "image" not in page.lower().replace("data:image/png", "").replace("<img", "")


def test_the_model_keeps_rate_names_and_scale(run):
    model = load(run)
    assert model.signal == Series(2, (SIZE,), RATE, ("ankle", "knee"))
    normalization = model.autoencoder.normalization
    assert normalization.mean[0].item() == pytest.approx(50, abs=0.5)
    assert normalization.scale[1].item() == pytest.approx(41, rel=0.15)
    drawn = model.sample(8, seed=0)
    assert (drawn[:, 0] - 50).abs().mean() < 3  # in the units of the data


def test_gaps_reach_neither_loss_nor_tokens_as_nan(run):
    model = load(run)
    x = torch.tensor(np.stack([waves(SIZE)[name] for name in ("ankle", "knee")]))[None].float()
    x[0, 0, 3:6] = torch.nan
    tokens = model.encode(x)
    mean = x.clone()
    mean[0, 0, 3:6] = model.autoencoder.normalization.mean[0]
    assert torch.equal(tokens, model.encode(mean))  # what encoders see of a gap
    assert model.reconstruct(x).isfinite().all()
    csv = next((run / "logs" / "tokenizer").rglob("metrics.csv")).read_text()
    assert "nan" not in csv


def test_a_file_of_any_length_comes_back_as_long(run, tmp_path):
    file = write(tmp_path / "long.csv", {k: v for k, v in waves(203).items() if k != "label"})
    tokens, out = f"{tmp_path}/t.npz", tmp_path / "out"
    assert main(["encode", str(run), file, "--any_size", "--out", tokens]) == 0
    assert np.load(tokens)["indices"].shape == (1, 51)
    words = ["reconstruct", str(run), file, "--any_size", "--out", f"{out}/"]
    assert main(words) == 0 == main(words)  # its own files are replaced
    rows = (out / "long.csv").read_text().splitlines()
    assert rows[0] == "time,ankle,knee" and len(rows) == 204
    assert rows[3].split(",")[0] == "0.1"
    assert main(["reconstruct", str(run), str(out / "long.csv"), "--any_size"]) == 0
    Path("reconstructions.png").unlink()


def test_what_is_missing_is_completed(run, tmp_path):
    columns = {k: v for k, v in waves(SIZE).items() if k != "label"}
    file = write(tmp_path / "a.csv", columns, slice(8, 16))
    out = tmp_path / "c"
    assert main(["sample", str(run), "--n", "2", "--complete", file, "--out", f"{out}/"]) == 0
    for made in out.iterdir():
        assert len(made.read_text().splitlines()) == SIZE + 1


def test_steps_that_a_file_marks_are_drawn_anew(run, tmp_path, capsys):
    columns = {k: v for k, v in waves(SIZE).items() if k != "label"}
    file = write(tmp_path / "a.csv", columns)
    marks = {"time": columns["time"], "ankle": np.zeros(SIZE), "knee": np.zeros(SIZE)}
    black = write(tmp_path / "none.csv", marks)
    marks["knee"][5:7] = 1
    mask = write(tmp_path / "mask.csv", marks)
    words = ["edit", str(run), file, "--mask", mask, "--label", "true", "--paste_back"]
    assert main([*words, "--blend", "1", "--n", "2", "--out", f"{tmp_path}/e/"]) == 0
    made = [load_rows(path) for path in sorted((tmp_path / "e").iterdir())]
    original = load_rows(tmp_path / "a.csv")
    assert len(made) == 2
    for rows in made:
        differ = np.abs(rows - original).max(1) > 1e-4
        assert differ[5:7].any() and not differ[:4].any() and not differ[8:].any()
    assert main([*words[:3], "--strength", "0.5", "--out", f"{tmp_path}/v.png"]) == 0
    long = write(tmp_path / "long.csv", {**marks, **waves(SIZE + 1)})
    for wrong, line in ((black, "marks no step"), (long, "17 steps")):
        assert line in fault([*words[:4], wrong], capsys)


def load_rows(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", skiprows=1)


def test_ways_between_series_and_samples_of_a_label(run, tmp_path):
    words = ["interpolate", str(run), "0", "1", "--steps", "3", "--out", f"{tmp_path}/i.png"]
    assert main(words) == 0
    words = ["sample", str(run), "--n", "3", "--label", "true", "--out", f"{tmp_path}/s.png"]
    assert main(words) == 0


def fault(words: list[str], capsys) -> str:
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and "Traceback" not in error
    return error


def test_bad_input_is_one_line_and_status_2(run, recipe, tmp_path, capsys):
    columns = {k: v for k, v in waves(SIZE).items() if k != "label"}
    fast = write(tmp_path / "fast.csv", {**columns, "time": columns["time"] / 2})
    other = write(tmp_path / "other.csv", {"time": columns["time"], "hip": columns["knee"]})
    words = write(tmp_path / "words.csv", {**columns, "knee": np.array(["a"] * SIZE)})
    short = write(tmp_path / "short.csv", {k: v[:9] for k, v in columns.items()})
    (tmp_path / "empty.csv").write_text("time,ankle,knee\n")
    for file, line in (
        (fast, "20 steps a second, got 40"),
        (other, "has no ankle, knee"),
        (words, "has text in 16 of 16 rows"),
        (short, "16 steps .*, got 9 steps"),
        (f"{tmp_path}/empty.csv", "has no rows|no value"),
        (f"{tmp_path}/none.csv", "no file"),
    ):
        said = fault(["encode", str(run), file, "--out", f"{tmp_path}/t.npz"], capsys)
        assert re.search(line, said), said
    some = np.where(np.arange(SIZE) == 3, "a", columns["knee"].astype(str))
    words = write(tmp_path / "words.csv", {**columns, "knee": some})
    fields = yaml.safe_load(Path(recipe).read_text())
    for path, line in (
        (words, "has text in 1 of 16 rows"),
        (f"{tmp_path}/empty.csv", "has no"),
        (short, "3 different parts"),
    ):
        fields["data"]["init_args"] = {"path": path, "size": 8}
        bad = write_recipe(tmp_path / "bad.yaml", fields)
        assert re.search(line, fault(["fit", str(bad), "--out", f"{tmp_path}/r"], capsys))
    assert not (tmp_path / "r").exists()

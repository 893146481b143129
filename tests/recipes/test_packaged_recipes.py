"""Every recipe that comes with smalti goes from its data to a report, made small.

A new recipe is covered by lying there; only a new kind of data needs a fixture of its own.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import smalti
from items import write_items
from smalti import recipes
from smalti.cli import main
from smalti.recipes import safe_yaml
from smalti.runs import load_run_data
from tiny import write_recipe

DATA = Path(__file__).parents[1] / "data"
MOST = {  # of each number of a recipe, wherever it stands
    **{"steps": 4, "batch_size": 8, "validate_every": 2, "iterations": 1, "examples": 16},
    **{"codebook_size": 8, "dim": 8, "hidden": 8, "residual_hidden": 4, "residual_blocks": 1},
    **{"layers": 2, "blocks": 1, "length": 48, "validation": 16, "test": 16, "size": 16},
    **{"beta_warmup": 2, "start": 2, "ramp": 1},
}


def smaller(fields: Any, name: str = "") -> Any:
    """The same fields with small numbers."""
    if isinstance(fields, dict):
        return {key: smaller(value, key) for key, value in fields.items()}
    if isinstance(fields, list):
        fewer = fields[:2] if name == "stages" else fields
        return [smaller(value, name) for value in fewer]
    whole = type(fields) is int
    return min(fields, MOST[name]) if whole and name in MOST else fields


def images(folder: Path, arguments: dict) -> Path:
    if "columns" in arguments:  # each with its name as the caption
        shutil.copytree(DATA / "emoji", folder / "icons")
        for file in (folder / "icons").rglob("*.png"):
            file.with_suffix(".txt").write_text(f"{file.parent.name}: {file.stem}")
        return folder / "icons"
    return DATA / ("fashion-mnist" if arguments.get("channels") == 1 else "emoji")


def vectors(folder: Path, arguments: dict) -> Path:
    return write_items(folder / "items.parquet", 120)


def series(folder: Path, arguments: dict) -> Path:
    t = np.arange(1200) / 20
    rows = zip(t, np.sin(4 * t), np.cos(3 * t), strict=True)
    lines = [",".join(f"{value:.4f}" for value in row) for row in rows]
    (folder / "gait.csv").write_text("\n".join(["time,ankle,knee", *lines]))
    arguments["size"] = MOST["size"]
    return folder / "gait.csv"


def sounds(folder: Path, arguments: dict) -> Path:
    rate = arguments.get("rate", 8000)
    for place in range(40):
        x = np.sin(np.arange(rate // 5) * (place + 1) / 20) / 2
        path = folder / "tones" / "low high".split()[place // 20] / f"{place}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, x, rate)
    arguments["seconds"] = 0.1
    return folder / "tones"


FIXTURES = {"Images": images, "Vectors": vectors, "TimeSeries": series, "Sounds": sounds}
SYNTHETIC = ("Clocks",)


def small_recipe(name: str, folder: Path) -> dict:
    """A recipe of the package, on little data of its kind."""
    recipe = smaller(safe_yaml.read(recipes.find(name)))
    kind = recipe["data"]["class_path"].rpartition(".")[2]
    if kind not in SYNTHETIC:
        arguments = recipe["data"].setdefault("init_args", {})
        arguments["path"] = str(FIXTURES[kind](folder, arguments))
    return {
        **recipe,
        "evaluation": {
            "samples": 8,
            "classifier_steps": 2,
            "feature_steps": 2,
            "test": 32,
            "judge_steps": 2,
        },
    }


@pytest.mark.parametrize("name", recipes.names())
def test_a_packaged_recipe_goes_from_its_data_to_a_report(name, tmp_path, capsys):
    file, out = (
        write_recipe(tmp_path / f"{name}.yaml", small_recipe(name, tmp_path)),
        tmp_path / "run",
    )
    assert main(["fit", str(file), "--out", str(out)]) == 0, capsys.readouterr().err
    report = json.loads((out / "report.json").read_text())
    assert report["figures"] and (out / "report.html").stat().st_size > 1000
    model = smalti.load(out)
    x = load_run_data(model.run).test.__getitems__([0, 1]).x
    assert model.reconstruct(x).shape == x.shape
    if model.prior is not None:
        assert model.sample(1, seed=0).shape == x[:1].shape
    assert (out / "ids.parquet").exists() == ("ids" in safe_yaml.read(recipes.find(name)))

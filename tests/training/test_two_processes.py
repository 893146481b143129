"""A fit over two processes goes through every stage and ends in one whole run directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import smalti
from tiny import clocks_recipe, write_recipe


@pytest.mark.slow
def test_two_processes_make_one_run(tmp_path):
    recipe = write_recipe(tmp_path / "tiny.yaml", clocks_recipe())
    words = ["--hardware.accelerator=cpu", "--hardware.strategy=ddp", "--hardware.devices=2"]
    done = subprocess.run(
        [sys.executable, "-m", "smalti", "fit", str(recipe), f"--out={tmp_path}/run", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "report.json").read_text())
    model = smalti.load(tmp_path / "run")
    assert int(model.autoencoder.quantizer.updates) == 12
    assert model.sample(2, condition="10:10").shape == (2, 3, 16, 16)

"""One process on the CPU is told from other hardware without Lightning, as Lightning tells it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import SingleDeviceStrategy

from smalti.recipes import schema
from smalti.training import Hardware
from smalti.training.launching import run_in_all_processes
from smalti.training.trainer import _bare_trainer, _quieten
from tiny import clocks_recipe

ALONE = [
    Hardware(accelerator="cpu"),
    Hardware(accelerator="cpu", devices=1, precision="32-true"),
    Hardware(accelerator="cpu", devices="1", precision="bf16-mixed"),
]


@pytest.mark.parametrize("hardware", ALONE)
def test_one_cpu_is_what_lightning_would_take(hardware):
    assert hardware.is_one_cpu
    _quieten()
    trainer = _bare_trainer(hardware)
    assert isinstance(trainer.strategy, SingleDeviceStrategy)
    assert trainer.strategy.launcher is None and trainer.world_size == 1
    found = []
    run_in_all_processes(found.append, hardware)
    assert found == [trainer.strategy.root_device] == [torch.device("cpu")]


@pytest.mark.parametrize(
    "given",
    [{"devices": 2}, {"devices": "0,1"}, {"num_nodes": 2}, {"strategy": "ddp"}]
    + [{"accelerator": "gpu"}, {"precision": "16-mixed"}, {"precision": "transformer-engine"}],
)
def test_all_else_is_left_to_lightning(given):
    assert not Hardware(**{"accelerator": "cpu", **given}).is_one_cpu


@pytest.mark.parametrize("name", ["SLURM_NTASKS", "LOCAL_RANK", "OMPI_COMM_WORLD_SIZE"])
def test_processes_that_something_else_started_are_left_to_lightning(monkeypatch, name):
    monkeypatch.setenv(name, "2")
    assert not ALONE[0].is_one_cpu


def test_where_there_is_a_gpu_auto_is_not_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not Hardware().is_one_cpu and ALONE[0].is_one_cpu


@pytest.mark.parametrize("name", ["CSVLogger", "lightning.pytorch.loggers.CSVLogger"])
def test_a_recipe_names_loggers_of_lightning(tmp_path, name):
    recipe = clocks_recipe()
    logger = {"class_path": name, "init_args": {"save_dir": str(tmp_path)}}
    recipe["hardware"] = {**recipe.get("hardware", {}), "loggers": [logger]}
    config = schema.parsed(recipe)
    assert config.hardware.loggers[0].class_path == "lightning.pytorch.loggers.CSVLogger"
    (make,) = schema.build(config).hardware.loggers
    assert isinstance(make(), CSVLogger)
    assert make() is not make()  # anew for each stage


def test_a_recipe_is_read_and_built_without_lightning():
    program = (
        "import sys\nfrom smalti.recipes import schema\nimport smalti.commands.fit\n"
        "import smalti.commands.encode\n"
        "schema.build(schema.read('clocks-demo'))\n"
        "print(sorted({'lightning', 'torchmetrics', 'transformers'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr

"""A run that is killed and started again ends with the same weights, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from smalti import runs
from smalti.recipes import schema
from smalti.training import PriorStage
from smalti.training.callbacks import Progress
from tiny import clocks_recipe, write_recipe


def demanding_recipe() -> dict:
    """All that has a state: averaged and best weights, accumulation, noise, dropout, schedules."""
    recipe = clocks_recipe()
    tokenizer, prior = recipe["tokenizer"], recipe["prior"]
    tokenizer["quantizer"]["init_args"]["estimator"] = {"class_path": "NSVQ"}
    tokenizer["training"] |= {
        "steps": 60,
        "schedule": {"class_path": "CosineDecay", "init_args": {"warmup": 5}},
        "clip": 1.0,
        "accumulate": 2,
        "weight_ema": 0.9,
        "validate_every": 4,  # as often as the state is saved
        "keep_best": True,
    }
    prior["model"]["init_args"]["dropout"] = 0.1
    prior["condition_dropout"] = 0.2
    prior["training"] |= {
        "steps": 60,
        "schedule": {"class_path": "Plateau", "init_args": {"patience": 0}},
        "accumulate": 2,
        "weight_ema": 0.9,
        "validate_every": 8,
    }
    return recipe


FIT = """
import sys
import torch
torch.set_num_threads(1)
from smalti import runs
from smalti.recipes import schema
from smalti.training import callbacks
save = callbacks.SaveState.on_train_batch_end
def slowly(self, trainer, *rest):
    save(self, trainer, *rest)
    print("step", trainer.global_step, flush=True)
callbacks.SaveState.on_train_batch_end = slowly
runs.fit(schema.read(sys.argv[1]), sys.argv[2])
"""


def start(recipe: Path, run: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FIT, str(recipe), str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


def kill_after(process: subprocess.Popen[str], steps: int) -> None:
    """Kills the process with no warning after it has taken so many steps of whatever stage."""
    assert process.stdout is not None
    for _ in range(steps):
        if not process.stdout.readline():
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_killed_again_and_again_the_run_ends_with_the_same_weights(tmp_path):
    recipe = write_recipe(tmp_path / "small.yaml", demanding_recipe())
    whole = start(recipe, tmp_path / "whole")
    assert whole.communicate()[1] is not None
    assert whole.returncode == 0

    killed = 0
    began = time.monotonic()
    for steps in (25, 40, 77, 30, 20, 200):
        process = start(recipe, tmp_path / "killed")
        kill_after(process, steps)
        killed += process.returncode == -signal.SIGKILL
        if process.returncode == 0 or time.monotonic() - began > 240:
            break
    last = start(recipe, tmp_path / "killed")
    _, errors = last.communicate()
    assert last.returncode == 0, errors
    assert killed >= 4

    for part in ("tokenizer", "prior"):
        one, other = (
            safetensors.torch.load_file(tmp_path / run / part / "model.safetensors")
            for run in ("whole", "killed")
        )
        assert one.keys() == other.keys()
        different = [name for name in one if not torch.equal(one[name], other[name])]
        assert different == []


def test_a_killed_prior_leaves_out_the_conditions_that_it_would_have(tmp_path, monkeypatch):
    def fit(name: str, dropout: float = 0.3) -> dict[str, torch.Tensor]:
        recipe = clocks_recipe()
        recipe["prior"]["condition_dropout"] = dropout
        run, _ = runs.fit(schema.parsed(recipe), tmp_path / name)
        return safetensors.torch.load_file(run.prior / "model.safetensors")

    def stop(self, trainer, *rest):
        if isinstance(trainer.lightning_module, PriorStage) and trainer.global_step == 10:
            raise RuntimeError("the machine went down")

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "on_train_batch_end", stop)
        with pytest.raises(RuntimeError, match="went down"):
            fit("killed")
    assert torch.load(tmp_path / "killed" / "state" / "prior.ckpt")["global_step"] == 8
    whole, resumed, other = fit("whole"), fit("killed"), fit("other", 0.6)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not all(torch.equal(whole[name], other[name]) for name in whole)

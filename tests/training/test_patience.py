"""A training ends when validation no longer improves, and a killed one ends at the same step."""

from __future__ import annotations

import math

import pytest
import safetensors.torch
import torch

from smalti import runs
from smalti.errors import InputError
from smalti.evaluation.curves import read_curves
from smalti.evaluation.measurements import TrainingCurves
from smalti.recipes import schema
from smalti.runs import Run
from smalti.training import PriorStage, Training, checkpoints
from tiny import clocks_recipe


def recipe(patience: int | None = 2) -> dict:
    """Validated every 4 steps, of 60 at most."""
    made = clocks_recipe()
    made["prior"]["training"] |= {
        "steps": 60,
        "validate_every": 4,
        "save_every": 3,
        "keep_best": True,
        "weight_ema": 0.9,
        "patience": patience,
    }
    made["prior"]["token_noise"] = 0.1
    made["prior"]["weight_decay"] = 0.1
    return made


def rise_from(monkeypatch, step: int) -> None:
    """Has the validation loss rise from a step on."""
    objective = PriorStage.objective

    def rising(self, batch):
        terms = objective(self, batch)
        worse = 0.0 if self.training else float(max(self.trainer.global_step - step, 0))
        return {"loss": terms["loss"] + worse}

    monkeypatch.setattr(PriorStage, "objective", rising)


def steps_taken(run: Run) -> int:
    return max(step for step, _ in read_curves(run.curves()["prior"])["loss"]["validation"]) + 1


def test_it_ends_when_validation_no_longer_improves_and_has_the_best_weights(
    tmp_path, monkeypatch, capsys
):
    rise_from(monkeypatch, 20)
    run, _ = runs.fit(schema.parsed(recipe()), tmp_path / "early")
    assert steps_taken(run) == 28  # the best at 20, then two that are worse
    assert "28 of 60 steps done" in (said := capsys.readouterr().err)
    assert "best at step 20" in said

    shorter = recipe(patience=None)  # the same, up to the best
    shorter["prior"]["training"]["steps"] = 20
    best, _ = runs.fit(schema.parsed(shorter), tmp_path / "best")
    one, other = (
        safetensors.torch.load_file(each.prior / "model.safetensors") for each in (run, best)
    )
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_without_patience_all_steps_are_taken(tmp_path, monkeypatch):
    rise_from(monkeypatch, 20)
    run, _ = runs.fit(schema.parsed(recipe(patience=None)), tmp_path)
    assert steps_taken(run) == 60


class KilledError(Exception):
    pass


def kill_after(monkeypatch, count: int) -> None:
    """Ends a fit when so many states of the prior have been saved."""
    save, saved = checkpoints.AtomicCheckpointIO.save_checkpoint, []

    def killed(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        saved.extend(["prior"] if "prior" in str(path) else [])
        if len(saved) == count:
            raise KilledError

    monkeypatch.setattr(checkpoints.AtomicCheckpointIO, "save_checkpoint", killed)


def test_one_that_was_killed_ends_at_the_same_step_with_the_same_weights(tmp_path, monkeypatch):
    rise_from(monkeypatch, 16)
    config = schema.parsed(recipe())
    whole, _ = runs.fit(config, tmp_path / "whole")
    for count in (2, 4):  # then the last time while it waits
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            kill_after(patch, count)
            runs.fit(config, tmp_path / "killed")
    again, _ = runs.fit(config, tmp_path / "killed")
    assert steps_taken(again) == steps_taken(whole) == 24
    one, other = (
        safetensors.torch.load_file(run.prior / "model.safetensors") for run in (whole, again)
    )
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("patience", [0, -1])
def test_a_patience_below_one_is_refused(patience):
    with pytest.raises(InputError, match="patience"):
        Training(steps=10, patience=patience)


def test_a_report_says_from_where_on_it_overfitted(tmp_path):
    def facts(*losses: float) -> dict[str, str]:
        log = tmp_path / "metrics.csv"
        rows = [f"0,{500 * n + 499},,{loss}" for n, loss in enumerate(losses)]
        log.write_text("\n".join(["epoch,step,train/loss,validation/loss", *rows]) + "\n")
        return TrainingCurves({"prior": log}).run(None).facts

    told = facts(3.4, 3.1, 3.0, 3.2, 3.6)
    assert told["Steps taken"] == "prior 2\u202f500"
    assert told["Overfitting of the prior"].startswith(
        "the prior overfitted from step 1\u202f500 on"
    )
    assert "from 3 there to 3.6 at step 2\u202f500" in told["Overfitting of the prior"]
    for losses in ((3.4, 3.1, 3.0), (3.0, 3.001), (math.nan, math.inf), (3.4, math.nan)):
        assert "Overfitting of the prior" not in facts(*losses)

"""How long a stage was trained is known, over all starts."""

from __future__ import annotations

from types import SimpleNamespace

from smalti import runs
from smalti.evaluation.curves import read_curves
from smalti.recipes import schema
from smalti.training.callbacks import Stopwatch
from tiny import clocks_recipe, write_recipe


def test_a_run_logs_seconds_that_rise(tmp_path):
    recipe = write_recipe(tmp_path / "small.yaml", clocks_recipe())
    run, _ = runs.fit(schema.read(str(recipe)), tmp_path / "run")
    for files in run.curves().values():
        seconds = [value for _, value in read_curves(files)["seconds"]["train"]]
        assert 0 < seconds[0] <= seconds[-1] < 60


def test_a_later_start_goes_on_from_the_seconds_of_the_state():
    first, later = Stopwatch(), Stopwatch()
    first.seconds = 100.0
    later.load_state_dict(first.state_dict())
    trainer = SimpleNamespace(global_step=20, log_every_n_steps=20)
    later.on_train_start(trainer, None)
    logged = {}

    class Module:
        def log(self, name, value):
            logged[name] = value

    later.on_train_batch_end(trainer, Module())
    assert 100 <= logged["train/seconds"] < 101

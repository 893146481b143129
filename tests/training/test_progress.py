"""A training of a billion steps is begun, and how long it will take is said after the first."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from smalti.training.callbacks import Progress


@pytest.mark.parametrize(("steps", "told"), [(10**9, True), (1_000, False)])
def test_a_long_training_says_so(steps, told, capsys, monkeypatch):
    clock = iter(i / 10 for i in range(1_000))  # a tenth of a second a look
    monkeypatch.setattr("smalti.training.callbacks.time.monotonic", lambda: next(clock))
    progress = Progress("prior", SimpleNamespace(step=0), seconds=10**6)
    trainer = SimpleNamespace(global_step=0, max_steps=steps, is_global_zero=True)
    progress.on_train_start(trainer, None)
    for step in range(1, 60):
        trainer.global_step = step
        progress.on_train_batch_end(trainer, None, {"loss": torch.tensor(1.0)})
    said = capsys.readouterr().err
    assert ("left" in said) == told
    assert said.count("\n") == told
    assert ("years" in said) == told

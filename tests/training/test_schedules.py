"""Learning rates over the steps."""

from __future__ import annotations

import pytest
import torch

from smalti.training import Constant, CosineDecay, Plateau, Training


def rates(schedule, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule.configure(optimizer, steps, validate_every=1)["scheduler"]
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_constant_with_warmup():
    assert rates(Constant(), 3) == [2.0, 2.0, 2.0]
    assert rates(Constant(warmup=4), 6) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_cosine_rises_then_falls_to_its_end():
    seen = rates(CosineDecay(warmup=10, final=0.1), 1000)
    assert seen[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert seen[505] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5), rel=1e-2)
    assert seen[-1] == pytest.approx(0.2, rel=1e-3)
    assert seen[10:] == sorted(seen[10:], reverse=True)


def test_plateau_reduces_when_the_loss_does_not_improve():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    configured = Plateau(factor=0.5, patience=1).configure(optimizer, 100, validate_every=7)
    assert configured["monitor"] == "validation/loss"
    assert configured["frequency"] == 7
    for loss in (1.0, 0.9, 0.9, 0.9):
        configured["scheduler"].step(loss)
    assert optimizer.param_groups[0]["lr"] == 1.0


@pytest.mark.parametrize(
    ("steps", "every", "interval"),
    [(1800, 500, 450), (1500, 500, 500), (400, 500, 400), (1, 500, 2), (1000, 300, 250)],
)
def test_the_end_of_a_training_is_validated(steps, every, interval):
    assert Training(steps=steps, validate_every=every).validation_interval == interval

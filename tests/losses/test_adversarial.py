"""Losses of discriminators and their penalties, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from smalti.losses import R1, Hinge, LeCam, NonSaturating
from smalti.networks import Verdict

REAL = (torch.tensor([[2.0, 0.5]]), torch.tensor([[-1.0]]))
MADE = (torch.tensor([[-3.0, 0.0]]), torch.tensor([[0.5]]))


def test_the_hinge_by_hand():
    loss = Hinge()
    # max(0, 1 − D(x)): (0 + 0.5) / 2 and 2; max(0, 1 + D(x̂)): (0 + 1) / 2 and 1.5
    assert loss.discriminator(REAL, MADE).item() == pytest.approx((0.25 + 2) / 2 + (0.5 + 1.5) / 2)
    assert loss.generator(MADE).item() == pytest.approx(-(-1.5 + 0.5) / 2)


def test_the_non_saturating_loss_by_hand():
    loss, one = NonSaturating(), (torch.zeros(1, 1),)
    assert loss.discriminator(one, one).item() == pytest.approx(2 * math.log(2))
    assert loss.generator((torch.full((1, 1), 3.0),)).item() == pytest.approx(
        math.log1p(math.exp(-3.0))
    )


class Squares(nn.Module):
    """D(x) at each place: w · x²."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        return Verdict((self.w * x.square(),), ())


def test_r1_is_the_squared_gradient_at_signals():
    x = torch.tensor([[[1.0, 2.0]], [[0.0, -1.0]]])
    judge = Squares()
    with torch.no_grad():
        said = judge(x)
    penalty = R1(gamma=4.0)(judge, x, said, said)
    # D(x) = mean of 3 x²; its gradient is 3 x: 9 · (1 + 4) and 9 · 1, of which the mean is 27.
    assert penalty.item() == pytest.approx(4 / 2 * 27)
    penalty.backward()
    assert judge.w.grad.item() == pytest.approx(2 * 54 / 3)  # it is quadratic in w


def test_lecam_holds_scores_to_the_other_running_mean():
    lecam = LeCam(weight=0.5, decay=0.75)
    judge, x = nn.Identity(), torch.zeros(1, 1, 1)

    def penalty(real, made):
        said = [Verdict((torch.tensor([[float(score)]]),), ()) for score in (real, made)]
        return lecam(judge, x, *said).item()

    # The first batch sets the means: (2 − (−1))² + (−1 − 2)².
    assert penalty(2, -1) == pytest.approx(0.5 * (9 + 9))
    means = (0.75 * 2 + 0.25 * 4, 0.75 * -1 + 0.25 * 1)
    assert penalty(4, 1) == pytest.approx(0.5 * ((4 - means[1]) ** 2 + (1 - means[0]) ** 2))
    assert lecam.means.tolist() == pytest.approx(means)
    lecam.eval()
    penalty(100, 100)
    assert lecam.means.tolist() == pytest.approx(means)
    assert lecam.bfloat16().means.dtype == torch.float32
    other = LeCam()
    other.load_state_dict(lecam.state_dict())
    assert torch.equal(other.means, lecam.means) and other.batches == 2

"""Dropout drops the share that it says, and keeps the mean and the gradient of what is kept."""

import pytest
import torch
from torch import nn

from smalti.nn.dropout import Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.47, 0.9])
def test_the_share_the_scale_and_the_gradient(p, dtype):
    torch.manual_seed(0)
    x = torch.ones(200, 1000, dtype=dtype, requires_grad=True)
    y = Dropout(p)(x)
    assert y.dtype == dtype
    kept = y != 0
    assert kept.double().mean().item() == pytest.approx(1 - p, abs=0.005)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - p)))
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())


def test_it_is_one_of_torch_and_nothing_in_evaluation():
    x = torch.randn(3, 4)
    assert isinstance(Dropout(0.5), nn.Dropout)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros_like(x))
    torch.manual_seed(1)
    one = Dropout(0.5)(x)
    torch.manual_seed(1)
    assert torch.equal(Dropout(0.5)(x), one)

"""Means over valid positions, and their derivatives of every kind."""

import pytest
import torch

from smalti.quantizers.means import mean_square

MASK = torch.tensor([[True, False, True], [False, True, True]])


@pytest.mark.parametrize("mask", [None, MASK])
def test_the_mean_square_is_that_of_its_formula(mask):
    r = torch.randn(2, 3, 5)
    valid = r if mask is None else r[mask]
    torch.testing.assert_close(mean_square(r, mask), valid.square().mean())


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own
@pytest.mark.parametrize("mask", [None, MASK])
def test_its_derivatives_are_right_forwards_backwards_and_twice(mask):
    r = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: mean_square(r, mask), r, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda r: mean_square(r, mask), r)


def test_its_gradient_at_zero_is_zero():
    r = torch.zeros(4, 3, requires_grad=True)
    mean_square(r, None).backward()
    assert torch.equal(r.grad, torch.zeros(4, 3))


def test_it_maps_over_examples():
    r = torch.randn(4, 3, 5)
    one_by_one = torch.stack([mean_square(each, None) for each in r])
    torch.testing.assert_close(torch.vmap(lambda r: mean_square(r, None))(r), one_by_one)


def test_it_is_accurate_over_many_elements():
    r = 1 + torch.randn(2**17, 32)
    exact = r.double().square().mean()
    torch.testing.assert_close(mean_square(r, None).double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("mask", [None, MASK[:0], torch.zeros(2, 3, dtype=torch.bool)])
def test_of_nothing_it_is_zero(mask):
    r = torch.randn(2 if mask is None else len(mask), 3, 5)[: 0 if mask is None else None]
    assert mean_square(r, mask) == 0

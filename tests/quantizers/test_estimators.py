"""The gradients of the estimators against their closed forms."""

import pytest
import torch

from smalti.quantizers import NSVQ, StraightThrough


def vectors(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    z_e, z_q, upstream = torch.randn(3, *shape).unbind()
    return z_e.requires_grad_(), z_q.requires_grad_(), upstream


def test_straight_through_is_exactly_the_codeword_with_the_gradient_of_the_input():
    z_e, z_q, upstream = vectors(6, 9, 5)
    y = StraightThrough()(z_e * 1e3, z_q)
    y.backward(upstream)
    assert torch.equal(y, z_q)
    assert torch.equal(z_e.grad, 1e3 * upstream)
    assert z_q.grad is None


@pytest.mark.parametrize("dim", [1, 2, 64])
def test_nsvq_equals_its_closed_forms(dim):
    z_e, z_q, g = vectors(6, 9, dim)
    torch.manual_seed(3)
    y = NSVQ()(z_e, z_q)
    y.backward(g)

    torch.manual_seed(3)
    v = torch.randn(6, 9, dim)
    unit = v / v.norm(dim=-1, keepdim=True)
    error = (z_e - z_q).detach()
    length = error.norm(dim=-1, keepdim=True)
    r, along = error / length, (g * unit).sum(-1, keepdim=True)
    torch.testing.assert_close(y, z_e + length * unit)
    torch.testing.assert_close(z_e.grad, g + along * r)
    torch.testing.assert_close(z_q.grad, -along * r)


def test_nsvq_noise_has_the_length_of_the_error():
    z_e, z_q, _ = vectors(1000, 8)
    y = NSVQ()(z_e, z_q)
    torch.testing.assert_close((y - z_e).norm(dim=-1), (z_q - z_e).norm(dim=-1))
    cosine = torch.cosine_similarity(y - z_e, z_q - z_e, dim=-1)
    assert cosine.mean().abs() < 0.05  # in a random direction


def test_nsvq_on_a_codeword_has_no_noise_and_a_finite_gradient():
    z_e, _, upstream = vectors(4, 3)
    z_q = z_e.detach().clone().requires_grad_()
    y = NSVQ()(z_e, z_q)
    y.backward(upstream)
    assert torch.equal(y, z_q)
    assert torch.equal(z_e.grad, upstream)
    assert not z_q.grad.any()

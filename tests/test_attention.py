"""Attention is the same whichever way it is computed, gradients too."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from smalti.nn import attention
from smalti.nn.attention import attend


def masks(queries, keys):
    some = torch.rand(3, 1, queries, keys) < 0.6
    some[..., 0] = True  # each may attend to something
    added = torch.zeros(3, 1, 1, keys).masked_fill(torch.arange(keys) % 3 == 1, -torch.inf)
    return {"all": None, "bool": some, "added": added}


@pytest.mark.parametrize("name", ["all", "bool", "added", "causal"])
@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_it_is_that_of_torch_in_half_precision(name, how, monkeypatch):
    torch.manual_seed(0)
    queries, keys = (9, 9) if name == "causal" else (5, 9)
    mask = None if name == "causal" else masks(queries, keys)[name]
    q, k, v = (torch.randn(3, 2, n, 8, requires_grad=True) for n in (queries, keys, keys))
    wanted = F.scaled_dot_product_attention(q, k, v, mask, is_causal=name == "causal")
    of_wanted = torch.autograd.grad(wanted.square().sum(), (q, k, v))

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", None)  # is not called
    if how == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            found = attend(q, k, v, mask, causal=name == "causal")
    else:
        half = (each.bfloat16() for each in (q, k, v))
        found = attend(*half, mask, causal=name == "causal")
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, atol=0.03, rtol=0.03)
    of_found = torch.autograd.grad(found.float().square().sum(), (q, k, v))
    for one, other in zip(of_found, of_wanted, strict=True):
        assert (one - other).norm() < 0.03 * other.norm()


def test_in_full_precision_and_of_many_it_is_torchs_own():
    torch.manual_seed(0)
    for n, dtype in ((7, torch.float32), (7, torch.float64), (520, torch.bfloat16)):
        q, k, v = torch.randn(3, 1, 2, n, 8, dtype=dtype)
        wanted = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        assert torch.equal(attend(q, k, v, causal=True), wanted)
